//! Loading the programs once, finding them again ever after.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Btf, EbpfLoader, include_bytes_aligned,
    maps::{HashMap, HashOfMaps, Map, MapData},
    programs::{Program, ProgramError, links::FdLink},
};
use ringfence_abi::{ABI_VERSION, limits::TABLES};

use super::{
    Error, Fence, Host, Unloaded, attach, collect, fence,
    layout::Kernel,
    map,
    pins::{self, Pins, Turn},
    recorder,
    selftest::{self, Cgroup},
    table,
};
use crate::policy::Policy;

/// The kernel half, built by `cargo xtask ebpf` and checked in beside this file.
pub(super) static OBJECT: &[u8] =
    include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ringfence.bpf.o"));

/// Hooks that some kernels lack, and what judges there in their place:
///
/// * `inode_set_acl`, `inode_remove_acl`: before 6.2 access control lists go through `inode_setxattr`.
/// * `file_ioctl_compat`: before 6.8, and before it came to 6.1.y, `file_ioctl` sees the requests of 32-bit programs too.
/// * `uring_allowed`: before 6.15 a ring's descriptor is made under `inode_init_security_anon`, and it still is.
/// * the other `uring_*`, `key_*`, `perf_event_open`, `sctp_bind_connect`: absent where the kernel is built without what they guard
///   (include/linux/lsm_hook_defs.h).
pub(super) const YOUNGER_HOOKS: [&str; 11] = [
    "inode_set_acl",
    "inode_remove_acl",
    "file_ioctl_compat",
    "uring_allowed",
    "uring_sqpoll",
    "uring_cmd",
    "uring_override_creds",
    "key_alloc",
    "key_permission",
    "perf_event_open",
    "sctp_bind_connect",
];

/// The program that watches; all others are on LSM hooks.
const WATCH: &str = "watch_failures";

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
    pub(super) flows: HashMap<MapData, [u8; 28], u32>,
    pub(super) traffic: super::traffic::Map,
    pub(super) tables: [HashOfMaps<MapData, u32>; 3],
    pub(super) events: HashOfMaps<MapData, u32>,
}

impl Engine {
    /// Whether an earlier run has left the programs in place, so that [`Engine::open`] takes milliseconds.
    #[must_use]
    pub fn is_warm() -> bool {
        Path::new(pins::STATE)
            .join("bpf")
            .join(digest(Role::Judge))
            .join("complete")
            .exists()
    }

    /// Finds the programs of an earlier run, if there are any.
    ///
    /// # Errors
    /// Where the engine cannot be had, with the reason.
    pub fn find() -> Result<Option<Self>, Error> {
        Self::check()?;
        let (pins, turn) = Pins::open(&digest(Role::Judge))?;
        if !pins.is_complete() {
            return Ok(None);
        }
        Self::in_place(Role::Judge, pins, turn).map(Some)
    }

    /// Finds the programs of an earlier run, or loads, attaches, pins and tests them. `cgroup` is one without tasks, for
    /// the test.
    ///
    /// # Errors
    /// Where the engine cannot be had, with the reason; nothing is left behind then.
    pub fn open(cgroup: &Cgroup) -> Result<Self, Error> {
        Self::check()?;
        let digest = digest(Role::Judge);
        let opened = Self::open_as(Role::Judge, &digest, Some(cgroup));
        if let Err(Error::Program { .. }) = &opened {
            // It will not be otherwise before the next boot, which empties /run; to try costs a tenth of a second.
            let reason = opened
                .as_ref()
                .err()
                .map(ToString::to_string)
                .unwrap_or_default();
            let note = refusal();
            fs::write(&note, reason).map_err(|error| Error::state(&note, error))?;
        }
        opened
    }

    /// Whether there is a chance.
    fn check() -> Result<(), Error> {
        if let Some((reason, _)) = Host::probe().obstacle() {
            return Err(Error::Unavailable(reason));
        }
        match fs::read_to_string(refusal()) {
            Ok(reason) => Err(Error::Unavailable(reason)),
            Err(_) => Ok(()),
        }
    }

    /// Removes the programs of this and other versions from the kernel, where no fence needs them.
    ///
    /// # Errors
    /// If what is there cannot be read or removed.
    pub fn unload() -> Result<Unloaded, Error> {
        collect::every_version()
    }

    /// Forgets that the kernel has refused the programs, so that [`Engine::open`] tries again.
    ///
    /// # Errors
    /// If the note cannot be removed.
    pub fn forget_refusal() -> Result<(), Error> {
        let note = refusal();
        match fs::remove_file(&note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::state(note, error)),
            _ => Ok(()),
        }
    }

    /// Finds or loads what stands beside another engine: it watches what that denies, and judges addresses.
    ///
    /// # Errors
    /// Where it cannot be had, with the reason.
    pub fn open_watch() -> Result<Self, Error> {
        if !Host::probe().privileged {
            return Err(Error::Unavailable("it needs root".to_owned()));
        }
        Self::open_as(Role::Watch, &digest(Role::Watch), None)
    }

    fn open_as(role: Role, digest: &str, cgroup: Option<&Cgroup>) -> Result<Self, Error> {
        let (pins, turn) = Pins::open(digest)?;
        if pins.is_complete() {
            return Self::in_place(role, pins, turn);
        }
        pins::remove(&pins.version)?;
        if let Err(error) = load(&pins, role) {
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
        drop(turn);
        Ok(engine)
    }

    fn of(role: Role, pins: Pins) -> Result<Self, Error> {
        let mut engine = Self {
            role,
            maps: Maps::open(&pins)?,
            pins,
            generation: 0,
            loaded_now: false,
        };
        collect::leftovers(&mut engine)?;
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
        collect::other_versions(self)
    }

    /// Whether the kernel has taken the programs on cgroups, which rules about addresses and hosts need.
    #[must_use]
    pub fn has_network(&self) -> bool {
        attach::is_loaded(&self.pins, self.role)
    }

    /// Puts a policy in place for the tasks that execute a program in this cgroup.
    ///
    /// # Errors
    /// Where the policy does not fit or the maps cannot be written; nothing is left behind then.
    pub fn install(&mut self, policy: &Policy, cgroup: &Cgroup) -> Result<Fence, Error> {
        let _turn = Pins::turn()?;
        // Between the turn in which they were found and this one, another process may have removed them.
        if self.pins.generation().ok() != Some(self.generation) {
            return Err(Error::Removed);
        }
        Fence::install(self, policy, cgroup)
    }
}

/// Where it is noted that the kernel has refused the programs.
fn refusal() -> PathBuf {
    Path::new(pins::STATE).join(format!("refused-{}", digest(Role::Judge)))
}

/// Names the object, the border, and the way in which processes share the maps: another build never finds these pins.
fn digest(role: Role) -> String {
    let role = match role {
        Role::Judge => "judge",
        Role::Watch => "watch",
    };
    let object = env!("RINGFENCE_OBJECT_DIGEST");
    // Not with a dot: a BPF filesystem makes no directory of such a name (kernel/bpf/inode.c, `bpf_lookup`).
    format!("{role}-v{ABI_VERSION}-{SHARING}-{object}")
}

fn load(pins: &Pins, role: Role) -> Result<(), Error> {
    let kernel = Kernel::read()?;
    let types = Btf::from_sys_fs().map_err(|error| Error::Btf(error.to_string()))?;
    let setattr_has_mapping = u32::from(kernel.setattr_has_mapping);
    let mut loader = EbpfLoader::new();
    let tables = prepare(pins)?;
    for (name, path) in &tables {
        loader.map_pin_path(name, path);
    }
    for (name, least) in recorder::MAPS {
        loader.map_max_entries(name, least);
    }
    let mut object = loader
        .btf(Some(&types))
        .override_global("LAYOUT", kernel.offsets.as_slice(), true)
        .override_global("SETATTR_HAS_MAPPING", &setattr_has_mapping, true)
        .override_global("HOOKS_JUDGE", &u32::from(role == Role::Judge), true)
        .load(OBJECT)?;
    for name in Maps::NAMES {
        if fence::NAMES.contains(&name) {
            continue;
        }
        let map = object
            .map_mut(name)
            .ok_or_else(|| Error::map("find", name, "the object does not define it"))?;
        let path = pins.map(name);
        map.pin(&path).map_err(|error| Error::pin(&path, error))?;
    }
    for (hook, program) in object.programs_mut() {
        if hook.starts_with(recorder::PREFIX) {
            continue;
        }
        if attach::is_for_cgroup(hook) {
            put_in_place(pins, hook, program)?;
            continue;
        }
        if (hook == WATCH) != (role == Role::Watch) {
            continue;
        }
        if YOUNGER_HOOKS.contains(&hook) && !kernel.has_hook(hook) {
            continue;
        }
        attach(pins, hook, program, &types)?;
    }
    Ok(())
}

/// Makes the directory of pins, and in it the maps of tables for the loader to find.
pub(super) fn prepare(pins: &Pins) -> Result<[(&'static str, PathBuf); 3], Error> {
    fs::create_dir(&pins.version).map_err(|error| Error::state(&pins.version, error))?;
    let tables = fence::NAMES.map(|name| (name, pins.map(name)));
    for ((name, path), words) in tables.iter().zip(fence::SIZES) {
        create_tables(name, path, words)?;
    }
    Ok(tables)
}

/// Creates and pins the map of one size of tables, for the loader to find.
fn create_tables(name: &'static str, path: &Path, words: usize) -> Result<(), Error> {
    let template = fence::array(table::value_bytes(words))
        .map_err(|error| Error::map("create", name, error))?;
    let tables = map::hash_of_maps(template.fd().as_fd(), TABLES, name)
        .map_err(|error| Error::map("create", name, error))?;
    let tables = MapData::from_fd(tables).map_err(|error| Error::map("open", name, error))?;
    tables.pin(path).map_err(|error| Error::pin(path, error))
}

fn attach(pins: &Pins, hook: &str, program: &mut Program, types: &Btf) -> Result<(), Error> {
    let refused = |reason: String| Error::Program {
        hook: hook.to_owned(),
        reason,
    };
    let link = match program {
        Program::Lsm(program) => program.load(hook, types).and_then(|()| {
            let link = program.attach()?;
            Ok(FdLink::from(program.take_link(link)?))
        }),
        Program::RawTracePoint(program) => program.load().and_then(|()| {
            let link = program.attach("sys_exit")?;
            Ok(FdLink::from(program.take_link(link)?))
        }),
        _ => {
            return Err(refused(
                "it is of a kind that this version does not know".to_owned(),
            ));
        }
    };
    let link = link.map_err(|error| refused(spell(&error)))?;
    let path = pins.program(hook);
    program
        .pin(&path)
        .map_err(|error| Error::pin(&path, error))?;
    let path = pins.link(hook);
    link.pin(&path).map_err(|error| Error::pin(&path, error))?;
    Ok(())
}

/// Loads and pins a program for cgroups. A kernel that has none of them, or refuses one, can do all else: what it says is
/// kept for when they are needed.
fn put_in_place(pins: &Pins, name: &str, program: &mut Program) -> Result<(), Error> {
    let loaded = match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    if let Err(error) = loaded {
        let note = attach::refusal(pins);
        let text = format!("{name}: {}", spell(&error));
        return fs::write(&note, text).map_err(|error| Error::state(note, error));
    }
    let path = pins.program(name);
    program.pin(&path).map_err(|error| Error::pin(&path, error))
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
    const NAMES: [&str; 14] = [
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
