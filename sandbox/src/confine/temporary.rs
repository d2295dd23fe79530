//! A run's private temporary directory, and those of supervisors that were killed.
//!
//! ```text
//! /tmp/ringfence-UID-N/         the supervisor's, which holds its lock
//!     ringfence                 what tells it from a directory that only has such a name
//!     tmp/                      the command's
//! ```
//!
//! N is a low number that is free, the first one if few runs stand, so that run after run has the same path, and with it the same policy.
//! The supervisor's directory stays for the next run, which takes the lock and makes the command's anew. Whoever takes the numbers away
//! makes the names random, and nothing else: what has such a name goes with its run.

use std::{
    env,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag, open},
    sys::stat::Mode,
    unistd::geteuid,
};
use tempfile::TempDir;

use super::{cgroup::SETTLED, error::Error, user::User};

const PREFIX: &str = "ringfence-";
/// The command's user passes through it.
const MODE: u32 = 0o711;
const MARK: &str = "ringfence";
const INSIDE: &str = "tmp";
/// Numbers that there are.
const NUMBERS: u32 = 4096;
/// Numbers that are tried one by one: all that are in use at a time on most hosts.
const FIRST: u32 = 16;

/// A directory that only the command's user may enter, removed with the value.
#[derive(Debug)]
pub struct Temporary {
    inside: Inside,
    _outside: Outside,
}

/// The command's part. It goes before the mark does, by which it would be found.
#[derive(Debug)]
struct Inside(PathBuf);

/// The supervisor's part.
#[derive(Debug)]
struct Outside {
    path: PathBuf,
    /// Goes before the lock does.
    _random: Option<TempDir>,
    _lock: Flock<File>,
}

impl Temporary {
    /// Makes one for `user`, the caller if `None`, and empties or removes some of those that killed supervisors of the caller's have
    /// left.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(user: Option<&User>) -> Result<Self, Error> {
        Self::below(&env::temp_dir(), user)
    }

    fn below(above: &Path, user: Option<&User>) -> Result<Self, Error> {
        // Process numbers go up: of those beyond the first, runs one after the other look at one after the other.
        let beyond = FIRST + 1 + std::process::id() % (3 * FIRST);
        for number in (1..=FIRST).chain([beyond]) {
            empty(&above.join(numbered(number)));
        }
        // Others have random names only where so many ran at a time; who lists a directory that may be large is slow.
        if fs::symlink_metadata(above.join(numbered(NUMBERS))).is_ok() {
            collect(above);
        }
        Self::make(above, user).map_err(|source| Error::Temporary {
            path: above.to_owned(),
            source,
        })
    }

    fn make(above: &Path, user: Option<&User>) -> io::Result<Self> {
        let outside = outside(above)?;
        let path = outside.path.join(INSIDE);
        let make = || DirBuilder::new().mode(0o700).create(&path);
        match make() {
            // Left by a supervisor that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&path)?;
                make()?;
            }
            made => made?,
        }
        if let Some(user) = user {
            chown(&path, Some(user.uid), Some(user.gid))?;
        }
        Ok(Self {
            inside: Inside(path),
            _outside: outside,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inside.0
    }
}

/// One whose number is free, or one of a random name.
fn outside(above: &Path) -> io::Result<Outside> {
    for number in 1..=FIRST {
        if let Some(outside) = take(above, number)? {
            return Ok(outside);
        }
    }
    let free = near_the_end(|number| is_taken(&above.join(numbered(number))));
    // Others may be looking for theirs.
    for number in (free..=NUMBERS).take(FIRST as usize) {
        if let Some(outside) = take(above, number)? {
            return Ok(outside);
        }
    }
    let mut builder = tempfile::Builder::new();
    let mode = fs::Permissions::from_mode(MODE);
    let random = builder.prefix(PREFIX).permissions(mode).tempdir_in(above)?;
    let lock = lock(random.path())?;
    File::create_new(random.path().join(MARK))?;
    Ok(Outside {
        path: random.path().to_owned(),
        _random: Some(random),
        _lock: lock,
    })
}

/// The directory of this number, if it is free.
fn take(above: &Path, number: u32) -> io::Result<Option<Outside>> {
    let path = above.join(numbered(number));
    let lock = match DirBuilder::new().mode(MODE).create(&path) {
        Ok(()) => new(&path)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => idle(&path)?,
        Err(error) => return Err(error),
    };
    Ok(lock.map(|lock| Outside {
        path,
        _random: None,
        _lock: lock,
    }))
}

/// A number that is not taken, beyond the first ones which are: where those that are taken end, or in a gap. It takes a few questions
/// however many are taken, and is the same one as long as nothing changes.
fn near_the_end(is_taken: impl Fn(u32) -> bool) -> u32 {
    let (mut taken, mut free) = (FIRST, 2 * FIRST);
    while free < NUMBERS && is_taken(free) {
        taken = free;
        free *= 2;
    }
    while free - taken > 1 {
        let between = taken.midpoint(free);
        match is_taken(between) {
            true => taken = between,
            false => free = between,
        }
    }
    free
}

fn is_taken(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => !matches!(held(path), Ok(Some(_))),
    }
}

/// The caller's directory of this number.
fn numbered(number: u32) -> String {
    format!("{PREFIX}{}-{number}", geteuid())
}

/// The lock of one that was just made; `None` where somebody looks whether it was left.
fn new(path: &Path) -> io::Result<Option<Flock<File>>> {
    let lock = match lock(path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        lock => lock?,
    };
    lock.set_permissions(fs::Permissions::from_mode(MODE))?;
    File::create_new(path.join(MARK))?;
    Ok(Some(lock))
}

/// The lock of one that is the caller's and held by nobody. `None` where it is not, or is so young and without a mark that its maker may
/// not hold it yet.
fn idle(path: &Path) -> io::Result<Option<Flock<File>>> {
    let Some(lock) = held(path)? else {
        return Ok(None);
    };
    if is_marked(path) {
        return Ok(Some(lock));
    }
    let is_settled = is_settled(&lock)?;
    if !is_settled || fs::read_dir(path)?.next().is_some() {
        return Ok(None);
    }
    // Its supervisor was killed before it made the mark.
    File::create_new(path.join(MARK))?;
    Ok(Some(lock))
}

/// Takes the lock of a directory of the caller's that is no link; `None` where it is another's, or somebody holds it.
fn held(path: &Path) -> io::Result<Option<Flock<File>>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Err(Errno::ELOOP | Errno::ENOTDIR | Errno::ENOENT | Errno::EACCES) => return Ok(None),
        opened => File::from(opened?),
    };
    let found = file.metadata()?;
    if found.mode() & 0o7777 != MODE || found.uid() != geteuid().as_raw() {
        return Ok(None);
    }
    let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
        return Ok(None);
    };
    // Since it was opened, another one can have come to have its name.
    let now = fs::symlink_metadata(path);
    let same = now.is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino()));
    Ok(same.then_some(lock))
}

fn is_settled(directory: &File) -> io::Result<bool> {
    let made = directory.metadata()?.modified()?;
    Ok(made.elapsed().is_ok_and(|age| age > SETTLED))
}

impl Drop for Inside {
    fn drop(&mut self) {
        // What stays is removed by a later run.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Empties one that a killed supervisor has left, until a run takes it.
fn empty(path: &Path) {
    let inside = path.join(INSIDE);
    let is_there = fs::symlink_metadata(&inside).is_ok();
    if is_there && is_marked(path) && matches!(held(path), Ok(Some(_))) {
        drop(Inside(inside));
    }
}

/// Removes those with random names that are the caller's own, are no link, are held by nobody, and have the mark or nothing at all in
/// them.
fn collect(above: &Path) {
    let Ok(listing) = fs::read_dir(above) else {
        return;
    };
    let numbered: Vec<_> = (1..=NUMBERS).map(numbered).collect();
    for entry in listing.flatten() {
        let name = entry.file_name();
        let is_named = name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let path = entry.path();
        if !is_named || numbered.iter().any(|one| name == one.as_str()) {
            continue;
        }
        // Held while it is removed: until then nobody else removes it, and makes another one of its name.
        let Ok(Some(held)) = held(&path) else {
            continue;
        };
        // So young that its maker may not hold it yet, or may be removing it.
        if !is_settled(&held).unwrap_or(false) {
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
        let Temporary { inside, _outside } = Temporary::make(above, None).unwrap();
        fs::write(inside.0.join("file"), "content").unwrap();
        std::mem::forget(inside);
        let path = _outside.path.clone();
        if let Some(random) = _outside._random {
            drop(random.keep());
        }
        path
    }

    /// The numbers are taken, so that names are random.
    fn take_numbers(above: &Path) {
        for number in 1..=NUMBERS {
            // Where somebody wants it to be written.
            std::os::unix::fs::symlink("/", above.join(numbered(number))).unwrap();
        }
    }

    #[test]
    fn one_that_was_left_is_emptied_by_the_next_which_has_its_name() {
        let above = tempfile::tempdir().unwrap();
        let left = killed(above.path());
        let next = Temporary::below(above.path(), None).unwrap();
        assert_eq!(next.path(), left.join(INSIDE));
        assert!(!next.path().join("file").exists());
        // Killed before it made the mark.
        let bare = above.path().join(numbered(2));
        DirBuilder::new().mode(MODE).create(&bare).unwrap();
        age(&bare);
        let next = Temporary::below(above.path(), None).unwrap();
        assert_eq!(next.path(), bare.join(INSIDE));
    }

    #[test]
    fn one_that_nobody_takes_is_emptied_when_its_turn_comes() {
        let above = tempfile::tempdir().unwrap();
        let held = Temporary::make(above.path(), None).unwrap();
        let left = killed(above.path());
        for path in [left.as_path(), held.path().parent().unwrap()] {
            empty(path);
        }
        assert!(!left.join(INSIDE).exists());
        assert!(held.path().exists());
    }

    #[test]
    fn one_of_a_random_name_goes_and_is_removed_by_a_later_run_if_it_was_left() {
        let above = tempfile::tempdir().unwrap();
        take_numbers(above.path());
        let made = Temporary::below(above.path(), None).unwrap();
        let path = made.path().parent().unwrap().to_owned();
        drop(made);
        assert!(!path.exists());
        let left = killed(above.path());
        age(&left);
        // Killed before it made the mark, or after it took it away.
        let bare = killed(above.path());
        fs::remove_dir_all(bare.join(INSIDE)).unwrap();
        fs::remove_file(bare.join(MARK)).unwrap();
        age(&bare);
        drop(Temporary::below(above.path(), None).unwrap());
        assert!(!left.exists());
        assert!(!bare.exists());
    }

    #[test]
    fn one_that_is_held_is_young_or_is_not_ours_stays() {
        let above = tempfile::tempdir().unwrap();
        let held = Temporary::make(above.path(), None).unwrap();
        let unmarked = above.path().join(numbered(2));
        DirBuilder::new().mode(MODE).create(&unmarked).unwrap();
        let full = above.path().join(numbered(3));
        DirBuilder::new().mode(MODE).create(&full).unwrap();
        fs::write(full.join("file"), "mine").unwrap();
        age(&full);
        let next = Temporary::below(above.path(), None).unwrap();
        for path in [held.path().parent().unwrap(), &unmarked, &full] {
            assert!(!next.path().starts_with(path), "{}", path.display());
        }
        assert!(held.path().exists());
        assert!(full.join("file").exists());
    }

    #[test]
    fn what_only_has_such_a_name_stays() {
        let above = tempfile::tempdir().unwrap();
        take_numbers(above.path());
        let held = Temporary::make(above.path(), None).unwrap();
        age(held.path().parent().unwrap());
        let young = killed(above.path());
        File::open(&young)
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap();
        let only_named = above.path().join("ringfence-sources");
        DirBuilder::new().mode(MODE).create(&only_named).unwrap();
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
        fs::write(path.join("file"), "content").unwrap();
        drop(first);
        assert!(!path.exists());
        let third = make();
        assert_eq!(third.path(), path);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_free_number_is_found_by_a_few_questions() {
        for end in [FIRST, FIRST + 1, 31, 32, 33, 100, 1000, NUMBERS - 2] {
            let asked = std::cell::Cell::new(0);
            let is_taken = |number| {
                asked.set(asked.get() + 1);
                number <= end
            };
            assert_eq!(near_the_end(is_taken), end + 1);
            assert!(asked.get() <= 24, "{end}: {}", asked.get());
        }
        // In a gap.
        assert_eq!(near_the_end(|number| number != 64), 64);
        assert_eq!(near_the_end(|_| true), NUMBERS);
    }

    #[test]
    fn beyond_the_first_numbers_runs_have_numbers_too() {
        let above = tempfile::tempdir().unwrap();
        let make = || Temporary::below(above.path(), None).unwrap();
        let made: Vec<_> = (0..FIRST + 3).map(|_| make()).collect();
        let path = |number: u32| above.path().join(numbered(number)).join(INSIDE);
        let all: Vec<_> = made.iter().map(|one| one.path().to_owned()).collect();
        assert_eq!(all, (1..=FIRST + 3).map(path).collect::<Vec<_>>());
    }

    #[test]
    fn where_the_numbers_are_taken_a_run_has_a_directory_all_the_same() {
        let above = tempfile::tempdir().unwrap();
        take_numbers(above.path());
        let made = Temporary::below(above.path(), None).unwrap();
        assert!(made.path().starts_with(above.path()));
        assert!(made.path().exists());
    }
}
