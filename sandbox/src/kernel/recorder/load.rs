//! From the object to the programs of recordings, pinned, and on their tracepoints.

use std::hash::{BuildHasher as _, RandomState};

use aya::{
    Btf, EbpfLoader,
    programs::{
        Program, RawTracePoint,
        links::{FdLink, PinnedLink},
    },
};

use super::{
    PREFIX, refused,
    way::{OnTracepoint, Way},
};
use crate::kernel::{
    Error, engine,
    layout::Kernel,
    loader::{self, OBJECT, YOUNGER_HOOKS},
    pins::Pins,
    refusal,
};

/// Maps that only fences need, and how small they may be here.
const OTHERS: [(&str, u32); 4] = [
    ("TASKS", 1),
    ("IPC_OBJECTS", 1),
    ("FLOWS", 128),
    ("TRAFFIC", 1),
];

/// Maps that recordings share. `TASKS` is empty here, and says so to whoever removes versions that nobody needs.
const MAPS: [&str; 5] = [
    "TASKS",
    "RECORDINGS",
    "RECORDED",
    "RECORDED_BY",
    "RECORDED_TASKS",
];

/// Puts a program on its tracepoint, unless it is on it.
pub(super) fn attach(pins: &Pins, one: &OnTracepoint) -> Result<(), Error> {
    let path = pins.link(one.name);
    if path.exists() {
        return Ok(());
    }
    let spelled = |error: &dyn std::error::Error| refused(one.tracepoint, engine::spell(error));
    let mut program =
        RawTracePoint::from_pin(pins.program(one.name)).map_err(|error| spelled(&error))?;
    let link = program
        .attach(one.tracepoint)
        .and_then(|link| Ok(FdLink::from(program.take_link(link)?)))
        .map_err(|error| spelled(&error))?;
    // The pin is what keeps it.
    let _pinned: PinnedLink = link.pin(&path).map_err(|error| Error::pin(&path, error))?;
    Ok(())
}

/// Loads and pins what recording in this way takes of the object, and the maps; hooks are attached as well.
pub(super) fn load(pins: &Pins, way: Way) -> Result<(), Error> {
    let kernel = Kernel::read()?;
    let types = Btf::from_sys_fs().map_err(|error| Error::Btf(error.to_string()))?;
    // One key as long as the programs stay: who is recorded cannot read it.
    let random = [
        RandomState::new().hash_one(0),
        RandomState::new().hash_one(1),
    ];
    let setattr_has_mapping = u32::from(kernel.setattr_has_mapping);
    let mut loader = EbpfLoader::new();
    let prepared = loader::prepare(pins)?;
    for (name, path) in &prepared {
        loader.map_pin_path(name, path);
    }
    for (name, least) in OTHERS {
        loader.map_max_entries(name, least);
    }
    let mut object = loader
        .btf(Some(&types))
        .override_global("LAYOUT", kernel.offsets.as_slice(), true)
        .override_global("SETATTR_HAS_MAPPING", &setattr_has_mapping, true)
        .override_global("HASH_KEY", random.as_slice(), true)
        .load(OBJECT)?;
    for name in MAPS {
        let map = object
            .map_mut(name)
            .ok_or_else(|| Error::map("find", name, "the object does not define it"))?;
        let path = pins.map(name);
        map.pin(&path).map_err(|error| Error::pin(&path, error))?;
    }
    let mut programs: Vec<_> = object.programs_mut().collect();
    programs.sort_unstable_by_key(|(name, _)| *name);
    for (name, program) in programs {
        let Some(hook) = name.strip_prefix(PREFIX) else {
            continue;
        };
        put_in_place(pins, way, &kernel, &types, (name, hook), program)?;
    }
    Ok(())
}

fn put_in_place(
    pins: &Pins,
    way: Way,
    kernel: &Kernel,
    types: &Btf,
    (name, hook): (&str, &str),
    program: &mut Program,
) -> Result<(), Error> {
    let loaded = match program {
        Program::Lsm(_) if way == Way::Calls => return Ok(()),
        Program::Lsm(_) if YOUNGER_HOOKS.contains(&hook) && !kernel.has_hook(hook) => return Ok(()),
        Program::Lsm(_) => return loader::attach(pins, name, hook, program, types),
        Program::RawTracePoint(program) => {
            if !way.tracepoints().iter().any(|one| one.name == name) {
                return Ok(());
            }
            program.load()
        }
        Program::CgroupSockAddr(program) => program.load(),
        _ => return Ok(()),
    };
    loaded.map_err(|error| refused(hook, refusal::words(&error)))?;
    let path = pins.program(name);
    program.pin(&path).map_err(|error| Error::pin(&path, error))
}
