//! The fallback engine around a container: what its runtime starts is put behind it from outside.
//!
//! ```text
//! Container::derive ──> standings() ──> place() ──> Gate ──(its first program runs)──> open()
//!   in the container's    what is       launcher in,            mounts are laid, and the launcher learns
//!   mount namespace       enforced      and waits               what to do: a domain and filters
//! ```
//!
//! Mounts are laid by the monitor, which enters the container's mount namespace for it, and not before the runtime has
//! finished: runtimes remount what they made, and would take flags away again. A domain and a filter can only be entered by the
//! process itself, which is what the launcher is for; `exec` gets it in front as well, and finds the same file.

mod enter;
mod place;
mod told;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use ringfence_abi::surface::IPC;

use super::Engine;
use super::error::Error;
use super::fallback::{self, mounts::MountPlan};
use super::mountinfo;
use super::plan;
use super::probe::{Namespaces, Probe};
use super::seccomp::Program;
use super::standings;
use crate::policy::{Grade, Memory, Policy, Protection, Standing};
pub use enter::{Namespace, in_network_of};
pub use place::PLAN;
use place::Place;

/// Where the launcher is, in the container.
pub const LAUNCHER_PLACE: &str = "/.ringfence";
/// The launcher.
pub const LAUNCHER: &str = "/.ringfence/launch";

/// A container, as far as the engine has to know it.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Its first process.
    pub pid: i32,
    /// The directory that becomes its root, as that process sees it now.
    pub root: &'a Path,
    /// The working directory of its command.
    pub directory: &'a Path,
    /// Its user.
    pub uid: u32,
    /// Whether its IPC namespace is nobody else's.
    pub own_ipc: bool,
    /// Whether its runtime labels processes for another security module, by writing to the container's /proc.
    pub labelled: bool,
}

/// What the engine makes of a policy in one container.
#[derive(Debug)]
pub struct Container {
    namespace: Namespace,
    mounts: MountPlan,
    told: Vec<u8>,
    standings: Vec<Standing>,
}

/// A container whose launcher waits. Dropped, it never goes on: it finds nothing, and ends.
#[derive(Debug)]
pub struct Gate {
    container: Container,
    place: Place,
}

impl Container {
    /// Spells the policy out against the container's files as they are now. What `memory` holds is not compiled again.
    ///
    /// # Errors
    /// If the container cannot be entered, or the engine cannot hold the policy at all.
    pub fn derive(
        policy: &Policy,
        probe: &Probe,
        around: &Around<'_>,
        memory: Memory<'_>,
    ) -> Result<Self, Error> {
        if policy.privilege_gain {
            return Err(Error::PrivilegeGain);
        }
        let probe = Probe {
            // By privilege, and from outside.
            namespaces: Namespaces::Mount,
            // It would be laid over what the runtime has made.
            own_proc: false,
            uid: around.uid,
            ..probe.clone()
        };
        let mut policy = policy.clone();
        let shares_ipc = !around.own_ipc && !policy.kernel.contains(IPC);
        let mut wanted = plan::filter(&policy, Engine::Fallback, &probe, None);
        wanted.shares_ipc = shares_ipc;
        // Queues of the container's own namespace are its own.
        if around.own_ipc {
            policy.kernel = policy.kernel.union(IPC);
        }
        let namespace = Namespace::of(around.pid, around.root)?;
        let derive = || {
            namespace.before_start(|proc| {
                // Whose a directory is in its user namespace is not known. Its launcher knows no rules about ports.
                fallback::derive_among(&policy, &probe, None, around.directory, None, || {
                    mountinfo::mounts_of_thread(proc)
                })
            })
        };
        let (filters, derived) = match Program::recall(wanted, &policy.syscalls, memory) {
            Some(filters) => (filters, derive()),
            // Both take milliseconds, in which a runtime waits.
            None => {
                let (filters, derived) = thread::scope(|scope| {
                    let filters = scope.spawn(|| Program::all(wanted, &policy.syscalls));
                    let derived = derive();
                    (filters.join(), derived)
                });
                let filters = filters.unwrap_or_else(|panic| resume_unwind(panic))?;
                Program::keep(&filters, wanted, &policy.syscalls, memory);
                (filters, derived)
            }
        };
        let derived = derived??;
        let mut standings = standings::of(
            &policy,
            Engine::Fallback,
            &probe,
            Some(&derived),
            around.uid,
        );
        note(
            &mut standings,
            around,
            shares_ipc,
            derived.mounts.is_some(),
            &probe.way_to_hooks,
        );
        let told = told::write(derived.domain(&policy, &probe).as_ref(), &filters);
        let mut mounts = derived.mounts.unwrap_or_else(MountPlan::everything_open);
        if around.labelled {
            mounts.leave(c"/proc".to_owned());
        }
        mounts.push_launcher();
        Ok(Self {
            namespace,
            mounts,
            told,
            standings,
        })
    }

    /// What is really enforced.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Puts the launcher into the container, where it will wait.
    ///
    /// # Errors
    /// If its directory is not as the runtime was to make it.
    pub fn place(self) -> Result<Gate, Error> {
        let place = self.namespace.before_start(|_| Place::fill())??;
        Ok(Gate {
            container: self,
            place,
        })
    }
}

impl Gate {
    /// Whether the launcher has come to the gate: the runtime has done all that it does in the container then.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn is_called(&self) -> Result<bool, Error> {
        self.place.is_called()
    }

    /// Lays the mounts and lets the launcher go on.
    ///
    /// # Errors
    /// If a mount cannot be laid; nothing of the container starts then.
    pub fn open(self) -> Result<(), Error> {
        let mounts = &self.container.mounts;
        let laid = self.container.namespace.when_started(|| mounts.enter())?;
        laid.map_err(|errno| Error::Container {
            what: "lay the mounts",
            source: io::Error::from_raw_os_error(errno),
        })?;
        self.place.tell(&self.container.told)
    }
}

/// Readable when [`Gate::is_called`] may say so.
impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }
}

/// What is otherwise than for a command of our own launch.
fn note(
    standings: &mut [Standing],
    around: &Around<'_>,
    shares_ipc: bool,
    has_mounts: bool,
    way_to_hooks: &str,
) {
    const APART: &str =
        "what `exec` adds and what was there before do not signal or trace each other";
    const CLOSED: &str =
        "System V IPC and POSIX message queues are closed, because the IPC namespace is shared";
    const OPEN: &str = "mode and times of files in /proc can be changed, because the runtime labels processes there";
    let metadata = around.labelled && has_mounts;
    for (holds, protection, grade, reason) in [
        (true, Protection::Processes, Grade::Stricter, APART),
        (shares_ipc, Protection::Processes, Grade::Stricter, CLOSED),
        (metadata, Protection::FilesMetadata, Grade::Weaker, OPEN),
    ] {
        let found = standings
            .iter_mut()
            .find(|standing| holds && standing.protection == protection);
        if let Some(standing) = found {
            standing.grade = standing.grade.max(grade);
            standing.reasons.push(reason.to_owned());
            standing
                .remedy
                .get_or_insert_with(|| way_to_hooks.to_owned());
        }
    }
}

impl MountPlan {
    /// The launcher stays executable whatever the rules say of its directory, and what it reads stays as it is.
    fn push_launcher(&mut self) {
        let place = std::ffi::CString::from(c"/.ringfence");
        self.push(place, false, true, fallback::mounts::Need::Always);
    }
}
