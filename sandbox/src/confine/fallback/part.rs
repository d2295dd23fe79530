//! A directory of which a part is in sight: an empty one is laid over it, and that part is mounted there, from what is below.

use std::ffi::{CStr, CString, c_int};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::mounts::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use crate::confine::act::check;

/// The directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its path.
    pub(super) directory: CString,
    /// What is in sight of it, and the directories that lead there; outer before inner.
    pub(super) entries: Vec<Entry>,
}

/// One entry in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path.
    pub(super) path: CString,
    /// The same below the directory that is laid over.
    pub(super) below: CString,
    pub(super) kind: EntryKind,
    /// Flags that its mount gets besides those that it has.
    pub(super) flags: u64,
}

/// What stands at an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A directory on the way.
    Way,
    /// A file.
    File,
    /// A directory with all below.
    Tree,
    /// A symbolic link with this in it.
    Link(CString),
}

impl Part {
    /// Makes the directory itself, in one that is the fence's own.
    pub(super) fn make(&self) -> Result<(), c_int> {
        // SAFETY: a C string that the plan owns, and a mode.
        check(unsafe { libc::mkdir(self.directory.as_ptr(), 0o755) }.into())
    }

    /// Lays the part over it, from `below`. Nothing can be made in it then. Runs between fork and exec.
    pub(super) fn lay(&self, below: c_int) -> Result<(), c_int> {
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
    /// Makes it, and mounts what is below in its place. Runs between fork and exec.
    pub(super) fn lay(&self, below: c_int) -> Result<(), c_int> {
        let path = self.path.as_ptr();
        let made = match &self.kind {
            // SAFETY: a C string that the plan owns, and a mode.
            EntryKind::Way | EntryKind::Tree => unsafe { libc::mkdir(path, 0o755) },
            // SAFETY: the same; a regular file has no device.
            EntryKind::File => unsafe { libc::mknod(path, libc::S_IFREG | 0o444, 0) },
            // SAFETY: C strings that the plan owns.
            EntryKind::Link(target) => unsafe { libc::symlink(target.as_ptr(), path) },
        };
        check(made.into())?;
        if matches!(self.kind, EntryKind::Way | EntryKind::Link(_)) {
            return Ok(());
        }
        let clone = match clone_below(below, &self.below) {
            // Gone since it was looked at, or closed: what stands in its place is empty.
            Err(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EACCES) => return Ok(()),
            clone => clone?,
        };
        mounts::set(
            clone.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            self.flags,
        )?;
        mounts::attach(clone.as_raw_fd(), &self.path)
    }
}

/// A detached copy of what is mounted at a path below a directory, which leads through no symbolic link: it is mounted where other rights
/// may hold than where a link leads.
fn clone_below(below: c_int, path: &CStr) -> Result<OwnedFd, c_int> {
    // SAFETY: numbers, for which zero is "nothing".
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC).cast_unsigned().into();
    how.resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: a C string that the plan owns, and a structure on this stack of the size that is given.
    let found = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            below,
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    check(found)?;
    // SAFETY: a descriptor that was just opened, and belongs to nobody else.
    let found = unsafe { OwnedFd::from_raw_fd(c_int::try_from(found).unwrap_or(-1)) };
    let clone = mounts::clone_of(found.as_raw_fd())?;
    // SAFETY: the same.
    Ok(unsafe { OwnedFd::from_raw_fd(clone) })
}
