//! What is seen in a `/proc` of a fence's own besides tasks.
//!
//! Tasks come and go, so a rule about the root of that file system lets all in it be read, and what may not be is taken out of sight
//! before: covered as a whole, or, where a part of a directory may be read, replaced by a directory that has this part
//! alone. That part is mounted from the `/proc` below. What the kernel adds to the top of `/proc` afterwards, a driver for
//! one, is in sight.

use std::ffi::{CString, c_int};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::mounts::{self, Kind};
use super::part::Part;
use crate::confine::act::check;

/// What to do to `/proc`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// What is covered as a whole.
    pub(super) closed: Vec<(CString, Kind)>,
    /// What is replaced.
    pub(super) chosen: Vec<Part>,
}

impl View {
    /// Mounts `root`, a process file system that is mounted nowhere, over `/proc`, and takes out of sight what may not be seen. Runs
    /// between fork and exec, in a mount namespace that is nobody else's.
    pub(super) fn lay(&self, root: c_int) -> Result<(), c_int> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: a C string that lives for ever, and flags.
        let below = unsafe { libc::open(c"/proc".as_ptr(), flags) };
        check(below.into())?;
        // SAFETY: a descriptor that was just opened, and belongs to nobody else.
        let below = unsafe { OwnedFd::from_raw_fd(below) };
        mounts::attach(root, c"/proc")?;
        mounts::cover(self.closed.iter().map(|(path, kind)| (path, *kind)))?;
        for chosen in &self.chosen {
            chosen.lay(below.as_raw_fd())?;
        }
        Ok(())
    }
}
