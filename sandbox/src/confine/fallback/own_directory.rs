//! Directories of a fence's own, where programs draw names.
//!
//! Temporary files lie in `/tmp`, shared memory of POSIX in `/dev/shm`, under names that programs draw, and Landlock gives the right to
//! make a name for a whole directory. Where a profile lets some names be made there by a pattern, the fence gets an empty
//! directory in that place: nobody outside sees what is made in it, and it is gone with the fence.
//!
//! What the profile allows of the directory below, and is there at the start, is mounted into it at its own path. Landlock's rule
//! about the new directory holds for all in it, across mounts, so nothing is kept that would have more rights there than it has
//! outside ([`super::walk`] looks); what may be read only stays on mounts that are read-only.
//!
//! Without root such a directory can be made in the fence's own user namespace only, and so between fork and exec: the ruleset, which is
//! made before, gets its rule there.

use std::ffi::{CStr, OsStr, c_int};
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ringfence_abi::rights::{EXEC, READ, WRITE};

use super::found::LIST;
use super::mounts::{self, NODEV, NOEXEC, NOSUID};
use super::part::{Entry, Part};
use crate::confine::act::check;

/// A place where programs draw names.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::confine) struct Place {
    /// Its path.
    pub(in crate::confine) path: &'static CStr,
    /// Whether what is there at the start and is allowed stays in reach. Objects of shared memory come and go with programs: one that
    /// is there is of another.
    pub(super) keeps: bool,
}

/// All of them.
pub(super) const PLACES: [&Place; 3] = [
    &Place::new(c"/dev/shm", false),
    &Place::new(c"/tmp", true),
    &Place::new(c"/var/tmp", true),
];

/// A directory of the fence's own, laid over one of the places.
#[derive(Debug)]
pub(in crate::confine) struct OwnDirectory {
    pub(super) place: &'static Place,
    /// Whether what is made in it can be executed.
    pub(super) executable: bool,
    /// What of the directory below stays in it, as a whole.
    pub(super) kept: Vec<Entry>,
    /// Directories of which a part does.
    pub(super) parts: Vec<Part>,
    /// Which of those have names that rules spell out.
    pub(super) spelled: Vec<PathBuf>,
}

impl Place {
    const fn new(path: &'static CStr, keeps: bool) -> Self {
        Self { path, keeps }
    }

    /// The same for the standard library.
    pub(super) fn path(&self) -> &'static Path {
        Path::new(OsStr::from_bytes(self.path.to_bytes()))
    }
}

impl OwnDirectory {
    /// One with nothing in it.
    pub(super) fn empty(place: &'static Place, executable: bool) -> Self {
        Self {
            place,
            executable,
            kept: Vec::new(),
            parts: Vec::new(),
            spelled: Vec::new(),
        }
    }

    /// What may be done to all that is made in it.
    pub(super) fn rights(&self) -> u8 {
        READ | WRITE | LIST | if self.executable { EXEC } else { 0 }
    }

    /// How many mounts it takes.
    pub(super) fn mounts(&self) -> usize {
        let in_parts = self.parts.iter().map(|part| 1 + part.entries.len());
        1 + self.kept.len() + in_parts.sum::<usize>()
    }

    /// Makes it, and lays it over its place. Runs between fork and exec, in a mount namespace that is nobody else's.
    pub(super) fn attach(&self) -> Result<(), c_int> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: a C string that lives for ever, and flags.
        let below = unsafe { libc::open(self.place.path.as_ptr(), flags) };
        check(below.into())?;
        // SAFETY: a descriptor that was just opened, and belongs to nobody else.
        let below = unsafe { OwnedFd::from_raw_fd(below) };
        let flags = NOSUID | NODEV | if self.executable { 0 } else { NOEXEC };
        let mount = mounts::new(c"tmpfs", &[(c"mode", c"1777")], flags)?;
        // SAFETY: the same.
        let mount = unsafe { OwnedFd::from_raw_fd(mount) };
        mounts::attach(mount.as_raw_fd(), self.place.path)?;
        for entry in &self.kept {
            entry.lay(below.as_raw_fd())?;
        }
        for part in &self.parts {
            part.make()?;
            part.lay(below.as_raw_fd())?;
        }
        Ok(())
    }
}

impl fmt::Display for OwnDirectory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of its own", self.place.path().display())?;
        let in_parts = self.parts.iter().flat_map(|part| &part.entries);
        for (number, entry) in self.kept.iter().chain(in_parts).enumerate() {
            let before = if number == 0 { " with" } else { " and" };
            write!(out, "{before} {}", entry.path.to_string_lossy())?;
        }
        Ok(())
    }
}
