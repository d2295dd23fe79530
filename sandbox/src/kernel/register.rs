//! The register: which fences stand on this host, of every version of the programs.
//!
//! A fence leaves two files. `N` is locked by its supervisor for as long as that lives, and names its cgroup; `N.json` beside it
//! says what it is for. This file writes the second, and reads both: it changes nothing that belongs to a fence.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use aya::maps::{HashMap, Map, MapData};
use serde::{Deserialize, Serialize};

use super::{
    Error, Fence,
    collect::{self, is_held},
    misses,
    pins::{self, Pins, STATE},
};

/// What a fence is for, as its supervisor wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Description {
    /// Name of the profile.
    pub profile: String,
    /// Process id of the supervisor, in its own namespace.
    pub supervisor: u32,
    /// Milliseconds since 1970 when it began.
    pub since: u64,
    /// What is behind the fence.
    pub subject: Subject,
}

/// What is behind a fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A command and its arguments, bytes that are not UTF-8 replaced.
    Command(Vec<String>),
    /// A container, by its name.
    Container(String),
}

/// One fence that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The number of its cgroup, which no other cgroup of this host has.
    pub id: u64,
    /// The directory of its cgroup.
    pub cgroup: PathBuf,
    /// The version of the programs that hold it.
    pub version: String,
    /// Whether they judge by LSM hooks; else they stand beside the fallback engine.
    pub judges: bool,
    /// Whether its supervisor lives. A fence whose supervisor was killed stands on, and nobody reads its events.
    pub supervised: bool,
    /// The counters in the kernel; why they cannot be read, where the programs are gone or of a version that counts otherwise.
    pub counters: Result<Counters, String>,
    /// What it is for; why that is not known, where it is just being set up or was by a version that says it otherwise.
    pub description: Result<Description, String>,
}

/// What the kernel counts of a fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Acts denied.
    pub denied: u64,
    /// Acts that would have been denied but for audit mode.
    pub audited: u64,
    /// Events that found no room.
    pub lost: u64,
    /// Denials for an error of the fence itself.
    pub errors: u64,
    /// Tasks that carry its label. What stands beside the fallback engine labels none.
    pub tasks: u64,
    /// Packets that the net below the hooks held back.
    pub dropped: u64,
}

/// All that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The fences, in the order of their cgroups' numbers.
    pub fences: Vec<Registered>,
    /// The versions of the programs that are loaded.
    pub versions: Vec<Version>,
}

/// One version of the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub name: String,
    /// Whether it judges by LSM hooks.
    pub judges: bool,
    pins: PathBuf,
}

impl Version {
    /// Runs of its programs that the kernel has left out since they were loaded: acts that nobody judged.
    ///
    /// # Errors
    /// If the programs cannot be asked.
    pub fn missed(&self) -> Result<u64, Error> {
        misses::count(&self.pins)
    }
}

impl Description {
    /// Of a fence that this process supervises, from now on.
    #[must_use]
    pub fn new(profile: String, subject: Subject) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            profile,
            supervisor: std::process::id(),
            since: since.map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            subject,
        }
    }
}

impl Fence {
    /// What names it on this host: the number of its cgroup.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.cgroup.id
    }

    /// Writes down what it is for, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn describe(&self, description: &Description) -> Result<(), Error> {
        let path = description_of(&self.record);
        let new = path.with_extension("new");
        let written = serde_json::to_vec(description)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| Error::state(&path, error))
    }
}

/// Where the supervisor of the fence `id` hears what is asked of it.
#[must_use]
pub fn control(id: u64) -> PathBuf {
    Path::new(STATE).join("control").join(id.to_string())
}

/// What shows a supervisor that who asks it reads the run-time state: no task of a fence does, whatever sockets it reaches.
#[must_use]
pub fn token(id: u64) -> PathBuf {
    control(id).with_extension("token")
}

/// Removes what [`Fence::describe`] has written, and the socket of its supervisor. The record itself stays: until it goes, nobody takes
/// the number.
pub(super) fn forget(record: &Path, cgroup: Option<u64>) -> Result<(), Error> {
    let description = description_of(record);
    let new = description.with_extension("new");
    let controls = cgroup.map(|cgroup| [control(cgroup), token(cgroup)]);
    for path in [description, new]
        .into_iter()
        .chain(controls.into_iter().flatten())
    {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::state(&path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads the register.
///
/// # Errors
/// If the run-time state is there and cannot be read.
pub fn register() -> Result<Register, Error> {
    let state = Path::new(STATE);
    let lock = state.join("lock");
    match fs::symlink_metadata(&lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Register::default()),
        other => other.map_err(|error| Error::state(&lock, error))?,
    };
    // Whoever tries a record's lock holds it for a moment, in which its supervisor could not take it: records are made in turn.
    let _turn = Pins::turn()?;
    let mut register = Register::default();
    for folder in entries(&state.join("fences"))? {
        let Some(version) = file_name(&folder).map(str::to_owned) else {
            continue;
        };
        for record in entries(&folder)? {
            if file_name(&record).is_some_and(|name| name.parse::<u32>().is_ok()) {
                register.fences.extend(read(&version, &record)?);
            }
        }
    }
    register.fences.sort_by_key(|fence| fence.id);
    let filesystem = state.join("bpf");
    for folder in entries(&filesystem)? {
        // Some kernels show files of their own in a BPF filesystem (kernel/bpf/inode.c, `populate_bpffs`).
        if !pins::is_complete(&folder) {
            continue;
        }
        if let Some(name) = file_name(&folder).map(str::to_owned) {
            register.versions.push(Version {
                judges: judges(&name),
                name,
                pins: folder,
            });
        }
    }
    register
        .versions
        .sort_by(|one, other| one.name.cmp(&other.name));
    Ok(register)
}

/// One record; none if it has just gone, or its supervisor was killed before it had a cgroup.
fn read(version: &str, record: &Path) -> Result<Option<Registered>, Error> {
    let Some(cgroup) = collect::read(record) else {
        return Ok(None);
    };
    let number = file_name(record).and_then(|name| name.parse().ok());
    let supervised = is_held(record)?;
    Ok(Some(Registered {
        id: cgroup.id,
        cgroup: cgroup.directory,
        version: version.to_owned(),
        judges: judges(version),
        supervised,
        counters: counters(version, number.unwrap_or(0)),
        description: description(record),
    }))
}

fn description(record: &Path) -> Result<Description, String> {
    match fs::read(description_of(record)) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| format!("written by another version: {error}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("not written down yet, or by an older version".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn counters(version: &str, number: u32) -> Result<Counters, String> {
    let pin = Path::new(STATE)
        .join("bpf")
        .join(version)
        .join("map_COUNTERS");
    let map = MapData::from_pin(&pin)
        .and_then(Map::from_map_data)
        .and_then(HashMap::<_, u32, [u64; 6]>::try_from)
        .map_err(|error| error.to_string())?;
    let [denied, audited, lost, errors, tasks, dropped] =
        map.get(&number, 0).map_err(|error| error.to_string())?;
    Ok(Counters {
        denied,
        audited,
        lost,
        errors,
        tasks,
        dropped,
    })
}

/// As [`super::engine`] names its versions.
fn judges(version: &str) -> bool {
    version.starts_with("judge-")
}

fn description_of(record: &Path) -> PathBuf {
    record.with_extension("json")
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// What is in a folder; nothing if that is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::state(folder, error);
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unreadable)?,
    };
    listing
        .map(|entry| entry.map(|entry| entry.path()).map_err(unreadable))
        .collect()
}
