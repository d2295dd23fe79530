//! From the object to programs in the kernel, attached and pinned.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, MapError},
    programs::{Program, ProgramError, links::FdLink},
};
use ringfence_abi::limits::{RECORDINGS, TABLES};

use super::{
    Error,
    attach::{self, Purpose},
    by_hand::{self, ByHand},
    engine::{Maps, Role},
    fence,
    layout::Kernel,
    map, misses,
    pins::Pins,
    recorder, refusal, table,
};

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

/// A ring buffer that only shows what others are like: a page.
const SMALLEST_RING: u32 = 4096;

/// The program that watches; all others are on LSM hooks.
const WATCH: &str = "watch_failures";

/// Loads, attaches and pins what `role` takes of the object, and the maps.
pub(super) fn load(pins: &Pins, role: Role) -> Result<(), Error> {
    let kernel = Kernel::read()?;
    let types = Btf::from_sys_fs().map_err(|error| Error::Btf(error.to_string()))?;
    let setattr_has_mapping = u32::from(kernel.setattr_has_mapping);
    let mut loader = EbpfLoader::new();
    let tables = prepare(pins)?;
    for (name, path) in &tables {
        loader.map_pin_path(name, path);
    }
    for (name, least) in recorder::OWN_MAPS {
        loader.map_max_entries(name, least);
    }
    let mut object = loader
        .btf(Some(&types))
        .override_global("LAYOUT", kernel.offsets.as_slice(), true)
        .override_global("SETATTR_HAS_MAPPING", &setattr_has_mapping, true)
        .override_global("MOVES", &kernel.moves(), true)
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
    let mut programs: Vec<_> = object.programs_mut().collect();
    // They come in no order, and the first that is refused is named.
    programs.sort_unstable_by_key(|(hook, _)| *hook);
    for (hook, program) in programs {
        if hook.starts_with(recorder::PREFIX) {
            continue;
        }
        if Purpose::of(hook) == Purpose::Unix {
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
        attach(pins, hook, hook, program, &types)?;
    }
    match role {
        Role::Judge if misses::guards_hooks(&types) => Ok(()),
        Role::Judge => {
            let unguarded = pins.unguarded();
            fs::create_dir(&unguarded).map_err(|error| Error::state(&unguarded, error))
        }
        Role::Watch => put_unix_in_place(pins, &object, &kernel),
    }
}

/// Makes the directory of pins, and in it the maps of tables for the loader to find.
pub(super) fn prepare(pins: &Pins) -> Result<Vec<(&'static str, PathBuf)>, Error> {
    fs::create_dir(&pins.version).map_err(|error| Error::state(&pins.version, error))?;
    let mut prepared = Vec::new();
    let mut create = |name, template: Result<MapData, MapError>, entries| {
        let path = pins.map(name);
        create_outer(name, &path, template, entries)?;
        prepared.push((name, path));
        Ok::<_, Error>(())
    };
    for (name, words) in fence::NAMES.into_iter().zip(fence::SIZES) {
        create(name, fence::array(table::value_bytes(words)), TABLES)?;
    }
    create("SEEN", recorder::seen(1), RECORDINGS)?;
    create("RECORDS", recorder::ring(SMALLEST_RING), RECORDINGS)?;
    Ok(prepared)
}

/// Creates and pins a map of maps that are like `template`, for the loader to find.
fn create_outer(
    name: &'static str,
    path: &Path,
    template: Result<MapData, MapError>,
    entries: u32,
) -> Result<(), Error> {
    let template = template.map_err(|error| Error::map("create", name, error))?;
    let outer = map::hash_of_maps(template.fd().as_fd(), entries, name)
        .map_err(|error| Error::map("create", name, error))?;
    let outer = MapData::from_fd(outer).map_err(|error| Error::map("open", name, error))?;
    outer.pin(path).map_err(|error| Error::pin(path, error))
}

/// Loads the program `name` for `hook`, attaches it, and pins both.
pub(super) fn attach(
    pins: &Pins,
    name: &str,
    hook: &str,
    program: &mut Program,
    types: &Btf,
) -> Result<(), Error> {
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
            return Err(Error::Program {
                hook: hook.to_owned(),
                reason: "it is of a kind that this version does not know".to_owned(),
            });
        }
    };
    let link = link.map_err(|error| refusal::at_hook(hook, &error))?;
    let path = pins.program(name);
    program
        .pin(&path)
        .map_err(|error| Error::pin(&path, error))?;
    let path = pins.link(name);
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
        let note = attach::refusal(pins, Purpose::of(name));
        let text = format!("{name}: {}", refusal::words(&error));
        return fs::write(&note, text).map_err(|error| Error::state(note, error));
    }
    let path = pins.program(name);
    program.pin(&path).map_err(|error| Error::pin(&path, error))
}

/// Loads and pins the programs about Unix sockets. A kernel before 6.7 has no place for them, and can do all else.
fn put_unix_in_place(pins: &Pins, object: &Ebpf, kernel: &Kernel) -> Result<(), Error> {
    let load = || {
        if !kernel.has_unix_on_cgroups() {
            return Err(
                "the kernel is older than 6.7, which has the first programs for them".to_owned(),
            );
        }
        let (beside, _) = attach::FIRST;
        let linked = ByHand::link(object, beside).map_err(|error| error.to_string())?;
        let mut loaded = Vec::new();
        for (name, place) in attach::UNIX {
            let program = linked
                .load(name, place)
                .map_err(|error| error.to_string())?;
            loaded.push((name, program));
        }
        Ok(loaded)
    };
    match load() {
        Ok(loaded) => loaded
            .iter()
            .try_for_each(|(name, program)| by_hand::pin(program.as_fd(), &pins.program(name))),
        Err(reason) => {
            let note = attach::refusal(pins, Purpose::Unix);
            fs::write(&note, reason).map_err(|error| Error::state(note, error))
        }
    }
}
