//! Leftovers: of supervisors that were killed, and of other versions.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    Cgroup, Engine, Error, fence,
    pins::{self, Pins, STATE},
    register,
};

/// Forgets the fences whose supervisor and whose tasks are gone. A fence that still holds a task stays as it is, and so does
/// one in whose cgroup a task stands that has not executed anything yet: it will be fenced when it does.
pub(super) fn leftovers(engine: &mut Engine) -> Result<(), Error> {
    let fences = engine.pins.fences.clone();
    let unreadable = |error| Error::state(&fences, error);
    for entry in fs::read_dir(&fences).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(id) = name.and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if is_held(&path)? {
            continue;
        }
        let tasks = engine
            .maps
            .counters
            .get(&id, 0)
            .map_or(0, |counters| counters[4]);
        if tasks != 0 {
            continue;
        }
        let cgroup = read(&path);
        if cgroup.as_ref().is_some_and(is_populated) {
            continue;
        }
        register::forget(&path, cgroup.as_ref().map(|cgroup| cgroup.id))?;
        fence::forget(engine, id, cgroup.map(|cgroup| cgroup.id), None)?;
        fs::remove_file(&path).map_err(|error| Error::state(&path, error))?;
    }
    Ok(())
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
    same && events.is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
}

/// Whether a supervisor holds the lock of this record. One that is gone by now is not held.
pub(super) fn is_held(path: &Path) -> Result<bool, Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::state(path, error)),
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) => Ok(false),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, error)) => Err(Error::state(path, error.into())),
    }
}

/// Whether a supervisor of any version holds a record in `folder` or below.
fn is_any_held(folder: &Path) -> Result<bool, Error> {
    let unreadable = |error| Error::state(folder, error);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let held = if path.is_dir() {
            is_any_held(&path)?
        } else {
            is_held(&path)?
        };
        if held {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes other versions' programs once no fence of theirs holds a task. Called after this version is in place, so that
/// there is no moment without one.
pub(super) fn other_versions(pins: &Pins) -> Result<(), Error> {
    // A fence stands before its first task is in it, and without its programs it would hold nothing.
    if is_any_held(&Path::new(STATE).join("fences"))? {
        return Ok(());
    }
    for version in versions(&Path::new(STATE).join("bpf"))? {
        // The roles of one version stand side by side.
        let is_sibling = suffix(&version) == suffix(&pins.version);
        if !is_sibling && is_idle(&version) {
            remove(&version)?;
        }
    }
    Ok(())
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
    let is_needed = is_any_held(&Path::new(STATE).join("fences"))?;
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
        let path = entry.map_err(unreadable)?.path();
        // Some kernels show files of their own in a BPF filesystem (kernel/bpf/inode.c, `populate_bpffs`).
        if path.is_dir() {
            versions.push(path);
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
