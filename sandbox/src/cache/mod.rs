//! The cache room: what was made before and can be made again, kept in a folder by what it was made of.
//!
//! ```text
//! POLICIES/                     the caller's alone: 0700
//!     0e5f...                   an entry, named after its key
//!         value                 whoever takes it looks whether it can be what was kept
//!         digest, 32 bytes      of key and value
//! ```
//!
//! Whatever is wrong with an entry, it is as if there were none. An entry is written under another name and renamed, so that
//! nobody finds half of one. The folder does not grow beyond a bound: what was not used for longest goes first.

#![forbid(unsafe_code)]

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    process,
    time::SystemTime,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat, renameat},
    sys::stat::{Mode, fstatat},
    unistd::{UnlinkatFlags, geteuid, unlinkat},
};
use sha2::{Digest as _, Sha256};

use crate::policy::Key;

/// Bytes of the largest entry: a policy of the largest size fits.
const MOST_OF_ONE: u64 = 18 << 20;
/// Bytes of all entries together.
const MOST_OF_ALL: u64 = 32 << 20;
/// Entries.
const MOST_ENTRIES: usize = 1024;
const DIGEST: usize = 32;
/// What an entry is called while it is written.
const UNFINISHED: &str = "unfinished-";

/// What could not be done with the folder. A run goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not the caller's alone.
    #[error(
        "{path} must be a directory of the caller's that nobody else may enter",
        path = .0.display()
    )]
    NotPrivate(PathBuf),
    /// A system call failed.
    #[error("{path} cannot be used: {source}", path = .path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One folder of entries.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cache {
    /// Opens the folder, and makes it if it is not there. What it is in is not made.
    ///
    /// # Errors
    /// If it is a link, somebody else's, or open to others.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::Unusable {
            path: path.to_owned(),
            source,
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = match open(path, flags, Mode::empty()) {
            Err(Errno::ENOENT) => match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => open(path, flags, Mode::empty()).map_err(io::Error::from),
            },
            opened => opened.map_err(io::Error::from),
        };
        let directory = directory.map_err(unusable)?;
        let directory = File::from(directory);
        let found = directory.metadata().map_err(unusable)?;
        if found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(Error::NotPrivate(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            directory: directory.into(),
        })
    }

    /// What was kept under `key`; nothing where that is gone, damaged, or cannot be of the caller's making.
    #[must_use]
    pub fn recall(&self, key: &Key) -> Option<Vec<u8>> {
        let file = self.entry(&key.to_string()).ok()?;
        let found = file.metadata().ok()?;
        let private = found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
        if !found.is_file() || !private || found.nlink() != 1 || found.len() > MOST_OF_ONE {
            return None;
        }
        let mut value = Vec::with_capacity(usize::try_from(found.len()).ok()?);
        let most = found.len() + 1;
        (&file).take(most).read_to_end(&mut value).ok()?;
        let length = value.len().checked_sub(DIGEST)?;
        let digest = value.split_off(length);
        if digest != self::digest(key, &value) {
            return None;
        }
        // Used just now. Where that cannot be said it goes earlier than it might.
        file.set_modified(SystemTime::now()).ok();
        Some(value)
    }

    /// Keeps `value` under `key`, in the place of what was there.
    ///
    /// # Errors
    /// If it cannot be written; nothing is left of it then.
    pub fn keep(&self, key: &Key, value: &[u8]) -> Result<(), Error> {
        let length = (value.len() + DIGEST) as u64;
        if length > MOST_OF_ONE {
            return Ok(());
        }
        let written = self.make_room(length).and_then(|()| self.write(key, value));
        written.map_err(|source| Error::Unusable {
            path: self.path.clone(),
            source,
        })
    }

    /// Forgets what was kept under `key`.
    pub fn forget(&self, key: &Key) {
        self.remove(OsStr::new(&key.to_string())).ok();
    }

    fn write(&self, key: &Key, value: &[u8]) -> io::Result<()> {
        let unfinished = format!("{UNFINISHED}{}", process::id());
        let flags =
            OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        // Left by one of the same number, which is no more.
        self.remove(OsStr::new(&unfinished)).ok();
        let mut file = File::from(openat(&self.directory, unfinished.as_str(), flags, mode)?);
        let written = file
            .write_all(value)
            .and_then(|()| file.write_all(&digest(key, value)));
        let (from, to) = (unfinished.as_str(), key.to_string());
        let directory = self.directory.as_fd();
        let done = written.and_then(|()| Ok(renameat(directory, from, directory, to.as_str())?));
        if done.is_err() {
            self.remove(OsStr::new(&unfinished)).ok();
        }
        done
    }

    /// Removes entries, those first that were not used for longest, until there is room for `length` bytes more.
    fn make_room(&self, length: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        for name in self.names()? {
            // Gone meanwhile is fine.
            let found = fstatat(
                &self.directory,
                name.as_os_str(),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            );
            if let Ok(found) = found {
                let length = u64::try_from(found.st_size).unwrap_or(u64::MAX);
                entries.push(((found.st_mtime, found.st_mtime_nsec), length, name));
            }
        }
        entries.sort();
        let mut left = entries.len();
        let mut bytes: u64 = entries.iter().map(|(_, length, _)| length).sum();
        for (_, size, name) in &entries {
            if left < MOST_ENTRIES && bytes + length <= MOST_OF_ALL {
                break;
            }
            self.remove(name)?;
            left -= 1;
            bytes -= size;
        }
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&self.directory, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name.into());
            }
        }
        Ok(names)
    }

    fn entry(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(File::from(openat(
            &self.directory,
            name,
            flags,
            Mode::empty(),
        )?))
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn digest(key: &Key, value: &[u8]) -> [u8; DIGEST] {
    Sha256::new()
        .chain_update(key.0)
        .chain_update(value)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests;
