//! What a trace needs: rights by path, with evidence.

use std::collections::BTreeMap;

use ringfence_abi::rights::{ALL, EXEC, READ, WRITE};

use super::{BY_CALLS, evidence::Evidence, short};
use crate::trace::{Record, Text, Trace};

/// What was needed of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Need {
    /// By right: read, write, exec.
    evidence: [Option<Evidence>; 3],
    /// The name came, went, or was another's: its directory was written.
    pub(super) made: bool,
    /// All that is below is needed like it.
    pub(super) subtree: bool,
}

impl Need {
    pub(super) fn rights(&self) -> u8 {
        (0..3)
            .filter(|&right| self.evidence[right].is_some())
            .fold(0, |rights, right| rights | 1 << right)
    }

    /// The evidence for one right.
    pub(super) fn of(&self, bit: u8) -> Option<&Evidence> {
        self.evidence[bit.trailing_zeros() as usize].as_ref()
    }

    /// Leaves only these rights.
    pub(super) fn retain(&mut self, rights: u8) {
        for right in 0..3 {
            if rights >> right & 1 == 0 {
                self.evidence[right] = None;
            }
        }
    }

    fn add(&mut self, rights: u8, evidence: &Evidence) {
        for right in (0..3).filter(|right| rights >> right & 1 != 0) {
            self.evidence[right]
                .get_or_insert_with(Evidence::default)
                .add(evidence);
        }
    }
}

/// Acts by which a directory's entry comes or goes.
const MAKING: [&str; 8] = [
    "create", "mkdir", "mknod", "symlink", "link", "rename", "unlink", "rmdir",
];

/// Whether a directory's entry comes or goes by it.
#[must_use]
pub fn is_making(what: &str) -> bool {
    MAKING.contains(&what)
}

/// Whether an entry that was there goes by it, or may.
#[must_use]
pub fn is_removing(what: &str) -> bool {
    ["rename", "unlink", "rmdir"].contains(&what)
}

/// What `trace` needs, by path.
pub(super) fn needs(trace: &Trace) -> BTreeMap<Vec<u8>, Need> {
    let mut needs: BTreeMap<Vec<u8>, Need> = BTreeMap::new();
    let run = &trace.facts.run;
    for record in &trace.records {
        let evidence = evidence(record, run);
        let mut rights = record.rights.0 & ALL;
        if rights & EXEC != 0 {
            // Scripts are read by their interpreters, and Landlock has no right to execute without reading.
            rights |= READ;
        }
        for path in [&record.path, &record.other].into_iter().flatten() {
            if rights == 0 || !path.bytes().starts_with(b"/") {
                continue;
            }
            let need = needs.entry(path.bytes().to_vec()).or_default();
            need.add(rights, &evidence);
            need.made |= is_making(&record.what);
        }
    }
    join_names(trace, &mut needs);
    if trace.facts.recorder == BY_CALLS {
        by_number(trace, &mut needs);
    }
    needs
}

/// Lets `/proc` be listed where tasks of the run read there by number: an engine without hooks shows them under their numbers only to who
/// may list them (docs/decisions/0040-who-lists-processes-has-a-proc-of-its-own.md).
fn by_number(trace: &Trace, needs: &mut BTreeMap<Vec<u8>, Need>) {
    let reads = |record: &&Record| record.by_number && record.rights.0 & READ != 0;
    for record in trace.records.iter().filter(reads) {
        let need = needs.entry(b"/proc".to_vec()).or_default();
        need.add(READ, &evidence(record, &trace.facts.run));
    }
}

/// Takes files below the value of a variable that were written for made.
///
/// - In the workspace they are, on a fresh checkout or after a `clean`, and an engine that goes by what is there before the start lets
///   nothing be made by a rule about a single name.
/// - In a cache they were there because a run before had put them there, and the next will put others beside them.
pub(super) fn written_below(variable: &str, trace: &Trace, needs: &mut BTreeMap<Vec<u8>, Need>) {
    let Some(place) = trace.facts.variables.get(variable).map(Text::bytes) else {
        return;
    };
    let is_inside = |path: &[u8]| {
        let rest = path.strip_prefix(place);
        place != b"/" && rest.is_some_and(|rest| rest.starts_with(b"/"))
    };
    let written = |record: &&Record| record.what == "open" && record.rights.0 & WRITE != 0;
    for record in trace.records.iter().filter(written) {
        let path = record.path.as_ref().map(Text::bytes);
        if let Some(need) = path
            .filter(|path| is_inside(path))
            .and_then(|path| needs.get_mut(path))
        {
            need.made = true;
        }
    }
}

/// How a trace names that a Unix socket was reached.
const REACHED: &str = "connect-unix";
/// That one was given an abstract name.
const NAMED: &str = "bind-unix";
/// And that something was made which is neither a file nor a directory.
const MADE: &str = "mknod";

/// What was done with Unix sockets that were made or reached by a name. Who binds one to a path makes it there; where nothing else was
/// made in that way, that is what was.
pub(super) fn with_sockets(trace: &Trace) -> impl Iterator<Item = &Record> {
    let called = |name: &str| trace.end.system_calls.iter().any(|call| call == name);
    let binds = called("bind") && !called("mknod") && !called("mknodat");
    let records = trace.records.iter();
    records.filter(move |record| {
        [REACHED, NAMED].contains(&record.what.as_str()) || binds && record.what == MADE
    })
}

/// The Unix sockets of [`with_sockets`] by path.
pub(super) fn sockets(trace: &Trace) -> BTreeMap<&[u8], Need> {
    let mut sockets: BTreeMap<&[u8], Need> = BTreeMap::new();
    for record in with_sockets(trace) {
        let path = record.path.as_ref().map(Text::bytes);
        if let Some(path) = path.filter(|path| path.starts_with(b"/")) {
            let need = sockets.entry(path).or_default();
            need.add(WRITE, &evidence(record, &trace.facts.run));
            need.made |= is_making(&record.what);
        }
    }
    sockets
}

/// Abstract names of Unix sockets that were reached or given, and whether the run gave them itself.
pub(super) fn abstract_names(trace: &Trace) -> BTreeMap<&[u8], (bool, Evidence)> {
    let mut names: BTreeMap<&[u8], (bool, Evidence)> = BTreeMap::new();
    for record in with_sockets(trace) {
        let name = record.path.as_ref().map(Text::bytes);
        if let Some(name) = name.and_then(|name| name.strip_prefix(b"@")) {
            let (own, all) = names.entry(name).or_default();
            *own |= record.what == NAMED;
            all.add(&evidence(record, &trace.facts.run));
        }
    }
    names
}

/// Directories that cannot be listed by an engine that hides what may not be: in each, `base` allows something of a directory that it does
/// not let be listed (`/usr/local/lib`, `/etc/ssl/certs`).
const NEVER_LISTED: [&[u8]; 3] = [b"/", b"/usr", b"/etc"];

/// Directories between one that was listed and what was needed below it. Landlock gives the right to list to a whole tree, so
/// a fence that stands on it lets a directory be listed where those on the way to what is needed may be, and hides the
/// others: what is hidden is not looked through either, so there is nothing on the way where listing comes of nothing.
pub(super) fn on_the_way<'a>(
    trace: &Trace,
    needs: impl Iterator<Item = &'a [u8]>,
) -> BTreeMap<Vec<u8>, Evidence> {
    let run = &trace.facts.run;
    let mut listed: BTreeMap<&[u8], Evidence> = BTreeMap::new();
    for record in trace
        .records
        .iter()
        .filter(|record| record.what == "readdir")
    {
        let path = record.path.as_ref().map(Text::bytes);
        if let Some(path) = path.filter(|path| !NEVER_LISTED.contains(path)) {
            listed.entry(path).or_default().add(&evidence(record, run));
        }
    }
    let mut found = BTreeMap::new();
    for path in needs {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above: Option<&Evidence> = None;
        for directory in slashes.map(|(end, _)| &path[..end]) {
            if let Some(evidence) = above
                && !listed.contains_key(directory)
                && !found.contains_key(directory)
            {
                found.insert(directory.to_vec(), evidence.clone());
            }
            above = listed.get(directory).or(above);
        }
    }
    found
}

pub(super) fn evidence(record: &Record, run: &str) -> Evidence {
    let mut evidence = Evidence::default();
    evidence.runs.insert(run.to_owned(), record.count);
    evidence.programs.extend(
        record
            .program
            .iter()
            .map(short)
            .filter(|name| !name.is_empty()),
    );
    evidence
}

/// A rename must not give rights that the old name did not have, nor must a link (docs/profile.md): the names of one file get
/// the same rights. A directory takes what is below it along.
fn join_names(trace: &Trace, needs: &mut BTreeMap<Vec<u8>, Need>) {
    let pairs: Vec<_> = trace
        .records
        .iter()
        .filter(|record| record.what == "rename" || record.what == "link")
        .filter_map(|record| {
            let (path, other) = (record.path.as_ref()?, record.other.as_ref()?);
            Some((path.bytes(), other.bytes(), record.directory))
        })
        .collect();
    let mut changed = true;
    while changed {
        changed = false;
        for &(old, new, directory) in &pairs {
            let mut both = Need::default();
            for name in [old, new] {
                if let Some(need) = needs.get(name) {
                    merge(&mut both, need);
                }
                if directory {
                    both.subtree = true;
                    let below = [name, b"/"].concat();
                    let inside = needs.range(below.clone()..);
                    for (_, need) in inside.take_while(|(path, _)| path.starts_with(&below)) {
                        merge(&mut both, need);
                    }
                }
            }
            for name in [old, new] {
                let need = needs.entry(name.to_vec()).or_default();
                let (rights, subtree) = (need.rights(), need.subtree);
                if rights | both.rights() != rights || (both.subtree && !subtree) {
                    let missing = both.rights() & !rights;
                    for bit in [READ, WRITE, EXEC] {
                        if missing & bit != 0
                            && let Some(evidence) = both.of(bit)
                        {
                            need.add(bit, evidence);
                        }
                    }
                    need.subtree |= both.subtree;
                    need.made = true;
                    changed = true;
                }
            }
        }
    }
}

fn merge(into: &mut Need, from: &Need) {
    for bit in [READ, WRITE, EXEC] {
        if into.of(bit).is_none()
            && let Some(evidence) = from.of(bit)
        {
            into.add(bit, evidence);
        }
    }
}
