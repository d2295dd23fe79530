//! What is seen in a `/proc` of a fence's own besides tasks.
//!
//! Tasks come and go, so a rule about the root of that file system lets all in it be read, and what may not be is taken out of sight
//! before: covered as a whole, or, where a part of a directory may be read, replaced by a directory that has this part
//! alone. That part is mounted from the `/proc` below. What the kernel adds to the top of `/proc` afterwards, a driver for
//! one, is in sight.

use std::ffi::{CStr, CString, c_int};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::mounts::{self, Kind, NODEV, NOEXEC, NOSUID, RDONLY};
use crate::confine::act::check;

/// What to do to `/proc`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// What is covered as a whole.
    pub(super) closed: Vec<(CString, Kind)>,
    /// What is replaced.
    pub(super) chosen: Vec<Chosen>,
}

/// A directory of which a part may be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its path.
    pub(super) directory: CString,
    /// What may be read of it, and the directories that lead there; outer before inner.
    pub(super) entries: Vec<Entry>,
}

/// One entry in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path.
    pub(super) path: CString,
    /// The same below `/proc`.
    pub(super) below: CString,
    pub(super) kind: EntryKind,
}

/// What stands at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A directory on the way.
    Way,
    /// A file that may be read.
    File,
    /// A directory that may be read with all below.
    Tree,
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

impl Chosen {
    fn lay(&self, below: c_int) -> Result<(), c_int> {
        let place = mounts::new(c"tmpfs", &[(c"mode", c"755")], NOSUID | NODEV | NOEXEC)?;
        // SAFETY: a descriptor that was just opened, and belongs to nobody else.
        let place = unsafe { OwnedFd::from_raw_fd(place) };
        mounts::attach(place.as_raw_fd(), &self.directory)?;
        for entry in &self.entries {
            entry.lay(below)?;
        }
        mounts::set(libc::AT_FDCWD, self.directory.as_ptr(), 0, RDONLY)
    }
}

impl Entry {
    fn lay(&self, below: c_int) -> Result<(), c_int> {
        let path = self.path.as_ptr();
        let made = match self.kind {
            // SAFETY: a C string that the plan owns, and a mode.
            EntryKind::Way | EntryKind::Tree => unsafe { libc::mkdir(path, 0o755) },
            // SAFETY: the same; a regular file has no device.
            EntryKind::File => unsafe { libc::mknod(path, libc::S_IFREG | 0o444, 0) },
        };
        check(made.into())?;
        if self.kind == EntryKind::Way {
            return Ok(());
        }
        let clone = match mounts::clone_at(below, &self.below) {
            // Gone since it was looked at: what stands in its place is empty.
            Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
            clone => clone?,
        };
        // SAFETY: a descriptor that was just opened, and belongs to nobody else.
        let clone = unsafe { OwnedFd::from_raw_fd(clone) };
        let flags = RDONLY | NOSUID | NODEV | NOEXEC;
        let empty: &CStr = c"";
        mounts::set(
            clone.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            flags,
        )?;
        mounts::attach(clone.as_raw_fd(), &self.path)
    }
}
