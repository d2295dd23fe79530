//! The engine for a kernel or a user without BPF LSM: Landlock for paths, mount flags for what Landlock does not see,
//! seccomp for what has no path.
//!
//! It must not claim more than it does: [`Derived`] carries every difference to the policy, and
//! [`super::standings`] turns them into grades.

mod carve;
mod found;
mod interfaces;
mod kept;
pub(super) mod mounts;
mod own_directory;
mod own_proc;
mod part;
mod ports;
mod reach;
mod ruleset;
mod view;
mod walk;

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ringfence_abi::surface::IPC;

use super::error::Error;
use super::mountinfo::{self, Mount};
use super::probe::{Namespaces, Probe};
use super::standings;
use crate::policy::{Mode, Policy};
pub(super) use found::Gaps;
use found::Grant;
pub use kept::{Act, Kept};
use mounts::MountPlan;
pub(super) use own_proc::OwnProc;
pub(super) use ports::Ports;
pub(super) use ruleset::{Domain, allow_below};
use walk::Own;

/// What this engine does not stop, and what no protection promises: Landlock has no right for it, and to close the calls
/// would break most programs. The escape suite shows each.
pub const NOT_STOPPED: &[&str] = &[
    "where a symbolic link leads can be read, of any link that mode bits let the user reach",
    "inotify tells of changes in any directory that mode bits let the user read",
    "where a profile lets tasks read something of themselves in /proc and denies nothing there, root's read all that stands there of \
     them and of other tasks of the fence",
    "where a profile lets root's tasks list /proc, what the kernel adds to the top of it after the start can be read",
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
    /// Whether tasks can read of themselves in `/proc`, by `self` and `thread-self`.
    pub(super) own_proc: bool,
    /// The rights to directories of the fence's own, as Landlock has them.
    pub(super) own: Vec<(&'static CStr, u64)>,
    /// What the ruleset lists, for who builds it elsewhere.
    grants: Vec<Grant>,
}

impl Derived {
    /// The domain as it is written down for a launcher in a container; `None` without Landlock.
    pub(super) fn domain(&self, policy: &Policy, probe: &Probe) -> Option<Domain> {
        let grants = self.gaps.is_some().then_some(self.grants.as_slice());
        (probe.landlock_abi != 0).then(|| {
            let scopes = ruleset::scopes(probe.landlock_abi, policy.kernel, false);
            ruleset::domain(probe.landlock_abi, scopes, grants)
        })
    }
}

/// Spells the policy out against the file system as it is now, for a command of `user` that starts in `directory`.
///
/// # Errors
/// If there is no Landlock, or the rules need too much of the file system listed.
pub(super) fn derive(
    policy: &Policy,
    probe: &Probe,
    user: u32,
    directory: &Path,
) -> Result<Derived, Error> {
    let ports = Ports::of(policy, probe);
    let maker = maker(policy, user);
    derive_among(policy, probe, maker, directory, ports, mountinfo::mounts)
}

/// As [`derive`], for a thread that sees other mounts than its process. Without `ports` nobody judges those of the network here.
pub(super) fn derive_among(
    policy: &Policy,
    probe: &Probe,
    maker: Option<u32>,
    directory: &Path,
    ports: Option<Ports>,
    mounts: impl FnOnce() -> Result<Vec<Mount>, Error>,
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
        own_proc: false,
        own: Vec::new(),
        grants: Vec::new(),
    };
    if probe.landlock_abi == 0 && files {
        return Err(Error::NoLandlock);
    }
    let mounts = mounts()?;
    if probe.landlock_abi != 0 {
        let ports = derived.ports.as_ref();
        let abi = probe.landlock_abi;
        let judges_names = standings::supervises_unix(policy, probe);
        let scopes = ruleset::scopes(abi, policy.kernel, judges_names);
        derived.ruleset = Some(if files {
            let own = own(policy, probe, &mounts);
            let automaton = &policy.files.automaton;
            let found = walk::walk(automaton, possible, own, maker, &mounts, directory)?;
            derived.too_many_mounts = found.mounts.is_none();
            derived.mounts = found.mounts.filter(|_| possible);
            let own_proc = match found.view.filter(|_| derived.mounts.is_some()) {
                Some(view) => Some(OwnProc::over(view).map_err(failed)?),
                None => own_proc::beside(policy, probe).filter(|_| derived.mounts.is_some()),
            };
            derived.gaps = Some(found.gaps);
            derived.grants = found.grants;
            let proc = own_proc.as_ref().map(OwnProc::root);
            let ruleset = ruleset::build(abi, scopes, &derived.grants, ports, proc)?;
            derived.own_proc = own_proc.is_some();
            if let Some(plan) = &mut derived.mounts {
                own_proc.into_iter().for_each(|own| plan.show_own(own));
                let rights = found.own.iter();
                let rights = rights.map(|own| (own.place.path, ruleset::of_own(abi, own.rights())));
                derived.own = rights.collect();
                plan.give_own(found.own);
            }
            ruleset
        } else {
            ruleset::without_files(abi, scopes, ports)?
        });
    }
    if let Some(plan) = &mut derived.mounts {
        interfaces::close(plan, policy.kernel, &mounts)?;
    }
    Ok(derived)
}

/// The user whose directories may be executable as a whole, as [`walk::walk`] has it: nobody where a program can gain privileges, since
/// then a copy of it is another one.
fn maker(policy: &Policy, user: u32) -> Option<u32> {
    (!policy.privilege_gain).then_some(user)
}

/// What may be a file system of the fence's own: where a process file system can be made, an empty one can, and in a user namespace
/// as well.
fn own(policy: &Policy, probe: &Probe, mounts: &[Mount]) -> Own {
    let empty = probe.own_proc || probe.namespaces == Namespaces::User;
    Own {
        proc: own_proc::lists(policy, probe, mounts),
        directories: empty,
    }
}

/// The error of a kernel that has made such a file system for the probe, and none for the fence.
fn failed(errno: c_int) -> Error {
    Error::System {
        what: "make a file system for the fence",
        source: io::Error::from_raw_os_error(errno),
    }
}

/// Whether this Landlock judges connections to Unix sockets by path: from ABI 9 on.
pub(super) fn judges_unix_sockets(abi: u32) -> bool {
    abi >= ruleset::ABI_RESOLVE_UNIX
}

#[cfg(test)]
#[path = "../../../../integration/confine/rules.rs"]
mod rules;
