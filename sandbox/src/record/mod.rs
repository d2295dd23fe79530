//! Recording: the stream of acts of one run becomes a trace.
//!
//! The kernel half tells each act once. Where it could only tell a directory and the name that the program passed, the name
//! is resolved here, right after the act: links and `..` are followed as they are by then.
//!
//! What this room must not do: know BPF, decide anything about profiles.

mod loader;
mod names;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::Ipv6Addr,
};

use ringfence_abi::{
    event::{has_peer, operation},
    network::{address_of_halves, peer_of_detail},
    record::{BY_NUMBER, DIRECTORY, FOLLOWED, NAMELESS, PASSED, PROGRAM, Seen},
    rights::EXEC,
    surface::{MEMORY_EXEC, Surfaces},
};

use crate::trace::{Act, Peer, Record, Rights, Tally, Text};

/// Takes in acts, gives out records.
#[derive(Debug, Default)]
pub struct Collector {
    /// Acts with their paths resolved, in the order in which they came.
    acts: Vec<Act>,
    /// Those that are there, for what the kernel half tells twice.
    known: HashSet<Seen>,
    /// Paths of programs, by their hash.
    programs: HashMap<u64, Vec<u8>>,
    /// How many were taken in.
    events: u64,
    /// Records that made no sense.
    malformed: u64,
}

impl Collector {
    /// One with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one act; `Err` is a record that made no sense.
    pub fn add(&mut self, act: Result<Act, usize>) {
        self.events += 1;
        let Ok(mut act) = act else {
            self.malformed += 1;
            return;
        };
        if act.seen.operation == PROGRAM {
            let path = names::settled(&act.other);
            self.programs.insert(act.seen.program, path);
            return;
        }
        if !self.known.insert(act.seen) {
            return;
        }
        if act.seen.flags & PASSED != 0 {
            let follow = act.seen.flags & FOLLOWED != 0;
            act.path = names::resolved(&act.path, act.process, follow);
            if !act.other.is_empty() {
                act.other = names::resolved(&act.other, act.process, false);
            }
        }
        if act.seen.operation == operation::RENAME && names::is_directory(&act.other) {
            act.seen.flags |= DIRECTORY;
        }
        self.acts.push(act);
    }

    /// How many acts were told, and how many of them differ.
    #[must_use]
    pub fn progress(&self) -> (u64, usize) {
        (self.events, self.acts.len())
    }

    /// The records. `counts` says how often each act was done, by what makes it different.
    #[must_use]
    pub fn records(&self, counts: &HashMap<Seen, u64>) -> Vec<Record> {
        let tasks: HashSet<u32> = self.acts.iter().map(|act| act.process).collect();
        let mut loaders = HashSet::new();
        let mut records = Vec::new();
        for act in &self.acts {
            let program = self.programs.get(&act.seen.program);
            // What was marked here is not part of what the kernel half knows.
            let known = self.known.get(&act.seen).copied();
            let plain = known.unwrap_or(Seen {
                flags: act.seen.flags & !DIRECTORY,
                ..act.seen
            });
            let peer = peer_of(&act.seen);
            let record = Record {
                what: operation::name(act.seen.operation)
                    .unwrap_or("unknown")
                    .to_owned(),
                path: text(&act.path),
                other: text(&act.other),
                rights: Rights(act.seen.needed),
                detail: if peer.is_some() { 0 } else { act.seen.detail },
                peer,
                directory: act.seen.flags & DIRECTORY != 0,
                by_number: names::task(&act.path).is_some_and(|task| {
                    let is_another = task != act.process;
                    (is_another || act.seen.flags & BY_NUMBER != 0) && tasks.contains(&task)
                }),
                program: program.map(|path| path.as_slice().into()),
                count: counts.get(&plain).copied().unwrap_or(1),
                first: act.time,
            };
            let executes = act.seen.operation == operation::EXEC && act.seen.needed & EXEC != 0;
            if executes
                && let Some(loader) = loader::of(&act.path)
                && loaders.insert((loader.clone(), act.seen.program))
            {
                records.push(Record {
                    path: text(&loader),
                    ..record.clone()
                });
            }
            records.push(record);
        }
        records
    }

    /// The `CLONE_NEW*` flags of the namespaces that were made.
    #[must_use]
    pub fn namespaces(&self) -> u32 {
        let made = self
            .acts
            .iter()
            .filter(|act| act.seen.operation == operation::NAMESPACE);
        made.fold(0, |flags, act| flags | act.seen.detail)
    }

    /// Parts of the kernel that acts, and not system calls by their number, have used.
    #[must_use]
    pub fn surfaces(&self) -> Surfaces {
        let mut surfaces = Surfaces::NONE;
        for act in &self.acts {
            if act.seen.flags & NAMELESS != 0 && act.seen.needed & EXEC != 0 {
                surfaces = surfaces.union(MEMORY_EXEC);
            }
        }
        surfaces
    }

    /// Why something was not recorded, and how often.
    #[must_use]
    pub fn losses(&self, tally: &Tally) -> Vec<(&'static str, u64)> {
        [
            ("found no room in the ring buffer", tally.lost),
            ("had a path that could not be read", tally.unread),
            ("came from 32-bit programs", tally.foreign),
            ("met a program that the kernel left out", tally.missed),
            ("began a task that could not be followed", tally.unfollowed),
            ("made no sense", self.malformed),
        ]
        .into_iter()
        .filter(|(_, lost)| *lost != 0)
        .collect()
    }
}

/// Whom an act reached, or where it was bound, as the kernel half says it; the names are found out elsewhere.
fn peer_of(seen: &Seen) -> Option<Peer> {
    if !has_peer(seen.operation) {
        return None;
    }
    let address = Ipv6Addr::from(address_of_halves([seen.path, seen.other]));
    let (protocol, port) = peer_of_detail(seen.detail);
    Some(Peer {
        address: address.to_canonical(),
        port,
        protocol,
        names: BTreeSet::new(),
        inside: false,
    })
}

fn text(bytes: &[u8]) -> Option<Text> {
    (!bytes.is_empty()).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_at_a_task_of_the_run_by_its_number_is_known() {
        let mut collector = Collector::new();
        let acts = [
            (7, "/proc/7/maps", 0),
            (7, "/proc/7/stat", BY_NUMBER),
            (7, "/proc/8/maps", 0),
            (7, "/proc/9/maps", BY_NUMBER),
            (8, "/proc/cpuinfo", 0),
        ];
        for (process, path, flags) in acts {
            let seen = Seen {
                path: collector.events + 1,
                operation: operation::OPEN,
                flags,
                ..Seen::default()
            };
            collector.add(Ok(Act {
                seen,
                time: 0,
                process,
                path: path.into(),
                other: Vec::new(),
            }));
        }
        let records = collector.records(&HashMap::new());
        let by_number: Vec<_> = records.iter().map(|record| record.by_number).collect();
        assert_eq!(by_number, [false, true, true, false, false]);
    }
}
