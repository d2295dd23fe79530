//! The engine for a kernel or a user without BPF LSM: Landlock for paths, mount flags for what Landlock does not see,
//! seccomp for what has no path.
//!
//! It must not claim more than it does: [`Derived`] carries every difference to the policy, and
//! [`super::standings`] turns them into grades.

mod carve;
mod found;
mod interfaces;
pub(super) mod mounts;
mod ports;
mod reach;
mod ruleset;
mod walk;

use std::os::fd::OwnedFd;
use std::path::Path;

use ringfence_abi::surface::IPC;

use super::error::Error;
use super::mountinfo::{self, Mount};
use super::probe::{Namespaces, Probe};
use crate::policy::{Mode, Policy};
pub(super) use found::Gaps;
use found::Grant;
use mounts::MountPlan;
pub(super) use ports::Ports;
pub(super) use ruleset::Domain;

/// What this engine does not stop, and what no protection promises: Landlock has no right for it, and to close the calls
/// would break most programs. The escape suite shows each.
pub const NOT_STOPPED: &[&str] = &[
    "where a symbolic link leads can be read, of any link that mode bits let the user reach",
    "inotify tells of changes in any directory that mode bits let the user read",
];

/// What the fallback engine makes of a policy on this machine.
#[derive(Debug)]
pub(super) struct Derived {
    /// The Landlock ruleset and how many paths it lists.
    pub(super) ruleset: Option<(OwnedFd, usize)>,
    /// TCP ports, where Landlock judges them.
    pub(super) ports: Option<Ports>,
    /// The mounts, if a mount namespace can be had and the files section is enforced.
    pub(super) mounts: Option<MountPlan>,
    /// Where this is not what the policy says; `None` if the files section is not enforced.
    pub(super) gaps: Option<Gaps>,
    /// Whether System V IPC and POSIX message queues of others are out of reach by a namespace.
    pub(super) own_ipc: bool,
    /// Whether mounts were left out because there would be too many.
    pub(super) too_many_mounts: bool,
    /// What the ruleset lists, for who builds it elsewhere.
    grants: Vec<Grant>,
}

impl Derived {
    /// The domain as it is written down for a launcher in a container; `None` without Landlock.
    pub(super) fn domain(&self, policy: &Policy, probe: &Probe) -> Option<Domain> {
        let grants = self.gaps.is_some().then_some(self.grants.as_slice());
        (probe.landlock_abi != 0)
            .then(|| ruleset::domain(probe.landlock_abi, policy.kernel, grants))
    }
}

/// Spells the policy out against the file system as it is now, for a command that starts in `directory`.
///
/// # Errors
/// If there is no Landlock, or the rules need too much of the file system listed.
pub(super) fn derive(policy: &Policy, probe: &Probe, directory: &Path) -> Result<Derived, Error> {
    let ports = Ports::of(policy, probe);
    derive_among(policy, probe, directory, ports, mountinfo::mounts)
}

/// As [`derive`], for a thread that sees other mounts than its process. Without `ports` nobody judges those of the network here.
pub(super) fn derive_among(
    policy: &Policy,
    probe: &Probe,
    directory: &Path,
    ports: Option<Ports>,
    mounts: impl Fn() -> Result<Vec<Mount>, Error>,
) -> Result<Derived, Error> {
    let possible = !matches!(probe.namespaces, Namespaces::None { .. });
    let own_ipc = possible && !policy.kernel.contains(IPC);
    let files = policy.files.mode == Mode::Enforce;
    let mut derived = Derived {
        ruleset: None,
        ports,
        mounts: possible.then(MountPlan::everything_open),
        gaps: None,
        own_ipc,
        too_many_mounts: false,
        grants: Vec::new(),
    };
    if probe.landlock_abi == 0 && files {
        return Err(Error::NoLandlock);
    }
    if probe.landlock_abi != 0 {
        let ports = derived.ports.as_ref();
        derived.ruleset = Some(if files {
            let found = walk::walk(&policy.files.automaton, possible, directory)?;
            derived.too_many_mounts = found.mounts.is_none();
            derived.mounts = found.mounts.filter(|_| possible);
            derived.gaps = Some(found.gaps);
            derived.grants = found.grants;
            ruleset::build(probe.landlock_abi, policy.kernel, &derived.grants, ports)?
        } else {
            ruleset::without_files(probe.landlock_abi, policy.kernel, ports)?
        });
    }
    if let Some(plan) = &mut derived.mounts {
        interfaces::close(plan, policy.kernel, &mounts()?)?;
    }
    Ok(derived)
}

/// Whether this Landlock judges connections to Unix sockets by path: from ABI 9 on.
pub(super) fn judges_unix_sockets(abi: u32) -> bool {
    abi >= ruleset::ABI_RESOLVE_UNIX
}

#[cfg(test)]
#[path = "../../../../integration/rules.rs"]
mod rules;
