//! Shared memory of a fence's own.
//!
//! Semaphores and shared memory of POSIX are files in `/dev/shm`, under names that programs draw, and Landlock gives the right to make
//! a name for a whole directory. Where a profile lets some names be made there by a pattern, root's fence gets an empty
//! directory in that place: what others have there is out of reach, whatever its name, and nobody outside sees what is made.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::mounts::{self, NODEV, NOEXEC, NOSUID};

/// The place that C libraries use.
pub(super) const PLACE: &str = "/dev/shm";

/// Such a directory, mounted nowhere yet.
#[derive(Debug)]
pub(in crate::confine) struct OwnShm {
    root: OwnedFd,
}

impl OwnShm {
    /// Makes one.
    ///
    /// # Errors
    /// Where the kernel does not let this user make it.
    pub(super) fn new() -> Result<Self, c_int> {
        let mount = mounts::new(c"tmpfs", &[(c"mode", c"1777")], NOSUID | NODEV | NOEXEC)?;
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
        mounts::attach(self.root.as_raw_fd(), c"/dev/shm")
    }
}
