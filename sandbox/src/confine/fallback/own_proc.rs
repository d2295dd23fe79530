//! What a task reads of itself in `/proc`.
//!
//! Landlock knows files by what they are when its ruleset is made, and the directory of a process that starts later is none of
//! them. So root gets a second process file system, which shows tasks alone (`subset=pid`), and of those only the ones
//! that the reader may trace (`hidepid=ptraceable`; both since 5.8): inside a Landlock domain, the fence's own
//! (security/landlock/task.c, 6.12: `hook_ptrace_access_check`). All of it may be read, and links in its direction lie on `/proc/self`
//! and `/proc/thread-self`. By its number a task is still looked up where nothing of it may be read.

use std::ffi::{CStr, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::mounts::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use crate::confine::act::check;

/// Where it is mounted: the kernel makes this directory for serial drivers, and only root may look into it.
pub(super) const PLACE: &str = "/proc/tty/driver";
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
}

impl OwnProc {
    /// Makes one.
    ///
    /// # Errors
    /// Where the kernel does not know it, or does not let this user make it.
    pub(in crate::confine) fn new() -> Result<Self, c_int> {
        if !Path::new(PLACE).is_dir() {
            return Err(libc::ENOENT);
        }
        let options = [(c"subset", c"pid"), (c"hidepid", c"ptraceable")];
        let mount = mounts::new(c"proc", &options, RDONLY | NOSUID | NODEV | NOEXEC)?;
        // SAFETY: a descriptor that was just opened, and belongs to nobody else.
        let root = unsafe { OwnedFd::from_raw_fd(mount) };
        Ok(Self { root })
    }

    /// Its root, to be listed in a ruleset.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Mounts it. Runs between fork and exec, in a mount namespace that is nobody else's.
    pub(super) fn attach(&self) -> Result<(), c_int> {
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
