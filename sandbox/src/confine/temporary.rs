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
const MARK: &str = "ringfence";
const INSIDE: &str = "tmp";

/// A directory that only the command's user may enter, removed with the value.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    _outside: TempDir,
    _lock: Flock<File>,
}

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
            // The command's user passes through it.
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir_in(above)?;
        let lock = lock(outside.path())?;
        let path = outside.path().join(INSIDE);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = user {
            chown(&path, Some(user.uid), Some(user.gid))?;
        }
        // Last: before, it may be anybody's.
        File::create_new(outside.path().join(MARK))?;
        Ok(Self {
            path,
            _outside: outside,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes what is the caller's own, has the mark, is no link, and is held by nobody. What cannot be removed stays.
fn collect(above: &Path) {
    let Ok(listing) = fs::read_dir(above) else {
        return;
    };
    for entry in listing.flatten() {
        let named = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if named && is_left(&entry.path()).unwrap_or(false) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn is_left(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    let own = |found: &fs::Metadata| found.uid() == geteuid().as_raw();
    let mark = fs::symlink_metadata(path.join(MARK))?;
    if !found.is_dir() || !own(&found) || !mark.is_file() || !own(&mark) || mark.len() != 0 {
        return Ok(false);
    }
    // So young that its maker may not hold it yet, or may be removing it.
    let settled = found.modified()?.elapsed().is_ok_and(|age| age > SETTLED);
    Ok(settled && lock(path).is_ok())
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
            path,
            _outside,
            _lock,
        } = Temporary::make(above, None).unwrap();
        fs::write(path.join("file"), "content").unwrap();
        let kept = _outside.keep();
        age(&kept);
        kept
    }

    #[test]
    fn one_that_was_left_is_removed_by_the_next() {
        let above = tempfile::tempdir().unwrap();
        let left = left(above.path());
        let next = Temporary::below(above.path(), None).unwrap();
        assert!(!left.exists());
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
