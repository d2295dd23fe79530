//! What lies ahead of each state of an automaton, for all states at once: a walk asks for most of them.

use std::ops::Range;

use ringfence_abi::automaton::{self as abi, DEAD};
use ringfence_abi::limits::NAME_BYTES;
use ringfence_abi::rights::ALL;

use crate::policy::Automaton;

/// Most states that are looked at to find names.
const MOST_STATES: usize = 512;

/// The automaton with, for each state that a path leads to, the rights that lie ahead.
pub(super) struct Reach<'a> {
    automaton: &'a Automaton,
    /// The bytes of each class; NUL is in no path.
    alphabet: Vec<Vec<u8>>,
    /// The steps of every state of the automaton, by [`Self::steps`].
    steps: Vec<Step>,
    /// Where the steps of the state of this number begin, and with the next one's where they end.
    firsts: Vec<u32>,
    /// By state; nothing lies ahead of one that no path leads to.
    aheads: Vec<Ahead>,
}

/// What follows a state by the bytes of one class, where that is elsewhere than what follows by all others.
#[derive(Clone, Copy)]
struct Step {
    /// Its place in the alphabet.
    class: u8,
    state: u32,
}

/// Rights of the paths that go on from a state by one byte or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Those that every one has.
    pub(super) all: u8,
    /// Those that some one has.
    pub(super) any: u8,
    /// Whether some one has them all: can be read, made and executed.
    pub(super) whole: bool,
}

impl<'a> Reach<'a> {
    pub(super) fn new(automaton: &'a Automaton) -> Self {
        let class = |byte: &u8| automaton.classes[usize::from(*byte)];
        let mut bytes: Vec<u8> = (1..=255).collect();
        bytes.sort_by_key(class);
        // The slash on its own: it is in no name.
        let alphabet = bytes
            .chunk_by(|one, other| class(one) == class(other) && *one != b'/' && *other != b'/');
        let mut reach = Self {
            automaton,
            alphabet: alphabet.map(<[u8]>::to_vec).collect(),
            steps: Vec::new(),
            firsts: Vec::new(),
            aheads: vec![Ahead::NOTHING; automaton.words.len()],
        };
        reach.sort();
        let found = reach.explore();
        reach.settle(&found);
        reach
    }

    /// The state of a path.
    pub(super) fn state(&self, path: &[u8]) -> u32 {
        self.automaton.state(path)
    }

    /// The state after `bytes`, from `state`.
    pub(super) fn step(&self, state: u32, bytes: &[u8]) -> u32 {
        self.automaton.step(state, bytes)
    }

    /// The rights of a path that ends in `state`.
    pub(super) fn rights(&self, state: u32) -> u8 {
        self.automaton.rights_of(state) & ALL
    }

    /// The rights ahead of `state`, which a path leads to.
    pub(super) fn ahead(&self, state: u32) -> Ahead {
        let known = self.aheads.get(state as usize);
        known.copied().unwrap_or(Ahead::NOTHING)
    }

    /// The steps from `state` that lead elsewhere than all others, by their classes.
    fn steps(&self, state: u32) -> &[Step] {
        let state = state as usize;
        let bounds = self.firsts.get(state).zip(self.firsts.get(state + 1));
        bounds.map_or(&[], |(&first, &end)| {
            &self.steps[first as usize..end as usize]
        })
    }

    /// The state to which all others lead, if there are any.
    fn others(&self, state: u32) -> Option<u32> {
        let word = *self.automaton.words.get(state as usize)?;
        (self.steps(state).len() < self.alphabet.len()).then(|| abi::default(word))
    }

    /// The names of directory entries after `from` whose state `is_one`; only states that `may_lead` to one are followed.
    /// `None` if that is more than a few.
    pub(super) fn names(
        &self,
        from: u32,
        is_one: impl Fn(u32) -> bool,
        may_lead: impl Fn(u32) -> bool,
    ) -> Option<Vec<Vec<u8>>> {
        self.names_beginning(|_| true, from, is_one, may_lead)
    }

    /// The same of names whose first byte is one for which `begins` holds.
    pub(super) fn names_beginning(
        &self,
        begins: impl Fn(u8) -> bool,
        from: u32,
        is_one: impl Fn(u32) -> bool,
        may_lead: impl Fn(u32) -> bool,
    ) -> Option<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let mut name = Vec::new();
        // States with the last byte that led there, and the length of the name before it.
        let mut open = vec![(from, 0, None)];
        let mut found = 1;
        while let Some((state, length, byte)) = open.pop() {
            name.truncate(length);
            name.extend(byte);
            if name.len() > NAME_BYTES {
                return None;
            }
            if !name.is_empty() && is_one(state) {
                names.push(name.clone());
            }
            let mut follow = |class: &[u8], next| {
                let bytes = class.iter().copied();
                let bytes = bytes.filter(|&byte| !name.is_empty() || begins(byte));
                let before = open.len();
                open.extend(bytes.map(|byte| (next, name.len(), Some(byte))));
                found += open.len() - before;
                found <= MOST_STATES
            };
            let steps = self.steps(state);
            // A pattern, which has many bytes in one class, is given up before they are spelled.
            if let Some(next) = self.others(state).filter(|&next| may_lead(next)) {
                let mut own = steps.iter().map(|step| usize::from(step.class)).peekable();
                for (class, bytes) in self.alphabet.iter().enumerate() {
                    let is_own = own.next_if_eq(&class).is_some();
                    if !is_own && bytes[0] != b'/' && !follow(bytes, next) {
                        return None;
                    }
                }
            }
            for step in steps {
                let bytes = &self.alphabet[usize::from(step.class)];
                if bytes[0] != b'/' && may_lead(step.state) && !follow(bytes, step.state) {
                    return None;
                }
            }
        }
        Some(names)
    }

    /// The names of directory entries after `from` whose state `is_one`, but for those that a pattern matches; only states that
    /// `may_lead` to one are followed. Of very many the first.
    pub(super) fn spelled(
        &self,
        from: u32,
        is_one: impl Fn(u32) -> bool,
        may_lead: impl Fn(u32) -> bool,
    ) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        let mut open = vec![(from, Vec::new())];
        for _ in 0..MOST_STATES {
            let Some((state, name)) = open.pop() else {
                break;
            };
            // Where nearly any byte goes on, a pattern does.
            if self.others(state).is_some_and(&may_lead) || name.len() > NAME_BYTES {
                continue;
            }
            for step in self.steps(state) {
                let bytes = &self.alphabet[usize::from(step.class)];
                if bytes[0] != b'/' && may_lead(step.state) {
                    let longer = bytes.iter().map(|&byte| [&name[..], &[byte]].concat());
                    open.extend(longer.map(|longer| (step.state, longer)));
                }
            }
            if !name.is_empty() && is_one(state) {
                names.push(name);
            }
        }
        names
    }

    /// Sorts the entries by the states that they are of: each names its own, and stands as far behind it as its class says.
    fn sort(&mut self) {
        let automaton = self.automaton;
        let words = &automaton.words;
        let places = self.places();
        let classes = places.len();
        // What leads where all others do is no step of its own.
        let entries = words.iter().enumerate().filter_map(|(index, &word)| {
            let (next, state) = abi::halves(word);
            let class = index.checked_sub(state as usize + 1)?;
            let own = words
                .get(state as usize)
                .filter(|&&own| abi::is_state(own))?;
            (class < classes && next != abi::default(*own)).then_some((state, class, next))
        });
        // As the walk has it, nothing goes on outside of the words.
        let last = words.len().saturating_sub(classes)..words.len();
        let outside = last.flat_map(|state| {
            let missing = words.len() - state - 1..classes;
            let is_state = abi::is_state(words[state]);
            missing.map(move |class| (is_state, state, class))
        });
        let outside = outside.filter_map(|(is_state, state, class)| {
            let state = u32::try_from(state).ok()?;
            (is_state && abi::default(words[state as usize]) != DEAD)
                .then_some((state, class, DEAD))
        });
        let all = || entries.clone().chain(outside.clone());
        let mut firsts = vec![0; words.len() + 1];
        for (state, class, _) in all() {
            firsts[state as usize + 1] += width(&places[class]);
        }
        for state in 1..firsts.len() {
            firsts[state] += firsts[state - 1];
        }
        let count = firsts.last().copied().unwrap_or(0) as usize;
        let mut steps = vec![Step { class: 0, state: 0 }; count];
        let mut ends = firsts.clone();
        for (from, class, state) in all() {
            let end = &mut ends[from as usize];
            for class in places[class].clone() {
                steps[*end as usize] = Step { class, state };
                *end += 1;
            }
        }
        self.steps = steps;
        self.firsts = firsts;
    }

    /// The places in the alphabet of each class: one, none for NUL's own, three for the slash's where others are in it.
    fn places(&self) -> Vec<Range<u8>> {
        let classes = &self.automaton.classes;
        let most = classes.iter().copied().max().unwrap_or(0);
        let mut places = vec![0..0; usize::from(most) + 1];
        for (bytes, place) in self.alphabet.iter().zip(0..) {
            let class = &mut places[usize::from(classes[usize::from(bytes[0])])];
            let first = if class.start == class.end {
                place
            } else {
                class.start
            };
            *class = first..place + 1;
        }
        places
    }

    /// Every state that a path leads to, in the order in which a depth-first search comes upon them.
    fn explore(&mut self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut open = vec![self.automaton.start];
        while let Some(state) = open.pop() {
            let Some(ahead) = self.aheads.get_mut(state as usize) else {
                continue;
            };
            if *ahead == Ahead::NOTHING {
                // More than can be, until it has settled.
                *ahead = Ahead::MOST;
                found.push(state);
                open.extend(self.others(state));
                open.extend(self.steps(state).iter().map(|step| step.state));
            }
        }
        found
    }

    /// Lets rights flow back until nothing changes. Backwards, so that a tree of rules settles in one pass.
    fn settle(&mut self, found: &[u32]) {
        let mut changed = true;
        while changed {
            changed = false;
            for &state in found.iter().rev() {
                let own = self.steps(state).iter().map(|step| step.state);
                let mut ahead = Ahead::MOST;
                for next in own.chain(self.others(state)) {
                    let (rights, beyond) = (self.rights(next), self.ahead(next));
                    ahead.all &= rights & beyond.all;
                    ahead.any |= rights | beyond.any;
                    ahead.whole |= rights == ALL || beyond.whole;
                }
                changed |= ahead != self.aheads[state as usize];
                self.aheads[state as usize] = ahead;
            }
        }
    }
}

impl Ahead {
    const NOTHING: Self = Self {
        all: 0,
        any: 0,
        whole: false,
    };
    /// Before anything has been found that has a right, or lacks one.
    const MOST: Self = Self {
        all: ALL,
        ..Self::NOTHING
    };
}

fn width(places: &Range<u8>) -> u32 {
    u32::from(places.end - places.start)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use ringfence_abi::rights::{EXEC, READ, WRITE};

    use super::super::rules::{automaton, deny, drawn, file, tree};
    use super::*;

    /// The names after `/d/` that lead to a right.
    fn names(files: &[String]) -> Option<BTreeSet<Vec<u8>>> {
        let rules: Vec<_> = files.iter().map(|path| file(path, READ)).collect();
        let automaton = automaton(&rules);
        let reach = Reach::new(&automaton);
        let leads = |state| reach.rights(state) | reach.ahead(state).any != 0;
        let is_one = |state| {
            let deeper = reach.step(state, b"/");
            reach.rights(state) | reach.rights(deeper) | reach.ahead(deeper).any != 0
        };
        let names = reach.names(automaton.state(b"/d/"), is_one, leads)?;
        Some(names.into_iter().collect())
    }

    fn paths(names: &[&str]) -> Vec<String> {
        let path = |name: &&str| Path::new("/d").join(name).display().to_string();
        names.iter().map(path).collect()
    }

    /// What lies ahead of every state that a path leads to, asked byte by byte.
    fn plainly(automaton: &Automaton) -> BTreeMap<u32, Ahead> {
        let next = |state| (1..=255).map(move |byte| automaton.step(state, &[byte]));
        let mut aheads = BTreeMap::new();
        let mut open = vec![automaton.start];
        while let Some(state) = open.pop() {
            if aheads.insert(state, Ahead::MOST).is_none() {
                open.extend(next(state));
            }
        }
        loop {
            let before = aheads.clone();
            for (&state, ahead) in &mut aheads {
                for next in next(state) {
                    let rights = automaton.rights_of(next) & ALL;
                    ahead.all &= rights & before[&next].all;
                    ahead.any |= rights | before[&next].any;
                    ahead.whole |= rights == ALL || before[&next].whole;
                }
            }
            if aheads == before {
                return aheads;
            }
        }
    }

    #[test]
    fn what_lies_ahead_is_what_every_path_byte_by_byte_comes_to() {
        let rules = [
            tree("/usr", READ | EXEC),
            tree("/usr/local/lib", READ),
            file("/etc/passwd", READ),
            deny("/usr/secret"),
            tree("/home/me", READ | WRITE),
            deny("/home/me/.ssh/id"),
        ];
        let mut automata = vec![Automaton::deny_all(), automaton(&rules), automaton(&[])];
        // A class of several bytes, the slash among them, and rows that end where the words do.
        let mut shared = automaton(&rules);
        shared.classes[usize::from(b'0')] = shared.classes[usize::from(b'/')];
        shared.classes[usize::from(b'.')] = shared.classes[usize::from(b'/')];
        automata.push(shared);
        let mut cut = automaton(&rules);
        cut.words.truncate(cut.words.len() - 8);
        automata.push(cut);
        for automaton in &automata {
            let reach = Reach::new(automaton);
            for (state, ahead) in plainly(automaton) {
                assert_eq!(reach.ahead(state), ahead, "state {state}");
            }
        }
    }

    #[test]
    fn the_names_of_literal_rules_are_spelled() {
        let found = names(&paths(&["a", "ab", "b/c", "x y"])).unwrap();
        let expected = [&b"a"[..], b"ab", b"b", b"x y"];
        assert_eq!(found, expected.map(<[u8]>::to_vec).into());
    }

    #[test]
    fn more_than_a_few_names_are_not_spelled() {
        let many = |count| (0..count).map(|number| format!("/d/{number:03}")).collect();
        let few: Vec<_> = many(100);
        assert_eq!(names(&few).unwrap().len(), 100);
        let many: Vec<_> = many(600);
        assert_eq!(names(&many), None);
    }

    #[test]
    fn beside_a_pattern_the_names_that_are_spelled_out_are_told() {
        let rules = [
            drawn("/d/x-", READ),
            drawn("/d/lock", READ),
            file("/d/lock", READ | WRITE),
            file("/d/xy", READ),
            tree("/d/in", READ),
            file("/other", READ),
        ];
        let automaton = automaton(&rules);
        let reach = Reach::new(&automaton);
        let leads = |state| reach.rights(state) | reach.ahead(reach.step(state, b"/")).any != 0;
        let may_lead = |state| reach.rights(state) | reach.ahead(state).any != 0;
        let mut spelled = reach.spelled(automaton.state(b"/d/"), leads, may_lead);
        spelled.sort();
        assert_eq!(spelled, [&b"in"[..], b"xy"]);
    }

    #[test]
    fn a_pattern_is_no_list_of_names() {
        let mut automaton = automaton(&[file("/d/a", READ)]);
        let state = automaton.state(b"/d/");
        // Whatever follows leads back to where it came from.
        let place = state as usize;
        automaton.words[place] = ringfence_abi::automaton::state_word(state, READ);
        automaton.words[place + 1..=place + 256].fill(0);
        let reach = Reach::new(&automaton);
        assert_eq!(reach.names(state, |_| true, |_| true), None);
    }
}
