//! What a task reads of itself in `/proc`.
//!
//! Landlock knows files by what they are when its ruleset is made, and the directory of a process that starts later is none of
//! them. So root gets a second process file system, whose root is listed, and which shows of tasks only the ones that the
//! reader may trace (`hidepid=ptraceable`, since 5.8): inside a Landlock domain, the fence's own
//! (security/landlock/task.c, 6.12: `hook_ptrace_access_check`). There are two places for it ([`Place`]).

use std::ffi::{CStr, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use ringfence_abi::rights::READ;
use ringfence_abi::surface::KERNEL_FILES;

use super::mounts::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use super::view::View;
use crate::confine::act::check;
use crate::confine::mountinfo::Mount;
use crate::confine::probe::Probe;
use crate::policy::Policy;

/// Where it is mounted beside `/proc`: the kernel makes this directory for serial drivers, and only root may look into it.
const BESIDE: &str = "/proc/tty/driver";
/// The links, and what they say.
const LINKS: [(&CStr, &CStr, &CStr); 2] = [
    (c"self", c"/proc/self", c"/proc/tty/driver/self"),
    (
        c"thread-self",
        c"/proc/thread-self",
        c"/proc/tty/driver/thread-self",
    ),
];

/// Such a file system, mounted nowhere yet.
#[derive(Debug)]
pub(in crate::confine) struct OwnProc {
    root: OwnedFd,
    place: Place,
}

/// Where it comes to lie.
#[derive(Debug)]
enum Place {
    /// Beside `/proc`, with nothing but tasks in it (`subset=pid`), and links in its direction on `/proc/self` and
    /// `/proc/thread-self`. By its number a task is still looked up where nothing of it may be read.
    Beside,
    /// Over `/proc`, for a fence that lists it. What is no task and may not be read is covered.
    Over(View),
}

/// Whether the policy wants something of tasks to be read, and one can be had here.
fn is_wanted(policy: &Policy, probe: &Probe) -> bool {
    let automaton = &policy.files.automaton;
    // Where all of /proc may be read, nothing has to be done; where the place may be, it is not to be covered.
    probe.own_proc
        && policy.files.shows_own_tasks
        && automaton.below(b"/proc/1") & READ != 0
        && automaton.below(BESIDE.as_bytes()) & READ == 0
}

/// One that lies beside `/proc`, if the policy lets tasks read something of themselves, and here one can be had.
pub(super) fn beside(policy: &Policy, probe: &Probe) -> Option<OwnProc> {
    is_wanted(policy, probe).then(OwnProc::beside)?.ok()
}

/// Whether one is to lie over `/proc`: the policy lets it be listed. Not where something else is mounted in it, which would be in
/// sight no more or, where it hides something, hide it no more; nor where something in it may be written.
pub(super) fn lists(policy: &Policy, probe: &Probe, mounts: &[Mount]) -> bool {
    let within =
        |mount: &Mount| mount.point.starts_with("/proc") && mount.point != Path::new("/proc");
    policy.files.automaton.rights(b"/proc") & READ != 0
        && !policy.kernel.contains(KERNEL_FILES)
        && !mounts.iter().any(within)
        && is_wanted(policy, probe)
}

impl OwnProc {
    /// Makes one that lies beside `/proc`.
    ///
    /// # Errors
    /// Where the kernel does not know it, or does not let this user make it.
    pub(in crate::confine) fn beside() -> Result<Self, c_int> {
        if !Path::new(BESIDE).is_dir() {
            return Err(libc::ENOENT);
        }
        Self::new(&[(c"subset", c"pid")], Place::Beside)
    }

    /// Makes one that lies over `/proc`, and shows of what is no task as much as the view does.
    ///
    /// # Errors
    /// As [`OwnProc::beside`].
    pub(super) fn over(view: View) -> Result<Self, c_int> {
        Self::new(&[], Place::Over(view))
    }

    fn new(options: &[(&CStr, &CStr)], place: Place) -> Result<Self, c_int> {
        let options = [&[(c"hidepid", c"ptraceable")], options].concat();
        let mount = mounts::new(c"proc", &options, RDONLY | NOSUID | NODEV | NOEXEC)?;
        // SAFETY: a descriptor that was just opened, and belongs to nobody else.
        let root = unsafe { OwnedFd::from_raw_fd(mount) };
        Ok(Self { root, place })
    }

    /// Its root, to be listed in a ruleset.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether it lies over `/proc`.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::Over(_))
    }

    /// Mounts it. Runs between fork and exec, in a mount namespace that is nobody else's.
    pub(super) fn attach(&self) -> Result<(), c_int> {
        match &self.place {
            Place::Beside => self.attach_beside(),
            Place::Over(view) => view.lay(self.root.as_raw_fd()),
        }
    }

    fn attach_beside(&self) -> Result<(), c_int> {
        let place = c"/proc/tty/driver";
        // Links are cloned from a file system that is mounted (before 6.15 only such can be), and then covered.
        let links = mounts::new(c"tmpfs", &[], NOSUID | NODEV | NOEXEC)?;
        for (name, _, target) in LINKS {
            // SAFETY: C strings that live for ever, and the descriptor of a mount.
            check(unsafe { libc::symlinkat(target.as_ptr(), links, name.as_ptr()) }.into())?;
        }
        mounts::attach(links, place)?;
        for (name, path, _) in LINKS {
            mounts::attach(mounts::clone_at(links, name)?, path)?;
        }
        mounts::attach(self.root.as_raw_fd(), place)
    }
}
