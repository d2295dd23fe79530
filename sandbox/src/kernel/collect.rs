//! Leftovers: of supervisors that were killed, and of other versions.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    Cgroup, Engine, Error, fence,
    pins::{self, Pins, STATE},
    register,
};

/// After so long without a new fence, the programs of another version are not needed any more. Where two versions are used by turns, as
/// while one replaces the other, each run would else remove the other's and load its own.
const UNUSED: Duration = Duration::from_secs(600);
/// Records that one run looks at: a start costs as much beside a thousand fences as beside a few.
const LOOKED_AT: usize = 16;

/// Forgets fences whose supervisor and whose tasks are gone. A fence that still holds a task stays as it is, and so does
/// one in whose cgroup a task stands that has not executed anything yet: it will be fenced when it does. Where there are many, each run
/// looks at some of them.
pub(super) fn some_leftovers(engine: &mut Engine) -> Result<(), Error> {
    let ids = records(engine)?;
    // Process numbers go up: runs one after the other look at others.
    let first = std::process::id() as usize % ids.len().max(1);
    let some = ids
        .iter()
        .cycle()
        .skip(first)
        .take(LOOKED_AT.min(ids.len()));
    some.copied().try_for_each(|id| leftover(engine, id))
}

/// The same for every fence.
pub(super) fn leftovers(engine: &mut Engine) -> Result<(), Error> {
    let ids = records(engine)?;
    ids.into_iter().try_for_each(|id| leftover(engine, id))
}

/// The identifiers of which there are records.
pub(super) fn records(engine: &Engine) -> Result<Vec<u32>, Error> {
    let fences = &engine.pins.fences;
    let unreadable = |error| Error::state(fences, error);
    let mut ids = Vec::new();
    for entry in fs::read_dir(fences).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        ids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(ids)
}

/// Forgets one fence, if it has been left.
fn leftover(engine: &mut Engine, id: u32) -> Result<(), Error> {
    let path = engine.pins.fences.join(id.to_string());
    if is_held(&path)? {
        return Ok(());
    }
    let tasks = engine
        .maps
        .counters
        .get(&id, 0)
        .map_or(0, |counters| counters[4]);
    if tasks != 0 {
        return Ok(());
    }
    let cgroup = read(&path);
    if cgroup.as_ref().is_some_and(is_populated) {
        return Ok(());
    }
    register::forget(&path, cgroup.as_ref().map(|cgroup| cgroup.id))?;
    fence::forget(engine, id, cgroup.map(|cgroup| cgroup.id), None)?;
    fs::remove_file(&path).map_err(|error| Error::state(&path, error))
}

/// The cgroup that a record names.
pub(super) fn read(record: &Path) -> Option<Cgroup> {
    let text = fs::read(record).ok()?;
    let end = text.iter().position(|&byte| byte == b'\n')?;
    Some(Cgroup {
        id: std::str::from_utf8(&text[..end]).ok()?.parse().ok()?,
        directory: PathBuf::from(OsStr::from_bytes(&text[end + 1..])),
    })
}

/// Whether a task stands in it or below. One that has been removed, or replaced by one of the same name, holds none.
fn is_populated(cgroup: &Cgroup) -> bool {
    let same = fs::metadata(&cgroup.directory).is_ok_and(|found| found.ino() == cgroup.id);
    let events = fs::read_to_string(cgroup.directory.join("cgroup.events"));
    let is_empty = |text: &str| text.lines().all(|line| line != "populated 1");
    // One that cannot be asked may hold some.
    same && !events.is_ok_and(|text| is_empty(&text))
}

/// Whether a supervisor holds the lock of this record, or has just removed it: then nothing is left to collect.
pub(super) fn is_held(path: &Path) -> Result<bool, Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::state(path, error)),
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // A supervisor removes its record before it lets go: one that was opened before that has no name any more.
        Ok(record) => match record.metadata() {
            Ok(found) => Ok(found.nlink() == 0),
            Err(error) => Err(Error::state(path, error)),
        },
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, error)) => Err(Error::state(path, error.into())),
    }
}

/// Whether a fence that has a record in `folder` or below needs programs: its supervisor lives, or a task stands in its cgroup. One
/// that has executed nothing yet is not in the programs' own map, and would run without them.
fn is_any_needed(folder: &Path) -> Result<bool, Error> {
    let unreadable = |error| Error::state(folder, error);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_needed = if path.is_dir() {
            is_any_needed(&path)?
        } else {
            is_held(&path)? || read(&path).as_ref().is_some_and(is_populated)
        };
        if is_needed {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes other versions' programs that have not been used for a while, once no fence of theirs holds a task. Called after this
/// version is in place, so that there is no moment without one.
pub(super) fn unused_versions(pins: &Pins) -> Result<(), Error> {
    let mut others = versions(&Path::new(STATE).join("bpf"))?;
    // The roles of one version stand side by side.
    others.retain(|version| suffix(version) != suffix(&pins.version) && is_unused(version));
    // A fence stands before its first task is in it, and without its programs it would hold nothing.
    if others.is_empty() || is_any_needed(&Path::new(STATE).join("fences"))? {
        return Ok(());
    }
    for version in others {
        if is_idle(&version) {
            remove(&version)?;
        }
    }
    Ok(())
}

/// Whether no record of a fence of this version has come or gone for a while.
fn is_unused(version: &Path) -> bool {
    let records = Path::new(STATE).join("fences");
    let records = records.join(version.file_name().unwrap_or_default());
    let changed = fs::metadata(records).and_then(|found| found.modified());
    changed.map_or(true, |then| then.elapsed().is_ok_and(|age| age > UNUSED))
}

/// What became of the versions of the programs that were in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    /// How many went.
    pub removed: usize,
    /// How many stayed, because a fence stands or a task is in one.
    pub kept: usize,
}

/// Removes the programs of every version that no fence needs.
pub(super) fn every_version() -> Result<Unloaded, Error> {
    let filesystem = Path::new(STATE).join("bpf");
    let mut unloaded = Unloaded::default();
    if !filesystem.exists() {
        return Ok(unloaded);
    }
    let _turn = Pins::turn()?;
    let is_needed = is_any_needed(&Path::new(STATE).join("fences"))?;
    for version in versions(&filesystem)? {
        if is_needed || !is_idle(&version) {
            unloaded.kept += 1;
        } else {
            remove(&version)?;
            unloaded.removed += 1;
        }
    }
    Ok(unloaded)
}

/// The directories of all versions.
fn versions(filesystem: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::state(filesystem, error);
    let mut versions = Vec::new();
    for entry in fs::read_dir(filesystem).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // Some kernels show files of their own in a BPF filesystem (kernel/bpf/inode.c, `populate_bpffs`).
        if entry.file_type().map_err(unreadable)?.is_dir() {
            versions.push(entry.path());
        }
    }
    Ok(versions)
}

/// Removes a version and the records of its fences, none of which is held.
fn remove(version: &Path) -> Result<(), Error> {
    pins::remove(version)?;
    if let Some(name) = version.file_name() {
        pins::remove(&Path::new(STATE).join("fences").join(name))?;
    }
    Ok(())
}

/// A version's name without its role.
fn suffix(version: &Path) -> Option<&str> {
    let name = version.file_name()?.to_str()?;
    name.split_once('-').map(|(_, version)| version)
}

/// Whether a version's task map is empty, or its loader was killed before anybody could stand under it. One that cannot be
/// asked is left alone.
fn is_idle(version: &Path) -> bool {
    use aya::maps::{HashMap, Map, MapData};
    if !pins::is_complete(version) {
        return true;
    }
    let tasks = MapData::from_pin(version.join("map_TASKS"))
        .and_then(Map::from_map_data)
        .and_then(HashMap::<_, u64, [u32; 2]>::try_from);
    tasks.is_ok_and(|tasks| tasks.keys().next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    #[test]
    fn a_record_that_its_supervisor_has_just_removed_was_not_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1");
        let (turn, is_over) = (Mutex::new(()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let reserved = turn.lock().unwrap();
                    let file = fs::File::create_new(&path).unwrap();
                    let alive = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
                    drop(reserved);
                    fs::remove_file(&path).unwrap();
                    drop(alive);
                }
                is_over.store(true, Ordering::Relaxed);
            });
            let mut left = 0;
            while !is_over.load(Ordering::Relaxed) {
                let _turn = turn.lock().unwrap();
                left += usize::from(!is_held(&path).unwrap());
            }
            assert_eq!(left, 0);
        });
    }
}
