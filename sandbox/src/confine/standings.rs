//! What a launch would really enforce, protection by protection, with the reason wherever it is not the policy.

use std::path::Path;

use ringfence_abi::rights::{EXEC, READ, WRITE};
use ringfence_abi::surface::{CGROUP, IPC, KERNEL_FILES, MOUNT, PTRACE, SCHEDULER, SIGNALS};

mod network;

use super::Engine;
use super::fallback::{Derived, Gaps};
use super::probe::{Namespaces, Probe};
use super::programs;
use crate::policy::{Backend, Grade, Limits, Mode, Policy, Protection, Standing};
pub(super) use network::{UnixSockets, supervises_unix, unix_sockets};

/// The first Landlock ABI that scopes signals and abstract Unix sockets (6.12).
const ABI_SCOPE: u32 = 6;
/// The first Landlock ABI that sees truncation by path (6.2).
const ABI_TRUNCATE: u32 = 3;

/// The standings of `policy` for a command of user `uid`; `derived` is there for the fallback engine only.
pub(super) fn of(
    policy: &Policy,
    engine: Engine,
    probe: &Probe,
    derived: Option<&Derived>,
    uid: u32,
) -> Vec<Standing> {
    let differences = match engine {
        Engine::BpfLsm => Vec::new(),
        Engine::Fallback => programs::differences(policy),
    };
    Protection::ALL
        .into_iter()
        .map(|protection| match protection {
            Protection::Limits => limits(&policy.limits, probe, uid),
            _ => one(protection, policy, engine, probe, derived),
        })
        .map(|standing| match engine {
            Engine::BpfLsm => standing,
            Engine::Fallback => {
                programs::at_large(standing, policy, &differences, &probe.way_to_hooks)
            }
        })
        .collect()
}

fn one(
    protection: Protection,
    policy: &Policy,
    engine: Engine,
    probe: &Probe,
    derived: Option<&Derived>,
) -> Standing {
    match (protection, engine, derived) {
        (Protection::Capabilities | Protection::PrivilegeGain, ..) => {
            Standing::exact(protection, &[Backend::Capabilities])
        }
        (Protection::Syscalls, ..) if !probe.seccomp => no_seccomp(protection, probe),
        (Protection::Syscalls, ..) => syscalls(policy, probe, derived),
        (Protection::Network, Engine::BpfLsm, _) => network::by_hooks(policy, probe),
        (_, Engine::BpfLsm, _) => Standing::exact(protection, &[Backend::BpfLsm]),
        (Protection::Network, ..) => network::by_fallback(policy, probe, derived),
        (Protection::Processes, ..) => processes(policy, probe),
        (_, Engine::Fallback, Some(derived)) => files(protection, policy, probe, derived),
        (_, Engine::Fallback, None) => absent(protection, "this kernel has no Landlock", probe),
    }
}

fn files(protection: Protection, policy: &Policy, probe: &Probe, derived: &Derived) -> Standing {
    match (policy.files.mode, &derived.gaps) {
        (Mode::Off, _) => Standing::exact(protection, &[]),
        (Mode::Audit, _) => absent(
            protection,
            "files are in audit mode, and only BPF LSM can report without denying",
            probe,
        ),
        (Mode::Enforce, None) => absent(protection, "this kernel has no Landlock", probe),
        (Mode::Enforce, Some(gaps)) => match protection {
            Protection::FilesRead => reading(gaps, probe, derived.own_proc),
            Protection::FilesWrite => writing(gaps, probe, derived),
            Protection::FilesMetadata => metadata(gaps, probe, derived),
            _ => executing(gaps, probe, derived),
        },
    }
}

fn reading(gaps: &Gaps, probe: &Probe, own_proc: bool) -> Standing {
    let protection = Protection::FilesRead;
    let backends = [Backend::Landlock, Backend::Seccomp];
    if let Some(path) = &gaps.unreadable_program {
        return Standing {
            grade: Grade::Weaker,
            reasons: vec![format!(
                "without BPF LSM what may be executed may be read too, {} for one",
                path.display()
            )],
            remedy: Some("list it under files.read as well".to_owned()),
            ..Standing::exact(protection, &backends)
        };
    }
    let mut reasons = later(gaps, READ, "read");
    if gaps.processes {
        let what = if own_proc {
            "what is listed of processes in /proc can be read of the fence's own tasks only, as /proc/self and \
             /proc/thread-self, and by number only where /proc may be listed (read = [\"/proc\"])"
        } else {
            "/proc/self and what is listed of other processes in /proc cannot be read"
        };
        reasons.push(what.to_owned());
    }
    // The calls that [`super::syscalls::CLOSED_IN_FALLBACK`] closes.
    reasons.push("extended attributes cannot be read by path".to_owned());
    if let Some(path) = &gaps.unlisted {
        reasons.push(format!(
            "{} cannot be listed, because not everything in it can be",
            path.display()
        ));
    }
    stricter(protection, &backends, reasons, probe)
}

fn writing(gaps: &Gaps, probe: &Probe, derived: &Derived) -> Standing {
    let protection = Protection::FilesWrite;
    if derived.mounts.is_none() && probe.landlock_abi < ABI_TRUNCATE {
        return Standing {
            grade: Grade::Weaker,
            reasons: vec![format!(
                "Landlock ABI {} does not see files being truncated",
                probe.landlock_abi
            )],
            remedy: Some("use Linux 6.2 or newer".to_owned()),
            ..Standing::exact(protection, &[Backend::Landlock])
        };
    }
    let mut reasons = later(gaps, WRITE, "made or written");
    reasons.extend(gaps.own.iter().map(|place| own(place)));
    reasons.extend(loss(gaps));
    if let Some((path, what)) = &gaps.unmade {
        reasons.push(format!(
            "{what} {}, because what is denied there does not exist yet and could be made too",
            path.display()
        ));
    }
    if probe.landlock_abi < 2 {
        reasons.push("Landlock ABI 1 cannot move files between directories".to_owned());
    }
    stricter(protection, &with_mounts(derived), reasons, probe)
}

fn own(place: &Path) -> String {
    format!(
        "{} is the fence's own: nothing of others is there but what the profile allows and was there at the start, and what is made \
         there is gone with the fence",
        place.display()
    )
}

/// What is said of a path that a rule spells out, in a directory of the fence's own.
pub(super) fn loss(gaps: &Gaps) -> Option<String> {
    gaps.lost.as_ref().map(|path| {
        format!(
            "{} does not exist yet, and what the command makes there is gone with the fence",
            path.display()
        )
    })
}

fn metadata(gaps: &Gaps, probe: &Probe, derived: &Derived) -> Standing {
    let protection = Protection::FilesMetadata;
    if derived.mounts.is_none() {
        return no_mounts(
            protection,
            "mode, owner, times and attributes of the user's own files can be changed everywhere",
            probe,
            derived,
        );
    }
    if let Some(path) = &gaps.edge {
        return Standing {
            grade: Grade::Weaker,
            reasons: vec![format!(
                "mode and times of {} itself can be changed, because everything in it may be",
                path.display()
            )],
            remedy: Some("list the directory itself under files.write as well".to_owned()),
            ..Standing::exact(protection, &[Backend::Mounts])
        };
    }
    stricter(
        protection,
        &[Backend::Mounts],
        later(gaps, WRITE, "changed"),
        probe,
    )
}

fn executing(gaps: &Gaps, probe: &Probe, derived: &Derived) -> Standing {
    let protection = Protection::Exec;
    if derived.mounts.is_none() {
        return no_mounts(
            protection,
            "a program that can be read can be run by the dynamic loader",
            probe,
            derived,
        );
    }
    let mut backends = with_mounts(derived);
    backends.push(Backend::Seccomp);
    let mut reasons = later(gaps, EXEC, "executed");
    if let Some(path) = &gaps.programs {
        reasons.push(format!(
            "all in {} can be executed, as the command can read it and make what it may execute there",
            path.display()
        ));
    }
    reasons.push("memory files can be made with MFD_NOEXEC_SEAL only".to_owned());
    stricter(protection, &backends, reasons, probe)
}

fn syscalls(policy: &Policy, probe: &Probe, derived: Option<&Derived>) -> Standing {
    let protection = Protection::Syscalls;
    let Some(derived) = derived else {
        return Standing::exact(protection, &[Backend::Seccomp]);
    };
    let gaps = derived.gaps.as_ref();
    let closed = !policy.kernel.contains(KERNEL_FILES.union(CGROUP));
    if closed && derived.mounts.is_none() && gaps.is_none_or(|gaps| gaps.settings) {
        return Standing {
            backends: vec![Backend::Seccomp],
            ..no_mounts(
                protection,
                "the kernel's settings in /proc/sys, /sys and the cgroup file systems can be written where permission \
                 bits let it",
                probe,
                derived,
            )
        };
    }
    let mut backends = vec![Backend::Seccomp];
    let mut reasons = Vec::new();
    if derived.mounts.is_some() {
        backends.push(Backend::Mounts);
    }
    if !policy.kernel.contains(KERNEL_FILES) && gaps.is_some_and(|gaps| gaps.settings) {
        reasons.push("nothing in /proc and /sys can be written".to_owned());
    }
    if probe.landlock_abi > 0 && policy.kernel.contains(MOUNT) {
        backends.push(Backend::Landlock);
        reasons.push(
            "`mount` is open in the profile, and Landlock keeps mounts as they are".to_owned(),
        );
    }
    stricter(protection, &backends, reasons, probe)
}

fn processes(policy: &Policy, probe: &Probe) -> Standing {
    let protection = Protection::Processes;
    let mut reasons = Vec::new();
    if policy.kernel.contains(PTRACE) {
        reasons.push(
            "`ptrace` is open in the profile, and Landlock keeps tasks outside from being traced"
                .to_owned(),
        );
    }
    if !policy.kernel.contains(SCHEDULER) {
        reasons.push(
            "a task sets priority, scheduling and limits of itself alone, and names itself by 0 where no supervisor is asked, as in containers"
                .to_owned(),
        );
    }
    if !policy.kernel.contains(IPC) && matches!(probe.namespaces, Namespaces::None { .. }) {
        reasons.push("System V IPC and POSIX message queues are closed".to_owned());
    }
    match probe.landlock_abi {
        0 => absent(protection, "this kernel has no Landlock", probe),
        _ if policy.kernel.contains(SIGNALS) => stricter(
            protection,
            &[Backend::Landlock, Backend::Seccomp],
            reasons,
            probe,
        ),
        abi if abi < ABI_SCOPE => Standing {
            grade: Grade::Weaker,
            reasons: vec![format!(
                "Landlock ABI {abi} keeps tasks from being traced, but not from being signalled by the same user"
            )],
            remedy: Some("use Linux 6.12 or newer, or --user with a user of its own".to_owned()),
            ..Standing::exact(protection, &[Backend::Landlock])
        },
        _ => stricter(
            protection,
            &[Backend::Landlock, Backend::Seccomp],
            reasons,
            probe,
        ),
    }
}

/// What cannot be limited as asked, limit by limit; the worst of them is the grade.
fn limits(limits: &Limits, probe: &Probe, uid: u32) -> Standing {
    let offers = |controller: &str| {
        probe
            .cgroup
            .as_ref()
            .is_some_and(|place| place.offers(controller))
    };
    let mut reasons = Vec::new();
    let mut backends = Vec::new();
    let mut grade = Grade::Exact;
    let mut note = |worse: Grade, backend: Option<Backend>, reason: &str| {
        grade = grade.max(worse);
        backends.extend(backend);
        reasons.extend((!reason.is_empty()).then(|| reason.to_owned()));
    };
    if limits.memory.is_some() {
        if offers("memory") {
            note(Grade::Exact, Some(Backend::Cgroup), "");
        } else {
            note(
                Grade::Weaker,
                Some(Backend::Rlimit),
                "memory is limited for each process, not for all together",
            );
        }
    }
    if limits.pids.is_some() {
        if offers("pids") {
            note(Grade::Exact, Some(Backend::Cgroup), "");
        } else if uid == 0 {
            // The kernel does not count the first user's tasks (kernel/fork.c, 6.18: `copy_process`).
            note(
                Grade::Absent,
                None,
                "the number of tasks cannot be limited for root without a cgroup controller",
            );
        } else {
            note(
                Grade::Stricter,
                Some(Backend::Rlimit),
                "tasks of the same user outside the fence count as well",
            );
        }
    }
    if limits.cpu_percent.is_some() {
        if offers("cpu") {
            note(Grade::Exact, Some(Backend::Cgroup), "");
        } else {
            note(
                Grade::Absent,
                None,
                "there is no cgroup controller for processor time",
            );
        }
    }
    if limits.open_files.is_some() || limits.file_size.is_some() {
        note(Grade::Exact, Some(Backend::Rlimit), "");
    }
    backends.sort_unstable();
    backends.dedup();
    let remedy = (grade >= Grade::Weaker).then(|| {
        "use a machine whose cgroup v2 hierarchy has the controllers (`cgroup_no_v1=all`), or set \
         protection.limits to best-effort"
            .to_owned()
    });
    Standing {
        protection: Protection::Limits,
        backends,
        grade,
        reasons,
        remedy,
    }
}

fn later(gaps: &Gaps, right: u8, verb: &str) -> Vec<String> {
    gaps.later
        .get(&right)
        .map(|path| {
            format!(
                "what is listed in {} and does not exist yet cannot be {verb}",
                path.display()
            )
        })
        .into_iter()
        .collect()
}

fn with_mounts(derived: &Derived) -> Vec<Backend> {
    let mut backends = vec![Backend::Landlock];
    backends.extend(derived.mounts.as_ref().map(|_| Backend::Mounts));
    backends
}

fn no_mounts(protection: Protection, what: &str, probe: &Probe, derived: &Derived) -> Standing {
    let (why, remedy) = match &probe.namespaces {
        _ if derived.too_many_mounts => (
            "the rules would need more than 512 mounts".to_owned(),
            "let the rules cover whole directories (`/**`)".to_owned(),
        ),
        Namespaces::None { errno } => (
            format!(
                "no mount namespace can be made here ({})",
                std::io::Error::from_raw_os_error(*errno)
            ),
            "allow unprivileged user namespaces for ringfence (on Ubuntu by an AppArmor profile, in containers by \
             their seccomp profile), or run as root"
                .to_owned(),
        ),
        _ => ("mounts are not used".to_owned(), probe.way_to_hooks.clone()),
    };
    Standing {
        grade: Grade::Weaker,
        reasons: vec![format!("{what}: {why}")],
        remedy: Some(remedy),
        ..Standing::exact(protection, &[Backend::Landlock])
    }
}

fn no_seccomp(protection: Protection, probe: &Probe) -> Standing {
    absent(protection, "this kernel has no seccomp filters", probe)
}

fn absent(protection: Protection, reason: &str, probe: &Probe) -> Standing {
    Standing {
        protection,
        backends: Vec::new(),
        grade: Grade::Absent,
        reasons: vec![reason.to_owned()],
        remedy: Some(probe.way_to_hooks.clone()),
    }
}

fn stricter(
    protection: Protection,
    backends: &[Backend],
    reasons: Vec<String>,
    probe: &Probe,
) -> Standing {
    if reasons.is_empty() {
        return Standing::exact(protection, backends);
    }
    Standing {
        grade: Grade::Stricter,
        reasons,
        remedy: Some(probe.way_to_hooks.clone()),
        ..Standing::exact(protection, backends)
    }
}
