//! A run's private temporary directory, and those of supervisors that were killed.
//!
//! ```text
//! /tmp/ringfence-UID-N/         the supervisor's, which holds its lock
//!     ringfence                 what tells it from a directory that only has such a name
//!     tmp/                      the command's
//! ```
//!
//! N is the first number that is free, so that run after run has the same path, and with it the same policy. Whoever takes the
//! numbers away makes the names random, and nothing else.

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
/// Numbers that are tried.
const NUMBERS: u32 = 64;

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
        let (outside, lock) = outside(above)?;
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

/// The first one whose number is free, or one of a random name.
fn outside(above: &Path) -> io::Result<(TempDir, Flock<File>)> {
    let named = |prefix: &str, random| {
        let mut builder = tempfile::Builder::new();
        let mode = fs::Permissions::from_mode(MODE);
        builder.prefix(prefix).rand_bytes(random).permissions(mode);
        builder.tempdir_in(above)
    };
    for number in 1..=NUMBERS {
        let outside = match named(&format!("{PREFIX}{}-{number}", geteuid()), 0) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        };
        // Somebody may be looking whether it was left, and holds it for that moment.
        match lock(outside.path()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            lock => return Ok((outside, lock?)),
        }
    }
    let outside = named(PREFIX, 6)?;
    let lock = lock(outside.path())?;
    Ok((outside, lock))
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
        // Held while it is removed: until then nobody else removes it, and makes another one of its name.
        let Ok(Some(_held)) = (match named {
            true => left(&path),
            false => Ok(None),
        }) else {
            continue;
        };
        if is_marked(&path) {
            drop(Inside(path.join(INSIDE)));
            fs::remove_file(path.join(MARK)).ok();
        }
        // Without a mark only if there is nothing in it: its supervisor was killed before it made the mark, or after it took it away.
        fs::remove_dir(&path).ok();
    }
}

/// The lock of one that was left.
fn left(path: &Path) -> io::Result<Option<Flock<File>>> {
    let found = fs::symlink_metadata(path)?;
    let made = found.is_dir() && found.mode() & 0o7777 == MODE;
    if !made || found.uid() != geteuid().as_raw() {
        return Ok(None);
    }
    // So young that its maker may not hold it yet, or may be removing it.
    if found.modified()?.elapsed().is_ok_and(|age| age <= SETTLED) {
        return Ok(None);
    }
    let held = lock(path)?;
    // Since it was looked at, another one can have come to have its name.
    Ok((held.metadata()?.ino() == found.ino()).then_some(held))
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
    fn killed(above: &Path) -> PathBuf {
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
        let left = killed(above.path());
        // Killed before it made the mark, or after it took it away.
        let bare = killed(above.path());
        fs::remove_dir_all(bare.join(INSIDE)).unwrap();
        fs::remove_file(bare.join(MARK)).unwrap();
        age(&bare);
        let next = Temporary::below(above.path(), None).unwrap();
        // The next one has its name.
        assert!(!left.join(INSIDE).join("file").exists());
        assert!(!bare.exists());
        assert!(next.path().exists());
    }

    #[test]
    fn one_that_is_held_is_young_or_is_not_ours_stays() {
        let above = tempfile::tempdir().unwrap();
        let held = Temporary::make(above.path(), None).unwrap();
        age(held.path().parent().unwrap());
        let young = killed(above.path());
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
        let meant = killed(elsewhere.path());
        let link = above.path().join("ringfence-link");
        std::os::unix::fs::symlink(&meant, &link).unwrap();
        let next = Temporary::below(above.path(), None).unwrap();
        for stays in [held.path(), &young, &only_named, &link, &meant, next.path()] {
            assert!(stays.exists(), "{}", stays.display());
        }
    }

    #[test]
    fn run_after_run_has_the_same_path_and_runs_at_a_time_have_others() {
        let above = tempfile::tempdir().unwrap();
        let make = || Temporary::below(above.path(), None).unwrap();
        let first = make();
        let second = make();
        assert_ne!(first.path(), second.path());
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists());
        assert_eq!(make().path(), path);
    }

    #[test]
    fn where_the_numbers_are_taken_a_run_has_a_directory_all_the_same() {
        let above = tempfile::tempdir().unwrap();
        for number in 1..=NUMBERS {
            let name = format!("{PREFIX}{}-{number}", geteuid());
            // Where somebody wants it to be written.
            std::os::unix::fs::symlink("/", above.path().join(name)).unwrap();
        }
        let made = Temporary::below(above.path(), None).unwrap();
        assert!(made.path().starts_with(above.path()));
        assert!(made.path().exists());
    }
}
