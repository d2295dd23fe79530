//! What of a policy is really enforced on a container, where that differs from a command of our own launch.

use ringfence_abi::surface::Surfaces;

use crate::{
    command::Failure,
    confine::{self, Engine, Probe},
    oci::Bundle,
    policy::{Backend, Grade, Policy, Protection, Standing, Syscalls},
};

/// What of `standings`, as the engine itself has them, an engine of containers changes.
pub(super) fn of_fallback(
    standings: &[Standing],
    policy: &Policy,
    bundle: &Bundle,
) -> Vec<Standing> {
    let changed = |standing: &Standing| match standing.protection {
        Protection::Limits => limits(policy, bundle),
        _ => standing.clone(),
    };
    standings.iter().map(changed).collect()
}

/// The standings of `policy`, of which `open` is open, for the container that `bundle` describes.
pub(super) fn of(
    policy: &Policy,
    open: Surfaces,
    bundle: &Bundle,
    probe: &Probe,
) -> Result<Vec<Standing>, Failure> {
    let standings = confine::standings(policy, Engine::BpfLsm, probe, None)?;
    Ok(standings
        .into_iter()
        .map(|standing| match standing.protection {
            Protection::Limits => limits(policy, bundle),
            Protection::PrivilegeGain => privilege_gain(policy, bundle),
            Protection::Syscalls => syscalls(policy, open, bundle),
            _ => standing,
        })
        .collect())
}

/// What the bundle says is set by the runtime, which fails where it cannot; time is kept by the monitor.
fn limits(policy: &Policy, bundle: &Bundle) -> Standing {
    let limits = &policy.limits;
    let by_group = limits.memory.is_some() || limits.pids.is_some() || limits.cpu_percent.is_some();
    let by_process = limits.open_files.is_some() || limits.file_size.is_some();
    let backends: Vec<_> = [
        by_group.then_some(Backend::Cgroup),
        by_process.then_some(Backend::Rlimit),
    ]
    .into_iter()
    .flatten()
    .collect();
    let standing = Standing::exact(Protection::Limits, &backends);
    match bundle.first_unlimited(limits) {
        None => standing,
        Some(name) => Standing {
            grade: Grade::Absent,
            reasons: vec![format!("the bundle does not limit `{name}` as the profile does")],
            remedy: Some(
                "start it by `ringfence oci runtime`, which lowers it, or limit it there (--memory and --memory-swap, \
                 --pids-limit, --cpus, --ulimit)"
                    .to_owned(),
            ),
            ..standing
        },
    }
}

fn privilege_gain(policy: &Policy, bundle: &Bundle) -> Standing {
    let standing = Standing::exact(Protection::PrivilegeGain, &[Backend::Capabilities]);
    if policy.privilege_gain || bundle.process().no_new_privileges {
        return standing;
    }
    Standing {
        grade: Grade::Weaker,
        reasons: vec!["the bundle does not set noNewPrivileges, so that set-user-id programs change the user".to_owned()],
        remedy: Some(
            "start it with --security-opt no-new-privileges, or by `ringfence oci runtime`, which sets it".to_owned(),
        ),
        ..standing
    }
}

fn syscalls(policy: &Policy, open: Surfaces, bundle: &Bundle) -> Standing {
    let standing = Standing::exact(Protection::Syscalls, &[Backend::BpfLsm, Backend::Seccomp]);
    if policy.syscalls != Syscalls::Default {
        return Standing {
            grade: Grade::Absent,
            reasons: vec!["a list of system calls is not put into bundles".to_owned()],
            remedy: Some("give the list to the engine (--security-opt seccomp=FILE)".to_owned()),
            ..standing
        };
    }
    match bundle.first_open(&confine::closed_calls(open)) {
        None => standing,
        Some(name) => Standing {
            grade: Grade::Weaker,
            reasons: vec![format!(
                "the bundle's filter lets `{name}` through, so that only the hooks judge it"
            )],
            remedy: Some("start it by `ringfence oci runtime`, which closes it".to_owned()),
            ..standing
        },
    }
}
