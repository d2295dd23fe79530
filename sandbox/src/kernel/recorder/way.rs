//! How it is recorded: by which programs, on which tracepoints.

use crate::kernel::engine;

/// How it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At the hooks that a fence judges at.
    Hooks,
    /// By the system calls that succeeded.
    Calls,
}

/// A program on a tracepoint, whether a kernel without the tracepoint will do, and whether it only serves recordings that
/// know their tasks one by one.
pub(super) struct OnTracepoint {
    pub(super) name: &'static str,
    pub(super) tracepoint: &'static str,
    pub(super) required: bool,
    pub(super) follows: bool,
}

const fn needed(name: &'static str, tracepoint: &'static str) -> OnTracepoint {
    OnTracepoint {
        name,
        tracepoint,
        required: true,
        follows: false,
    }
}

const fn following(name: &'static str, tracepoint: &'static str) -> OnTracepoint {
    OnTracepoint {
        follows: true,
        ..needed(name, tracepoint)
    }
}

const CALLS: [OnTracepoint; 6] = [
    needed("record_enter", "sys_enter"),
    needed("record_exit", "sys_exit"),
    needed("record_execute", "sched_process_exec"),
    // Since 6.14.
    OnTracepoint {
        required: false,
        ..needed("record_capability", "cap_capable")
    },
    following("record_fork", "sched_process_fork"),
    following("record_gone", "sched_process_exit"),
];

/// What lists system calls beside the hooks, and what follows tasks.
const BESIDE_HOOKS: [OnTracepoint; 5] = [
    needed("record_made", "sys_enter"),
    needed("record_succeeded", "sys_exit"),
    following("record_fork", "sched_process_fork"),
    following("record_gone", "sched_process_exit"),
    following("record_renumbered", "sched_process_exec"),
];

impl Way {
    pub(super) const ALL: [Self; 2] = [Self::Hooks, Self::Calls];

    pub(super) fn tracepoints(self) -> &'static [OnTracepoint] {
        match self {
            Self::Hooks => &BESIDE_HOOKS,
            Self::Calls => &CALLS,
        }
    }

    /// Where a tracepoint's programs can be preempted (since 7.0, include/trace/bpf_probe.h), the kernel leaves out each run
    /// that would begin on the same processor meanwhile. Hooks have no such limit (kernel/bpf/trampoline.c,
    /// `bpf_prog_check_recur`).
    pub(super) fn only_lists(self, name: &str) -> bool {
        let mut lists = self.tracepoints().iter().filter(|one| !one.follows);
        self == Self::Hooks && lists.any(|one| one.name == name)
    }

    /// The name of its version, without dashes in the role.
    pub(super) fn digest(self) -> String {
        engine::digest(match self {
            Self::Hooks => "recordhooks",
            Self::Calls => "recordcalls",
        })
    }
}
