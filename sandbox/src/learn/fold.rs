//! From paths to rules: what is volatile becomes a pattern, and siblings become one rule where there are enough of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ringfence_abi::rights::{EXEC, READ, WRITE};

use super::{
    Level,
    evidence::Evidence,
    needs::Need,
    place::{Names, Places},
    volatile,
};

/// Entries of one directory from which on the rule is about all of them.
const SIBLINGS: usize = 4;
/// Names that differ in numbers only from which on the rule is about every number.
const NUMBERED: usize = 3;
/// Paths that are read in the working directory from which on the rule is about all of it: a project's files come and go.
const WORKSPACE: usize = 3;

/// Where semaphores and shared memory of POSIX lie, of all programs side by side.
const SHARED_MEMORY: &[u8] = b"/dev/shm";

/// What folding has to know.
pub(super) struct Folding<'a> {
    pub(super) places: &'a Places,
    pub(super) level: Level,
    /// Whether a secret lies at a path or below.
    pub(super) holds_secret: &'a dyn Fn(&[u8]) -> bool,
    /// Whether the command made what is at a path.
    pub(super) made: &'a dyn Fn(&[u8]) -> bool,
    /// Directories that are read besides, whose rules are about nothing else.
    pub(super) on_the_way: &'a BTreeMap<Vec<u8>, Evidence>,
}

type Rules = BTreeMap<Names, Evidence>;

/// The rules that give one right to all that needs it.
pub(super) fn fold(
    needs: &BTreeMap<&[u8], Need>,
    bit: u8,
    folding: &Folding<'_>,
) -> Vec<(String, Evidence)> {
    let mut rules = Rules::new();
    // Directories whose entries may become one rule, as names.
    let mut foldable: BTreeSet<Names> = BTreeSet::new();
    // Programs: that some of a directory are executed says nothing of the others.
    let mut pinned: BTreeSet<Names> = BTreeSet::new();
    let workspace = workspace(needs, bit, folding);
    let mut asked: HashMap<&[u8], bool> = HashMap::new();
    for (path, need) in needs {
        let Some(evidence) = need.of(bit) else {
            continue;
        };
        let names = folding.rule(path, need, workspace);
        let mut directory = *path;
        for depth in (1..=folding.places.names(path).0.len()).rev() {
            let may_fold = asked
                .entry(directory)
                .or_insert_with(|| folding.may_fold(directory));
            if *may_fold && depth < names.0.len() && !foldable.contains(&names.0[..depth]) {
                foldable.insert(Names(names.0[..depth].to_vec()));
            }
            directory = parent(directory);
        }
        if is_program(path, need) {
            pinned.insert(names.clone());
        }
        rules.entry(names).or_default().add(evidence);
    }
    absorb(&mut rules);
    if folding.level != Level::Tight {
        number(&mut rules, &pinned);
        while fold_once(&mut rules, &foldable, &pinned, folding.level) {
            absorb(&mut rules);
        }
    }
    if bit == READ {
        let wide = Wide::among(&rules);
        for (path, evidence) in folding.on_the_way {
            let names = folding.rule(path, &Need::default(), workspace);
            if !rules.contains_key(&names) && wide.over(&names).is_none() {
                rules.insert(names, evidence.clone());
            }
        }
    }
    let rules = rules.into_iter();
    rules
        .map(|(names, evidence)| (names.text(), evidence))
        .collect()
}

/// Whether the whole working directory gets the right.
fn workspace(needs: &BTreeMap<&[u8], Need>, bit: u8, folding: &Folding<'_>) -> bool {
    let Some(workspace) = &folding.places.workspace else {
        return false;
    };
    if (folding.holds_secret)(workspace) {
        return false;
    }
    let inside = needs
        .iter()
        .filter(|(path, need)| need.of(bit).is_some() && folding.places.is_in_workspace(path));
    match (folding.level, bit) {
        (Level::Tight, _) => false,
        (Level::Default, READ) => inside.count() >= WORKSPACE,
        (Level::Loose, READ | WRITE) => inside.count() > 0,
        _ => false,
    }
}

impl Folding<'_> {
    /// The rule for one path, before siblings are looked at.
    fn rule(&self, path: &[u8], need: &Need, workspace: bool) -> Names {
        let mut names = self.places.names(path);
        if names.0[0] == "${TMP}" {
            return below(names.0[..1].to_vec());
        }
        if workspace && self.places.is_in_workspace(path) {
            return below(vec!["${CWD}".to_owned()]);
        }
        processes(&mut names);
        if is_terminal(path) {
            names.0.pop();
            return below(names.0);
        }
        if self.level == Level::Tight {
            return if need.subtree { below(names.0) } else { names };
        }
        let store = || self.store(&names, path);
        if let Some(store) = (!is_program(path, need)).then(store).flatten() {
            return store;
        }
        let last = names.0.len() - 1;
        // What came or went will have another name the next time, and so it is read and executed.
        if need.made && last > 0 && self.is_writable_as_a_whole(path) {
            names.0.pop();
            self.generalise(&mut names, parent(path));
            return below(names.0);
        }
        let drawn = volatile::drawn(&names.0[last]);
        match drawn.filter(|_| need.made && parent(path) == SHARED_MEMORY) {
            Some(pattern) => names.0[last] = pattern,
            None => self.generalise(&mut names, path),
        }
        if need.subtree { below(names.0) } else { names }
    }

    /// All of a store whose entries are called by a hash and spread over directories by its first digits: the next run needs others.
    fn store(&self, names: &Names, path: &[u8]) -> Option<Names> {
        let (entry, above) = names.0.split_last()?;
        let spread = above.iter().skip(1).rev();
        let shards = spread.take_while(|name| volatile::is_shard(name)).count();
        if !volatile::is_digest(entry) {
            return None;
        }
        // A tool may be called like the first digits of something.
        let is_one_things = |shards: &usize| {
            let directory = (0..=*shards).fold(path, |path, _| parent(path));
            self.may_fold(directory)
        };
        let shards = (1..=shards).rev().find(is_one_things)?;
        Some(below(above[..above.len() - shards].to_vec()))
    }

    /// Whether the directory that `path` is in may be written as a whole, since entries came and went.
    fn is_writable_as_a_whole(&self, path: &[u8]) -> bool {
        self.may_fold(parent(path))
    }

    /// `path` is what the names are about. What lies in a directory with a drawn name has another path the next time as well.
    fn generalise(&self, names: &mut Names, path: &[u8]) {
        let mut path = path;
        for name in names.0.iter_mut().skip(1).rev() {
            let made = (self.made)(path);
            if let Some(pattern) = volatile::pattern(name, made) {
                // Where things of many programs lie, all names are too many.
                let own = volatile::prefix(name).filter(|_| pattern == "*" && made);
                let own = own.filter(|_| !self.may_fold(parent(path)));
                *name = own.map_or(pattern, |prefix| format!("{prefix}*"));
            }
            path = parent(path);
        }
    }

    /// Whether the entries of a directory may become one rule.
    fn may_fold(&self, directory: &[u8]) -> bool {
        self.places.is_one_things(directory) && !(self.holds_secret)(directory)
    }
}

/// Whether it was executed, and not mapped as code alone.
fn is_program(path: &[u8], need: &Need) -> bool {
    need.of(EXEC).is_some() && !is_library(path)
}

/// Shared libraries and modules are many, and belong together.
fn is_library(path: &[u8]) -> bool {
    let name = &path[parent(path).len()..];
    name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    &path[..slash]
}

fn below(mut names: Vec<String>) -> Names {
    names.push("**".to_owned());
    Names(names)
}

/// A pseudo-terminal has another number the next time, and is not there before it is asked for.
fn is_terminal(path: &[u8]) -> bool {
    let number = path.strip_prefix(b"/dev/pts/");
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// `/proc/4711` is another process the next time.
fn processes(names: &mut Names) {
    let is_number = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    if names.0.len() < 3 || names.0[..2] != ["", "proc"] || !is_number(&names.0[2]) {
        return;
    }
    "[0-9]*".clone_into(&mut names.0[2]);
    for position in 3..names.0.len() - 1 {
        let holds_numbers =
            ["task", "fd", "fdinfo", "map_files"].contains(&names.0[position].as_str());
        if holds_numbers && is_number(&names.0[position + 1]) {
            "[0-9]*".clone_into(&mut names.0[position + 1]);
        }
    }
}

/// Siblings that differ in numbers only.
fn number(rules: &mut Rules, pinned: &BTreeSet<Names>) {
    let mut shapes: BTreeMap<Names, Vec<Names>> = BTreeMap::new();
    for names in rules.keys().filter(|names| !pinned.contains(*names)) {
        let Some(shape) = names.0.last().and_then(|name| volatile::numbered(name)) else {
            continue;
        };
        let mut pattern = names.clone();
        pattern.0.pop();
        pattern.0.push(shape);
        shapes.entry(pattern).or_default().push(names.clone());
    }
    for (pattern, siblings) in shapes {
        if siblings.len() >= NUMBERED {
            replace(rules, &siblings, pattern);
        }
    }
}

/// Folds the siblings of each directory that has enough of them, trees before files; `false` if there is none.
fn fold_once(
    rules: &mut Rules,
    foldable: &BTreeSet<Names>,
    pinned: &BTreeSet<Names>,
    level: Level,
) -> bool {
    let enough = if level == Level::Loose { 2 } else { SIBLINGS };
    let mut files: BTreeMap<Names, Vec<Names>> = BTreeMap::new();
    let mut trees: BTreeMap<Names, Vec<Names>> = BTreeMap::new();
    for names in rules.keys().filter(|names| !pinned.contains(*names)) {
        let length = names.0.len();
        let last = names.0[length - 1].as_str();
        if last == "**" || last == "*" {
            if length >= 3 {
                let parent = Names(names.0[..length - 2].to_vec());
                trees.entry(parent).or_default().push(names.clone());
            }
        } else {
            let parent = Names(names.0[..length - 1].to_vec());
            files.entry(parent).or_default().push(names.clone());
        }
    }
    let folds = |parent: &Names, siblings: &mut Vec<Names>| {
        siblings.len() >= enough && foldable.contains(parent)
    };
    trees.retain(folds);
    // Outer directories come before inner ones, whose rules they cover then.
    let mut folded: Vec<Names> = Vec::new();
    for (parent, siblings) in trees {
        if folded
            .last()
            .is_none_or(|outer| !parent.0.starts_with(&outer.0))
        {
            replace(rules, &siblings, below(parent.0.clone()));
            folded.push(parent);
        }
    }
    if !folded.is_empty() {
        return true;
    }
    files.retain(folds);
    let any = !files.is_empty();
    for (mut pattern, siblings) in files {
        pattern.0.push("*".to_owned());
        replace(rules, &siblings, pattern);
    }
    any
}

fn replace(rules: &mut Rules, siblings: &[Names], pattern: Names) {
    let mut all = rules.remove(&pattern).unwrap_or_default();
    for one in siblings {
        if let Some(evidence) = rules.remove(one) {
            all.add(&evidence);
        }
    }
    rules.insert(pattern, all);
}

/// Drops what another rule covers, and gives it the evidence.
fn absorb(rules: &mut Rules) {
    let wide = Wide::among(rules);
    let covered: Vec<(Names, Names)> = rules
        .keys()
        .filter_map(|names| Some((names.clone(), wide.over(names)?)))
        .collect();
    for (names, wider) in covered {
        if let Some(evidence) = rules.remove(&names) {
            rules.entry(wider).or_default().add(&evidence);
        }
    }
}

/// The rules among others that are about more than one path.
struct Wide {
    /// Directories of which all below is covered.
    trees: BTreeSet<Names>,
    /// Directories of which all entries are.
    entries: BTreeSet<Names>,
}

impl Wide {
    fn among(rules: &Rules) -> Self {
        let ending = |last: &str| {
            let of = |names: &Names| {
                let (end, directory) = names.0.split_last()?;
                (end == last).then(|| Names(directory.to_vec()))
            };
            rules.keys().filter_map(of).collect()
        };
        Self {
            trees: ending("**"),
            entries: ending("*"),
        }
    }

    /// The widest other rule that covers all that `names` does.
    fn over(&self, names: &Names) -> Option<Names> {
        let (last, directory) = names.0.split_last()?;
        let is_tree = last == "**";
        // A tree is not over itself.
        let depths = if is_tree {
            directory.len()
        } else {
            names.0.len() + 1
        };
        let tree = (1..depths)
            .map(|depth| &names.0[..depth])
            .find(|outer| self.trees.contains(*outer));
        if let Some(outer) = tree {
            return Some(below(outer.to_vec()));
        }
        let is_entry = !is_tree && last != "*" && self.entries.contains(directory);
        is_entry.then(|| {
            let mut pattern = directory.to_vec();
            pattern.push("*".to_owned());
            Names(pattern)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Rules {
        let names = |text: &&str| Names(text.split('/').map(str::to_owned).collect());
        texts
            .iter()
            .map(|text| (names(text), Evidence::default()))
            .collect()
    }

    fn texts(rules: &Rules) -> Vec<String> {
        rules.keys().map(Names::text).collect()
    }

    #[test]
    fn what_a_wider_rule_covers_is_dropped() {
        let mut all = rules(&[
            "/a/**", "/a/b", "/a/b/*", "/a", "/ab", "/c/*", "/c/d", "/c/d/e", "/c/**/x",
        ]);
        absorb(&mut all);
        assert_eq!(texts(&all), ["/a/**", "/ab", "/c/*", "/c/**/x", "/c/d/e"]);
    }

    #[test]
    fn directories_are_folded_until_nothing_is_left_to_fold() {
        let mut all = Rules::new();
        for directory in ["b", "c", "d", "e"] {
            let files = [1, 2, 3, 4].map(|number| format!("/a/{directory}/{number}"));
            all.extend(rules(&files.each_ref().map(String::as_str)));
        }
        all.extend(rules(&["/x/1", "/x/2"]));
        let foldable = rules(&["/a", "/a/b", "/a/c", "/a/d", "/a/e", "/x"]);
        let foldable = foldable.into_keys().collect();
        let mut passes = 0;
        while fold_once(&mut all, &foldable, &BTreeSet::new(), Level::Default) {
            absorb(&mut all);
            passes += 1;
        }
        assert_eq!(texts(&all), ["/a/**", "/x/1", "/x/2"]);
        // The files of four directories at once, then the directory of those.
        assert_eq!(passes, 2);
    }

    #[test]
    fn siblings_that_differ_in_numbers_become_one() {
        let mut all = rules(&["/d/cpu0", "/d/cpu1", "/d/cpu2", "/d/x1", "/d/x2"]);
        number(&mut all, &BTreeSet::new());
        assert_eq!(texts(&all), ["/d/cpu[0-9]*", "/d/x1", "/d/x2"]);
    }

    #[test]
    fn terminals_are_told_by_their_numbers() {
        assert!(is_terminal(b"/dev/pts/0") && is_terminal(b"/dev/pts/12"));
        for path in [
            &b"/dev/pts"[..],
            b"/dev/pts/",
            b"/dev/pts/ptmx",
            b"/dev/tty1",
        ] {
            assert!(!is_terminal(path));
        }
    }

    #[test]
    fn numbers_of_processes_are_no_ones() {
        let mut names = Names(
            "/proc/12/task/13/comm"
                .split('/')
                .map(str::to_owned)
                .collect(),
        );
        processes(&mut names);
        assert_eq!(names.text(), "/proc/[0-9]*/task/[0-9]*/comm");
    }
}
