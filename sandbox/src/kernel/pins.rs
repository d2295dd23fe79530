//! Where the loaded programs live on: a BPF filesystem of our own, that nobody else has a reason to unmount.
//!
//! Pins go with the last mount of their filesystem (kernel/bpf/inode.c), so the host's /sys/fs/bpf is not used.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::Error;

/// Run-time state of all fences on this host.
pub const STATE: &str = "/run/ringfence";
/// What the names of programs' pins begin with.
const PROGRAM: &str = "program_";
/// See [`Pins::complete`].
const COMPLETE: &str = "complete";
/// See [`Pins::unguarded`].
const UNGUARDED: &str = "unguarded";

/// The directories of run-time state, set up and locked.
#[derive(Debug)]
pub(super) struct Pins {
    /// Pins of this version of the object, on this boot.
    pub(super) version: PathBuf,
    /// One lock file for each fence of this version.
    pub(super) fences: PathBuf,
    /// Keeps the filesystem, and with it all pins, where somebody unmounts it under a fence.
    _mounted: Option<File>,
}

/// Serialises loading, reserving and collecting among processes; given back when dropped, or when the process ends. Never
/// held while a command runs.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: Flock<File>,
}

impl Pins {
    /// Sets up what is missing. `digest` names the object.
    pub(super) fn open(digest: &str) -> Result<(Self, Turn), Error> {
        let state = Path::new(STATE);
        private_directory(state)?;
        // First of all: whoever has the turn removes what nobody seems to use.
        let turn = Self::turn()?;
        let fences = state.join("fences");
        private_directory(&fences)?;
        private_directory(&fences.join(digest))?;
        let filesystem = state.join("bpf");
        private_directory(&filesystem)?;
        if statfs(&filesystem).map(|found| found.filesystem_type()) != Ok(BPF_FS_MAGIC) {
            mount(
                Some("ringfence"),
                &filesystem,
                Some("bpf"),
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
                Some("mode=0700"),
            )
            .map_err(|error| Error::state(&filesystem, error.into()))?;
        }
        let mounted = File::open(&filesystem).map_err(|error| Error::state(&filesystem, error))?;
        let pins = Self {
            _mounted: Some(mounted),
            ..Self::of(digest)
        };
        Ok((pins, turn))
    }

    /// Where things are, whether they are there or not.
    pub(super) fn of(digest: &str) -> Self {
        let state = Path::new(STATE);
        Self {
            version: state.join("bpf").join(digest),
            fences: state.join("fences").join(digest),
            _mounted: None,
        }
    }

    /// Waits for this process' turn.
    pub(super) fn turn() -> Result<Turn, Error> {
        Ok(Turn {
            _lock: lock(&Path::new(STATE).join("lock"))?,
        })
    }

    /// Where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.version.join(format!("map_{name}"))
    }

    /// Where an entry of a map of maps is pinned that stays when its fence goes.
    pub(super) fn kept(&self, name: &str, key: u32) -> PathBuf {
        self.version.join(format!("kept_{name}_{key}"))
    }

    /// Where a hook's link is pinned.
    pub(super) fn link(&self, hook: &str) -> PathBuf {
        self.version.join(format!("link_{hook}"))
    }

    /// Where a hook's program is pinned, for [`super::misses`] to find; the link keeps it as well.
    pub(super) fn program(&self, hook: &str) -> PathBuf {
        self.version.join(format!("{PROGRAM}{hook}"))
    }

    /// Made last: a version without it was not finished.
    pub(super) fn complete(&self) -> PathBuf {
        self.version.join(COMPLETE)
    }

    /// Made where this kernel leaves out no run of an LSM program, so that there is nothing to count.
    pub(super) fn unguarded(&self) -> PathBuf {
        self.version.join(UNGUARDED)
    }

    /// Tells apart versions that were loaded one after the other: numbers of inodes are not given twice
    /// (kernel/bpf/inode.c, `bpf_get_inode`).
    pub(super) fn generation(&self) -> Result<u64, Error> {
        let complete = self.complete();
        let found = fs::metadata(&complete).map_err(|error| Error::state(&complete, error))?;
        Ok(found.ino())
    }

    /// Whether all of this version is in place.
    pub(super) fn is_complete(&self) -> bool {
        is_complete(&self.version)
    }
}

/// Whether the version in this directory was finished. Whoever has the turn finds none that somebody still makes.
pub(super) fn is_complete(version: &Path) -> bool {
    version.join(COMPLETE).exists()
}

/// The name of the program that is pinned at `path`, if one is.
pub(super) fn program_at(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix(PROGRAM)
}

/// Removes the pins of one version directory; a missing one is fine. What marks it as complete goes first: whoever comes after one
/// that was killed half-way must not take what is left for all of it.
pub(super) fn remove(version: &Path) -> Result<(), Error> {
    for gone in [
        fs::remove_dir(version.join(COMPLETE)),
        fs::remove_dir_all(version),
    ] {
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::state(version, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes an exclusive lock, waiting for it; it is given back when the value or the process ends.
fn lock(path: &Path) -> Result<Flock<File>, Error> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::state(path, error))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| Error::state(path, error.into()))
}

/// A directory that only root may use; one that belongs to somebody else is refused.
fn private_directory(path: &Path) -> Result<(), Error> {
    let look = || fs::symlink_metadata(path);
    let found = look().or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => look(),
        }
    });
    let found = found.map_err(|error| Error::state(path, error))?;
    if !found.is_dir() || found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err(Error::state(
            path,
            io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it must be a directory of root's that nobody else may write",
            ),
        ));
    }
    Ok(())
}
