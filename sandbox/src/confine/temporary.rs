//! A run's private temporary directory, and those of supervisors that were killed.
//!
//! ```text
//! /tmp/ringfence-XXXXXX/        the supervisor's, which holds its lock
//!     ringfence                 what tells it from a directory that only has such a name
//!     tmp/                      the command's
//! ```

use std::{
    env,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};
use tempfile::TempDir;

use super::{cgroup::SETTLED, error::Error, user::User};

const PREFIX: &str = "ringfence-";
/// The command's user passes through it.
const MODE: u32 = 0o711;
const MARK: &str = "ringfence";
const INSIDE: &str = "tmp";

/// A directory that only the command's user may enter, removed with the value.
#[derive(Debug)]
pub struct Temporary {
    inside: Inside,
    _outside: TempDir,
    _lock: Flock<File>,
}

/// The command's part. It goes before the mark does, by which it would be found.
#[derive(Debug)]
struct Inside(PathBuf);

impl Temporary {
    /// Makes one for `user`, the caller if `None`, and removes those that killed supervisors of the caller's have left.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(user: Option<&User>) -> Result<Self, Error> {
        Self::below(&env::temp_dir(), user)
    }

    fn below(above: &Path, user: Option<&User>) -> Result<Self, Error> {
        collect(above);
        Self::make(above, user).map_err(|source| Error::Temporary {
            path: above.to_owned(),
            source,
        })
    }

    fn make(above: &Path, user: Option<&User>) -> io::Result<Self> {
        let outside = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(MODE))
            .tempdir_in(above)?;
        let lock = lock(outside.path())?;
        File::create_new(outside.path().join(MARK))?;
        let path = outside.path().join(INSIDE);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = user {
            chown(&path, Some(user.uid), Some(user.gid))?;
        }
        Ok(Self {
            inside: Inside(path),
            _outside: outside,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inside.0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // What stays is collected by a later run.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Removes what is the caller's own, is no link, is held by nobody, and has the mark or nothing at all in it.
fn collect(above: &Path) {
    let Ok(listing) = fs::read_dir(above) else {
        return;
    };
    for entry in listing.flatten() {
        let named = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        let path = entry.path();
        if !named || !is_left(&path).unwrap_or(false) {
            continue;
        }
        if is_marked(&path) {
            drop(Inside(path.join(INSIDE)));
            fs::remove_file(path.join(MARK)).ok();
        }
        // Without a mark only if there is nothing in it: its supervisor was killed before it made the mark, or after it took it away.
        fs::remove_dir(&path).ok();
    }
}

fn is_left(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    let made = found.is_dir() && found.mode() & 0o7777 == MODE;
    if !made || found.uid() != geteuid().as_raw() {
        return Ok(false);
    }
    // So young that its maker may not hold it yet, or may be removing it.
    let settled = found.modified()?.elapsed().is_ok_and(|age| age > SETTLED);
    Ok(settled && lock(path).is_ok())
}

fn is_marked(path: &Path) -> bool {
    let mark = fs::symlink_metadata(path.join(MARK));
    mark.is_ok_and(|mark| mark.is_file() && mark.uid() == geteuid().as_raw() && mark.len() == 0)
}

fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let file = File::open(directory)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// As old as one that was left.
    fn age(path: &Path) {
        let then = SystemTime::now() - SETTLED - Duration::from_secs(60);
        File::open(path).unwrap().set_modified(then).unwrap();
    }

    /// One whose supervisor was killed.
    fn left(above: &Path) -> PathBuf {
        let Temporary {
            inside,
            _outside,
            _lock,
        } = Temporary::make(above, None).unwrap();
        fs::write(inside.0.join("file"), "content").unwrap();
        std::mem::forget(inside);
        let kept = _outside.keep();
        age(&kept);
        kept
    }

    #[test]
    fn one_that_was_left_is_removed_by_the_next() {
        let above = tempfile::tempdir().unwrap();
        let left = left(above.path());
        // Killed before it made the mark, or after it took it away.
        let bare = self::left(above.path());
        fs::remove_dir_all(bare.join(INSIDE)).unwrap();
        fs::remove_file(bare.join(MARK)).unwrap();
        age(&bare);
        let next = Temporary::below(above.path(), None).unwrap();
        assert!(!left.exists());
        assert!(!bare.exists());
        assert!(next.path().exists());
    }

    #[test]
    fn one_that_is_held_is_young_or_is_not_ours_stays() {
        let above = tempfile::tempdir().unwrap();
        let held = Temporary::make(above.path(), None).unwrap();
        age(held.path().parent().unwrap());
        let young = left(above.path());
        File::open(&young)
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap();
        let only_named = above.path().join("ringfence-sources");
        fs::create_dir(&only_named).unwrap();
        fs::set_permissions(&only_named, fs::Permissions::from_mode(MODE)).unwrap();
        fs::write(only_named.join("source"), "mine").unwrap();
        age(&only_named);
        let elsewhere = tempfile::tempdir().unwrap();
        let meant = left(elsewhere.path());
        let link = above.path().join("ringfence-link");
        std::os::unix::fs::symlink(&meant, &link).unwrap();
        let next = Temporary::below(above.path(), None).unwrap();
        for stays in [held.path(), &young, &only_named, &link, &meant, next.path()] {
            assert!(stays.exists(), "{}", stays.display());
        }
    }
}
