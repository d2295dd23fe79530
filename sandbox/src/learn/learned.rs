//! A learned profile, with its evidence: what is written, read, and merged.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BY_HOOKS, Level,
    evidence::Evidence,
    needs::{self, Need},
    peers,
    place::Places,
    volatile,
};
use crate::{
    profile::{NetworkRight, Right, syscall},
    trace::{Text, Trace},
};

/// A Unix socket that reaches nobody, as a rule writes it.
const NOBODY: &str = "@";
const NOBODY_BECAUSE: &str =
    "C libraries make a Unix socket to look for services that are not there; none was reached";

/// System calls through a ring, as a part of the kernel.
const RING: &str = "io-uring";
const RING_BECAUSE: &str =
    "the network is held here only without it, and most programs do without as well";

/// The call that makes files in memory, and what opens them as a part of the kernel.
const MEMORY_FILE: &str = "memfd_create";
const MEMORY: &str = "memory-exec";
const MEMORY_BECAUSE: &str = "files in memory are made here with MFD_NOEXEC_SEAL only, but with it, and many programs do without as well";

/// Calls that set how a task is scheduled, and what opens them to who names one by its number.
const SCHEDULING: [&str; 4] = [
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
];
const SCHEDULER: &str = "scheduler";
const SCHEDULER_BECAUSE: &str = "a thread sets here how it is scheduled only where it names itself by 0, and not by its number, as C libraries do for it; with it, tasks outside can be named too";

/// A profile with the evidence of its rules. What was written by hand has none, and stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    /// The runs that it was learned from, by name.
    pub runs: BTreeMap<String, Run>,
    /// Profiles that it extends.
    pub extends: BTreeSet<String>,
    /// Rules about files.
    pub rules: BTreeMap<(Right, String), Evidence>,
    /// What rules say beside their path: `because` and `expected`.
    pub words: BTreeMap<(Right, String), BTreeMap<String, toml::Value>>,
    /// What holds a secret, and is not allowed until somebody says so.
    pub questions: BTreeMap<(Right, String), Question>,
    /// Rules about the network.
    pub peers: BTreeMap<(NetworkRight, String), Evidence>,
    /// What they say beside their address: `because` and `expected`.
    pub peer_words: BTreeMap<(NetworkRight, String), BTreeMap<String, toml::Value>>,
    /// Those of them about an address that no name is known for.
    pub nameless: BTreeSet<(NetworkRight, String)>,
    /// That the network is open, for sockets that no rule can be about.
    pub network: Option<Evidence>,
    /// Capabilities.
    pub capabilities: BTreeMap<String, Evidence>,
    /// Parts of the kernel.
    pub kernel: BTreeMap<String, Evidence>,
    /// Those that a run used, and that are not opened until somebody says so.
    pub kernel_questions: BTreeMap<String, Question>,
    /// The system calls that there are; all that a fence does not close if it is none.
    pub system_calls: Option<BTreeSet<String>>,
    /// Everything else that the profile says, by key: written by hand.
    pub rest: BTreeMap<String, toml::Value>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The command.
    pub command: String,
    /// Bytes of memory at most.
    pub memory: Option<u64>,
    /// Tasks at most.
    pub tasks: Option<u64>,
    /// Whether these were looked at now and then, so that the truth is as much or more.
    pub sampled: bool,
}

/// A rule that nobody has allowed yet, or a part of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What kind of secret it is, or why it is not simply allowed.
    pub because: String,
    /// Why the rule would be there.
    pub evidence: Evidence,
}

impl Learned {
    /// A profile of one run, without rules.
    pub(super) fn of_run(trace: &Trace) -> Self {
        let words: Vec<String> = trace.facts.command.iter().map(Text::to_string).collect();
        let command: String = words
            .join(" ")
            .chars()
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .collect();
        let run = Run {
            command,
            memory: trace.end.peak_memory,
            tasks: trace.end.peak_tasks,
            sampled: trace.end.peaks_sampled,
        };
        let mut learned = Self::default();
        learned.runs.insert(trace.facts.run.clone(), run);
        learned
    }

    /// Whether it says nothing, as no profile may: a process that ran already has done nothing meanwhile.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        let nothing = Self {
            runs: self.runs.clone(),
            ..Self::default()
        };
        *self == nothing
    }

    /// Notes a secret that was touched. A name that came or went will be another one the next time.
    pub(super) fn ask(
        &mut self,
        places: &Places,
        (path, need): (&[u8], &Need),
        because: &str,
        level: Level,
    ) {
        let mut names = places.names(path);
        let changes = need.made && level != Level::Tight;
        if let Some(last) = names.0.last_mut().filter(|_| changes)
            && let Some(pattern) = volatile::pattern(last, true)
        {
            *last = pattern;
        }
        let text = names.text();
        for (bit, right) in [(1, Right::Read), (2, Right::Write), (4, Right::Exec)] {
            let Some(evidence) = need.of(bit) else {
                continue;
            };
            let question = self
                .questions
                .entry((right, text.clone()))
                .or_insert_with(|| Question {
                    because: because.to_owned(),
                    evidence: Evidence::default(),
                });
            question.evidence.add(evidence);
        }
    }

    /// What is not about files.
    pub(super) fn add_rest(&mut self, trace: &Trace, level: Level) {
        let run = &trace.facts.run;
        let once = |programs: BTreeSet<String>| Evidence {
            runs: BTreeMap::from([(run.clone(), 1)]),
            programs,
        };
        let reached = peers::needed(trace, level);
        self.peers = reached.rules;
        self.nameless = reached.nameless;
        self.network = reached.open;
        let end = &trace.end;
        if self.network.is_none() && makes_sockets_for_nobody(trace) {
            let rule = (NetworkRight::Deny, NOBODY.to_owned());
            let words = [
                ("because", toml::Value::from(NOBODY_BECAUSE)),
                ("expected", toml::Value::from(true)),
            ];
            let words = words.map(|(key, value)| (key.to_owned(), value));
            self.peer_words.insert(rule.clone(), words.into());
            self.peers.insert(rule, once(BTreeSet::new()));
        }
        for capability in &end.capabilities {
            self.capabilities
                .insert(capability.clone(), once(BTreeSet::new()));
        }
        if let Some(evidence) = reached.netlink.filter(|_| self.network.is_none()) {
            self.kernel.insert("netlink".to_owned(), evidence);
        }
        for surface in &end.surfaces {
            let evidence = once(BTreeSet::new());
            // Where nobody sees sockets made through a ring, the network of a fence that has rings cannot be held: it would not start.
            if surface == RING && trace.facts.recorder != BY_HOOKS && self.network.is_none() {
                let because = RING_BECAUSE.to_owned();
                let question = Question { because, evidence };
                self.kernel_questions.insert(surface.clone(), question);
            } else {
                self.kernel.insert(surface.clone(), evidence);
            }
        }
        // Where no hook sees a file in memory being executed, none that could be is made; and where none sees which task a number
        // is of, none is named by one.
        for (surface, calls, because) in [
            (MEMORY, &[MEMORY_FILE][..], MEMORY_BECAUSE),
            (SCHEDULER, &SCHEDULING, SCHEDULER_BECAUSE),
        ] {
            let mut made = end.system_calls.iter();
            let makes = made.any(|name| calls.contains(&name.as_str()));
            if trace.facts.recorder != BY_HOOKS && !self.kernel.contains_key(surface) && makes {
                let because = because.to_owned();
                let evidence = once(BTreeSet::new());
                let question = Question { because, evidence };
                self.kernel_questions.insert(surface.to_owned(), question);
            }
        }
        // A list that may lack some would deny what was seen.
        if level == Level::Tight && end.unlisted_calls == 0 {
            // A call that the language has no name for cannot be listed.
            let known = |name: &&String| syscall::check(name).is_ok();
            self.system_calls = Some(end.system_calls.iter().filter(known).cloned().collect());
        }
    }
}

/// Whether sockets were made, and no Unix socket was reached, nor one with a path. Recorders tell no more of Unix sockets.
fn makes_sockets_for_nobody(trace: &Trace) -> bool {
    let mut calls = trace.end.system_calls.iter();
    calls.any(|name| name == "socket") && needs::with_sockets(trace).next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Record;

    fn denied(calls: &[&str], acts: &[&str]) -> bool {
        let mut trace = Trace::default();
        trace.end.system_calls = calls.iter().map(|&name| name.to_owned()).collect();
        let act = |what: &&str| Record {
            what: (*what).to_owned(),
            ..Record::default()
        };
        trace.records = acts.iter().map(act).collect();
        let mut learned = Learned::default();
        learned.add_rest(&trace, Level::Default);
        let rule = (NetworkRight::Deny, NOBODY.to_owned());
        assert_eq!(
            learned.peers.contains_key(&rule),
            learned.peer_words.contains_key(&rule)
        );
        learned.peers.contains_key(&rule)
    }

    #[test]
    fn rings_are_asked_about_where_the_network_cannot_be_held_beside_them() {
        let learned = |recorder: &str| {
            let mut trace = Trace::default();
            trace.facts.recorder = recorder.to_owned();
            trace.end.surfaces = vec![RING.to_owned(), "userns".to_owned()];
            let mut learned = Learned::default();
            learned.add_rest(&trace, Level::Default);
            learned
        };
        let by_calls = learned("system-calls");
        assert!(by_calls.kernel_questions.contains_key(RING));
        assert!(!by_calls.kernel.contains_key(RING));
        assert!(by_calls.kernel.contains_key("userns"));
        let by_hooks = learned(BY_HOOKS);
        assert!(by_hooks.kernel_questions.is_empty());
        assert!(by_hooks.kernel.contains_key(RING));
        // One who has opened it elsewhere has answered.
        let merged = by_calls.merge(by_hooks).unwrap();
        assert!(merged.kernel_questions.is_empty());
    }

    #[test]
    fn files_in_memory_are_asked_about_where_their_execution_is_not_seen() {
        let learned = |recorder: &str, surfaces: &[&str], calls: &[&str]| {
            let mut trace = Trace::default();
            trace.facts.recorder = recorder.to_owned();
            trace.end.surfaces = surfaces.iter().map(|&name| name.to_owned()).collect();
            trace.end.system_calls = calls.iter().map(|&name| name.to_owned()).collect();
            let mut learned = Learned::default();
            learned.add_rest(&trace, Level::Default);
            learned
        };
        let asked = learned("ptrace", &[], &["read", MEMORY_FILE]);
        assert!(asked.kernel_questions.contains_key(MEMORY));
        assert!(asked.kernel.is_empty());
        let executed = learned("ptrace", &[MEMORY], &[MEMORY_FILE]);
        assert!(executed.kernel_questions.is_empty());
        assert!(executed.kernel.contains_key(MEMORY));
        let without = learned("ptrace", &[], &["read"]);
        assert!(without.kernel_questions.is_empty());
        let by_hooks = learned(BY_HOOKS, &[], &[MEMORY_FILE]);
        assert!(by_hooks.kernel_questions.is_empty());
    }

    #[test]
    fn scheduling_is_asked_about_where_tasks_are_not_told_apart() {
        let asked = |recorder: &str, call: &str| {
            let mut trace = Trace::default();
            trace.facts.recorder = recorder.to_owned();
            trace.end.system_calls = vec![call.to_owned()];
            let mut learned = Learned::default();
            learned.add_rest(&trace, Level::Default);
            assert!(learned.kernel.is_empty());
            learned.kernel_questions.into_keys().collect::<Vec<_>>()
        };
        for call in SCHEDULING {
            assert_eq!(asked("system-calls", call), [SCHEDULER]);
            assert!(asked(BY_HOOKS, call).is_empty());
        }
        assert!(asked("system-calls", "sched_getaffinity").is_empty());
    }

    #[test]
    fn a_run_that_did_nothing_says_nothing() {
        let mut learned = Learned::of_run(&Trace::default());
        assert!(learned.says_nothing());
        learned.extends.insert("base".to_owned());
        assert!(!learned.says_nothing());
    }

    #[test]
    fn sockets_that_reach_nobody_are_expected_to_be_denied() {
        assert!(denied(&["read", "socket"], &["open"]));
        assert!(!denied(&["read"], &["open"]));
        assert!(denied(&["socket", "bind", "mknod"], &["mknod"]), "a pipe");
        assert!(!denied(&["socket", "bind"], &["mknod"]), "one was made");
        assert!(
            !denied(&["socket"], &["connect-unix"]),
            "somebody was reached"
        );
    }
}
