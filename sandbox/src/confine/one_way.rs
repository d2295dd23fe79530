//! What a launch settles for as long as its tasks live: what of another policy cannot come to hold for them.
//!
//! A filter of system calls, a Landlock domain, mounts of a namespace and dropped capabilities are never taken back, and nobody
//! outside puts more of them on a task. So whatever they judge stays. Under BPF LSM the hooks judge most of it once more, by the
//! policy in force: there it may become less, and more again up to what the launch has left open.

use ringfence_abi::surface::Surfaces;

use super::Engine;
use super::plan::filter;
use super::probe::Probe;
use super::seccomp::{Internet, Sockets, Wanted};
use crate::policy::Policy;

/// Why `new` cannot come to hold for the tasks of a launch under `old`; nothing if it can.
#[must_use]
pub fn in_the_way(old: &Policy, new: &Policy, engine: Engine, probe: &Probe) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut refuse = |is: bool, reason: &str| {
        if is {
            reasons.push(reason.to_owned());
        }
    };
    let lsm = engine == Engine::BpfLsm;
    refuse(
        new.privilege_gain != old.privilege_gain,
        "privilege-gain: whether an exec gives privileges was settled when the tasks started",
    );
    refuse(
        new.syscalls != old.syscalls,
        "syscalls: the filter of system calls that the tasks have is never taken back",
    );
    refuse(new.limits != old.limits, "limits: those of the start stay");
    let lacks = |one: &Policy, other: &Policy| {
        let mut all = other.capabilities.iter();
        all.any(|capability| !one.capabilities.contains(capability))
    };
    refuse(
        lacks(old, new),
        "capabilities: what the tasks have dropped they do not get again",
    );
    if lsm {
        refuse(
            paths(old) != paths(new),
            "programs: tasks are inside of those that the profile had by their number, so the [[program]] sections stay the same, in their \
             order",
        );
        let (before, after) = wanted(old, new, engine, probe);
        refuse(
            !surfaces_within(after.open, before.open),
            "kernel: the filter of system calls has closed more than the new profile opens",
        );
        refuse(
            !sockets_within(after.sockets, before.sockets),
            "network: the filter of system calls has closed sockets that the new profile lets be made",
        );
    } else {
        refuse(
            lacks(new, old),
            "capabilities: nobody takes them from tasks that run",
        );
        refuse(
            old.files.mode != new.files.mode || old.files.automaton != new.files.automaton,
            "files: Landlock domains and mounts of tasks that run are never replaced",
        );
        let (before, after) = wanted(old, new, engine, probe);
        refuse(
            before != after,
            "kernel, network: the filter of system calls that the tasks have is never replaced",
        );
    }
    reasons
}

fn paths(policy: &Policy) -> Vec<&str> {
    let programs = policy.programs.iter();
    programs.map(|program| program.path.as_str()).collect()
}

/// The filters of both. Where Landlock judges ports there are no programs on a cgroup, and nobody to reload.
fn wanted(old: &Policy, new: &Policy, engine: Engine, probe: &Probe) -> (Wanted, Wanted) {
    (
        filter(old, engine, probe, None),
        filter(new, engine, probe, None),
    )
}

fn surfaces_within(one: Surfaces, other: Surfaces) -> bool {
    other.contains(one)
}

fn sockets_within(one: Sockets, other: Sockets) -> bool {
    match (one, other) {
        (_, Sockets::Any) => true,
        (Sockets::Any, _) | (Sockets::Unix { .. }, Sockets::Pairs { .. }) => false,
        (
            Sockets::Unix { internet: one } | Sockets::Pairs { internet: one },
            Sockets::Unix { internet: other } | Sockets::Pairs { internet: other },
        ) => one == other || one == Internet::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{FilePolicy, Mode, NetworkPolicy, ProgramPolicy, Syscalls};
    use ringfence_abi::surface::KERNEL_FILES;

    fn policy() -> Policy {
        Policy {
            profile: "p".to_owned(),
            files: FilePolicy::default(),
            network: NetworkPolicy::none(),
            capabilities: vec!["chown".to_owned()],
            kernel: Surfaces::NONE,
            syscalls: Syscalls::Default,
            privilege_gain: false,
            programs: vec![ProgramPolicy {
                path: "/usr/bin/x".to_owned(),
                files: FilePolicy::default(),
                network: NetworkPolicy::none(),
                kernel: Surfaces::NONE,
            }],
            limits: crate::policy::Limits::default(),
            degradation: crate::policy::Degradation::default(),
        }
    }

    fn probe() -> Probe {
        Probe {
            landlock_abi: 9,
            seccomp: true,
            namespaces: super::super::probe::Namespaces::Mount,
            own_proc: false,
            cgroup_programs: true,
            way_to_hooks: String::new(),
            unix_programs: Ok(()),
            cgroup: None,
            uid: 0,
            gid: 0,
        }
    }

    #[track_caller]
    fn names(engine: Engine, change: impl Fn(&mut Policy), names: &[&str]) {
        let (old, mut new) = (policy(), policy());
        change(&mut new);
        let reasons = in_the_way(&old, &new, engine, &probe());
        let named: Vec<&str> = reasons
            .iter()
            .filter_map(|reason| reason.split(':').next())
            .collect();
        assert_eq!(named, names);
    }

    const BOTH: [Engine; 2] = [Engine::BpfLsm, Engine::Fallback];

    #[test]
    fn nothing_is_in_the_way_of_what_is_judged_again() {
        for engine in BOTH {
            names(engine, |_| {}, &[]);
            names(engine, |new| new.profile = "q".to_owned(), &[]);
        }
        names(Engine::BpfLsm, |new| new.files.mode = Mode::Audit, &[]);
        names(Engine::BpfLsm, |new| new.files.automaton.start = 1, &[]);
        names(Engine::BpfLsm, |new| new.capabilities.clear(), &[]);
        names(
            Engine::BpfLsm,
            |new| new.programs[0].files.mode = Mode::Off,
            &[],
        );
    }

    #[test]
    fn what_is_settled_is_named() {
        for engine in BOTH {
            names(engine, |new| new.privilege_gain = true, &["privilege-gain"]);
            names(
                engine,
                |new| new.syscalls = Syscalls::Listed(Vec::new()),
                &["syscalls"],
            );
            names(engine, |new| new.limits.pids = Some(3), &["limits"]);
            names(
                engine,
                |new| new.capabilities.push("sys_admin".to_owned()),
                &["capabilities"],
            );
        }
        names(Engine::BpfLsm, |new| new.programs.clear(), &["programs"]);
        names(Engine::BpfLsm, |new| new.kernel = KERNEL_FILES, &["kernel"]);
        names(
            Engine::BpfLsm,
            |new| new.network.reaches = true,
            &["network"],
        );
        names(
            Engine::BpfLsm,
            |new| new.network.mode = Mode::Audit,
            &["network"],
        );
        names(
            Engine::Fallback,
            |new| new.files.automaton.start = 1,
            &["files"],
        );
        names(
            Engine::Fallback,
            |new| new.files.mode = Mode::Audit,
            &["files"],
        );
        names(
            Engine::Fallback,
            |new| new.capabilities.clear(),
            &["capabilities"],
        );
        names(
            Engine::Fallback,
            |new| new.network.reaches = true,
            &["kernel, network"],
        );
    }

    #[test]
    fn sockets_can_be_closed_and_not_opened() {
        let unix = |internet| Sockets::Unix { internet };
        let pairs = |internet| Sockets::Pairs { internet };
        let (closed, judged) = (Internet::Closed, Internet::Judged);
        assert!(sockets_within(unix(closed), unix(judged)));
        assert!(sockets_within(pairs(judged), unix(judged)));
        assert!(sockets_within(unix(judged), Sockets::Any));
        assert!(!sockets_within(unix(judged), unix(closed)));
        assert!(!sockets_within(unix(closed), pairs(closed)));
        assert!(!sockets_within(Sockets::Any, unix(judged)));
    }
}
