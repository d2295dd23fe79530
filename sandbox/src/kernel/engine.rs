//! Loading the programs once, finding them again ever after.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{HashMap, HashOfMaps, Map, MapData};
use ringfence_abi::ABI_VERSION;

use super::{
    Error, Fence, Host, Unloaded,
    attach::{self, Purpose},
    collect, host, loader, memory,
    pins::{self, Pins, Turn},
    recorder,
    selftest::{self, Cgroup},
};
use crate::policy::Policy;

/// Roles in the names of versions.
const JUDGE: &str = "judge";
const WATCHING: &str = "watch";
/// Changes whenever processes come to share the maps in another way: who may write what, and when.
const SHARING: u32 = 2;

/// What the loaded programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// They judge: LSM hooks, and below them the programs on cgroups.
    Judge,
    /// They stand beside the fallback engine: a tracepoint watches what it denies, and the programs on cgroups judge
    /// addresses.
    Watch,
}

/// The loaded programs and their maps.
#[derive(Debug)]
pub struct Engine {
    pub(super) role: Role,
    pub(super) pins: Pins,
    pub(super) maps: Maps,
    /// Whether the programs on cgroups are in place that rules about addresses and hosts need.
    has_network: bool,
    /// Which of the versions that were in this place it found: one that has been removed and loaded again is another.
    generation: u64,
    /// Whether this run loaded the programs.
    pub loaded_now: bool,
}

/// The maps that user space writes.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) cgroups: HashMap<MapData, u64, [u8; 8]>,
    pub(super) counters: HashMap<MapData, u32, [u64; 6]>,
    #[expect(deprecated, reason = "see the kernel half's map of this name")]
    pub(super) fence: aya::maps::CgroupStorage<MapData, [u8; 8]>,
    pub(super) names: HashMap<MapData, [u8; 20], [u8; 40]>,
    pub(super) resolvers: HashMap<MapData, u32, [u8; 24]>,
    pub(super) connectors: HashMap<MapData, u32, u64>,
    pub(super) flows: HashMap<MapData, [u8; 28], u32>,
    pub(super) traffic: super::traffic::Map,
    pub(super) tables: [HashOfMaps<MapData, u32>; 3],
    pub(super) events: HashOfMaps<MapData, u32>,
}

impl Engine {
    /// Whether an earlier run has left the programs in place, so that [`Engine::open`] takes milliseconds.
    #[must_use]
    pub fn is_warm() -> bool {
        Pins::of(&digest(JUDGE)).is_complete()
    }

    /// Finds the programs of an earlier run, if there are any.
    ///
    /// # Errors
    /// Where the engine cannot be had, with the reason.
    pub fn find() -> Result<Option<Self>, Error> {
        if let Some((reason, _)) = Host::probe().obstacle() {
            return Err(Error::Unavailable(reason));
        }
        let digest = digest(JUDGE);
        unless_refused(&digest, || {
            let (pins, turn) = Pins::open(&digest)?;
            if !pins.is_complete() {
                return Ok(None);
            }
            Self::in_place(Role::Judge, pins, turn).map(Some)
        })
    }

    /// Finds the programs of an earlier run, or loads, attaches, pins and tests them. `cgroup` is one without tasks, for
    /// the test.
    ///
    /// # Errors
    /// Where the engine cannot be had, with the reason; nothing is left behind then.
    pub fn open(cgroup: &Cgroup) -> Result<Self, Error> {
        if let Some((reason, _)) = Host::probe().obstacle() {
            return Err(Error::Unavailable(reason));
        }
        let digest = digest(JUDGE);
        unless_refused(&digest, || {
            Self::open_as(Role::Judge, &digest, Some(cgroup))
        })
    }

    /// Removes the programs of this and other versions from the kernel, where no fence needs them.
    ///
    /// # Errors
    /// If what is there cannot be read or removed.
    pub fn unload() -> Result<Unloaded, Error> {
        collect::every_version()
    }

    /// Whether the kernel has refused the programs since it was booted, as far as this user can tell.
    #[must_use]
    pub fn is_refused() -> bool {
        refusal_note(&digest(JUDGE)).exists()
    }

    /// Forgets that the kernel has refused the programs, so that [`Engine::open`] tries again.
    ///
    /// # Errors
    /// If the note cannot be removed.
    pub fn forget_refusal() -> Result<(), Error> {
        for digest in [digest(JUDGE), recorder::digest_by_hooks()] {
            let note = refusal_note(&digest);
            match fs::remove_file(&note) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::state(note, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds or loads what stands beside another engine: it watches what that denies, and judges addresses.
    ///
    /// # Errors
    /// Where it cannot be had, with the reason.
    pub fn open_watch() -> Result<Self, Error> {
        if !host::privileged() {
            return Err(Error::Unavailable("it needs root".to_owned()));
        }
        Self::open_as(Role::Watch, &digest(WATCHING), None)
    }

    fn open_as(role: Role, digest: &str, cgroup: Option<&Cgroup>) -> Result<Self, Error> {
        let (pins, turn) = Pins::open(digest)?;
        if pins.is_complete() {
            return Self::in_place(role, pins, turn);
        }
        pins::remove(&pins.version)?;
        if let Err(error) = memory::shortly(|| loader::load(&pins, role)) {
            pins::remove(&pins.version)?;
            return Err(error);
        }
        let mut engine = Self::of(role, pins)?;
        engine.loaded_now = true;
        engine.finish(cgroup)?;
        engine.generation = engine.pins.generation()?;
        drop(turn);
        Ok(engine)
    }

    /// What an earlier run has left complete.
    fn in_place(role: Role, pins: Pins, turn: Turn) -> Result<Self, Error> {
        let mut engine = Self::of(role, pins)?;
        engine.generation = engine.pins.generation()?;
        collect::unused_versions(&engine.pins)?;
        drop(turn);
        Ok(engine)
    }

    fn of(role: Role, pins: Pins) -> Result<Self, Error> {
        let mut engine = Self {
            role,
            maps: Maps::open(&pins)?,
            has_network: attach::is_loaded(&pins, role, Purpose::Judging),
            pins,
            generation: 0,
            loaded_now: false,
        };
        collect::some_leftovers(&mut engine)?;
        recorder::collect()?;
        Ok(engine)
    }

    /// Tests what has just been loaded, and marks it as complete.
    fn finish(&mut self, cgroup: Option<&Cgroup>) -> Result<(), Error> {
        if let Some(cgroup) = cgroup
            && let Err(error) = selftest::run(self, cgroup)
        {
            pins::remove(&self.pins.version)?;
            return Err(error);
        }
        let complete = self.pins.complete();
        fs::create_dir(&complete).map_err(|error| Error::state(&complete, error))?;
        collect::unused_versions(&self.pins)
    }

    /// Whether the kernel has taken the programs on cgroups, which rules about addresses and hosts need.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.has_network
    }

    /// Whether the kernel has taken the programs on cgroups that judge whom Unix sockets reach; why not, if it has not.
    ///
    /// # Errors
    /// The reason.
    pub fn has_unix(&self) -> Result<(), Error> {
        match attach::is_loaded(&self.pins, self.role, Purpose::Unix) && self.role == Role::Watch {
            true => Ok(()),
            false => Err(attach::missing(&self.pins, Purpose::Unix)),
        }
    }

    /// Puts a policy in place for the tasks that execute a program in this cgroup.
    ///
    /// # Errors
    /// Where the policy does not fit or the maps cannot be written; nothing is left behind then.
    pub fn install(&mut self, policy: &Policy, cgroup: &Cgroup) -> Result<Fence, Error> {
        let _turn = Pins::turn()?;
        self.unless_removed()?;
        Fence::install(self, policy, cgroup)
    }

    /// Between the turn in which the programs were found and this one, another process may have removed them.
    pub(super) fn unless_removed(&self) -> Result<(), Error> {
        match self.pins.generation().ok() == Some(self.generation) {
            true => Ok(()),
            false => Err(Error::Removed),
        }
    }
}

/// Names the object, the border, and the way in which processes share the maps: another build never finds these pins.
pub(super) fn digest(role: &str) -> String {
    let object = env!("RINGFENCE_OBJECT_DIGEST");
    // Not with a dot: a BPF filesystem makes no directory of such a name (kernel/bpf/inode.c, `bpf_lookup`).
    format!("{role}-v{ABI_VERSION}-{SHARING}-{object}")
}

/// Opens what the kernel may refuse, unless it has. It will not be otherwise before the next boot, which empties /run; to try
/// costs a tenth of a second.
pub(super) fn unless_refused<T>(
    digest: &str,
    open: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let note = refusal_note(digest);
    if let Ok(reason) = fs::read_to_string(&note) {
        return Err(Error::Unavailable(reason));
    }
    let opened = open();
    if let Err(error) = &opened
        && error.is_refusal()
    {
        fs::write(&note, error.to_string()).map_err(|error| Error::state(&note, error))?;
    }
    opened
}

/// Where it is noted that the kernel has refused the programs of this version and role.
fn refusal_note(digest: &str) -> PathBuf {
    Path::new(pins::STATE).join(format!("refused-{digest}"))
}

/// An error with its causes: aya keeps the verifier's words in them.
pub(super) fn spell(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Maps {
    pub(super) const NAMES: [&str; 15] = [
        "TASKS",
        "IPC_OBJECTS",
        "CGROUPS",
        "COUNTERS",
        "TABLES_SMALL",
        "TABLES_MEDIUM",
        "TABLES_LARGE",
        "EVENTS",
        "SCRATCH",
        "FENCE",
        "NAMES",
        "RESOLVERS",
        "CONNECTORS",
        "FLOWS",
        "TRAFFIC",
    ];

    fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            cgroups: open(pins, "CGROUPS")?,
            counters: open(pins, "COUNTERS")?,
            fence: open(pins, "FENCE")?,
            names: open(pins, "NAMES")?,
            resolvers: open(pins, "RESOLVERS")?,
            connectors: open(pins, "CONNECTORS")?,
            flows: open(pins, "FLOWS")?,
            traffic: open(pins, "TRAFFIC")?,
            tables: [
                open(pins, "TABLES_SMALL")?,
                open(pins, "TABLES_MEDIUM")?,
                open(pins, "TABLES_LARGE")?,
            ],
            events: open(pins, "EVENTS")?,
        })
    }
}

pub(super) fn open<M: TryFrom<Map, Error: std::fmt::Display>>(
    pins: &Pins,
    name: &str,
) -> Result<M, Error> {
    let path = pins.map(name);
    let data = MapData::from_pin(&path).map_err(|error| Error::pin(&path, error))?;
    let map = Map::from_map_data(data).map_err(|error| Error::pin(&path, error))?;
    M::try_from(map).map_err(|error| Error::pin(&path, error))
}
