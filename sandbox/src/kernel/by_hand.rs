//! Programs for hooks that aya has no name for: its parser reads and links them, and the system calls that load and pin them are
//! made here.
//!
//! They share the maps and the type information of what aya has loaded from the same object.

use std::{
    collections::HashSet,
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::{
    Ebpf,
    maps::Map,
    programs::{Program, ProgramInfo},
};
use aya_obj::{Function, Object, generated::bpf_attach_type, generated::bpf_prog_type};

use super::{Error, loader::OBJECT};

// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const BTF_GET_FD_BY_ID: libc::c_long = 19;
/// Bytes of the verifier's words that are asked for where it refuses.
const LOG_BYTES: usize = 1 << 16;
/// `BPF_LOG_LEVEL1`.
const LOG_LEVEL: u32 = 1;

/// The object, linked to what has been loaded of it.
pub(super) struct ByHand {
    object: Object,
    types: OwnedFd,
}

/// The part of `union bpf_attr` that loading uses.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    types: u32,
    function_record: u32,
    functions: u64,
    function_count: u32,
    line_record: u32,
    lines: u64,
    line_count: u32,
    attach_type_id: u32,
}

/// The part that pinning uses.
#[repr(C)]
struct PinAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The part that asks for type information by its number.
#[repr(C)]
struct TypesAttributes {
    number: u32,
    next: u32,
    flags: u32,
}

impl ByHand {
    /// Links the object to the maps of `loaded`; `beside` is a program of it that the kernel has taken.
    ///
    /// # Errors
    /// Where the object is not what was loaded, or its type information is not to be had.
    pub(super) fn link(loaded: &Ebpf, beside: &str) -> Result<Self, Error> {
        let failed = |reason: String| Error::Program {
            hook: beside.to_owned(),
            reason,
        };
        let mut object = Object::parse(OBJECT).map_err(|error| failed(error.to_string()))?;
        let definitions = std::mem::take(&mut object.maps);
        let maps: Vec<_> = definitions
            .iter()
            .filter_map(|(name, definition)| {
                let descriptor = descriptor(loaded.map(name)?)?;
                Some((name.as_str(), descriptor, definition))
            })
            .collect();
        let sections: HashSet<_> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        object
            .relocate_maps(maps.into_iter(), &sections)
            .and_then(|()| object.relocate_calls(&sections))
            .map_err(|error| failed(format!("{error:?}")))?;
        let number = match loaded.program(beside) {
            Some(Program::CgroupSockAddr(program)) => program.info().ok(),
            _ => None,
        };
        let number = number.as_ref().and_then(ProgramInfo::btf_id);
        let number = number.ok_or_else(|| failed("it has no type information".to_owned()))?;
        let types = types(number).map_err(|error| failed(error.to_string()))?;
        Ok(Self { object, types })
    }

    /// Loads the program `name`, as one for sockets' addresses on a cgroup at this place.
    ///
    /// # Errors
    /// The kernel's, with the verifier's words where it has any.
    pub(super) fn load(&self, name: &str, place: bpf_attach_type) -> Result<OwnedFd, Error> {
        let refused = |reason: String| Error::Program {
            hook: name.to_owned(),
            reason,
        };
        let program = self.object.programs.get(name);
        let function =
            program.and_then(|program| self.object.functions.get(&program.function_key()));
        let (Some(program), Some(function)) = (program, function) else {
            return Err(refused("the object does not define it".to_owned()));
        };
        let load = |log: &mut [u8]| self.load_with(name, place, function, &program.license, log);
        load(&mut []).or_else(|error| {
            let mut log = vec![0; LOG_BYTES];
            load(&mut log).map_err(|_| {
                let said = log.split(|&byte| byte == 0).next().unwrap_or_default();
                let said = String::from_utf8_lossy(said);
                match said.trim() {
                    "" => refused(error.to_string()),
                    said => refused(format!("{error}: {said}")),
                }
            })
        })
    }

    fn load_with(
        &self,
        name: &str,
        place: bpf_attach_type,
        function: &Function,
        licence: &CString,
        log: &mut [u8],
    ) -> io::Result<OwnedFd> {
        let functions = function.func_info.func_info_bytes();
        let lines = function.line_info.line_info_bytes();
        let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let mut attributes = LoadAttributes {
            kind: bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR as u32,
            instruction_count: size(function.instructions.len()),
            instructions: function.instructions.as_ptr().addr() as u64,
            licence: licence.as_ptr().addr() as u64,
            attach_type: place as u32,
            types: self.types.as_raw_fd().cast_unsigned(),
            function_record: size(function.func_info_rec_size),
            functions: functions.as_ptr().addr() as u64,
            function_count: size(function.func_info.len()),
            line_record: size(function.line_info_rec_size),
            lines: lines.as_ptr().addr() as u64,
            line_count: size(function.line_info.len()),
            ..LoadAttributes::default()
        };
        if !log.is_empty() {
            attributes.log_level = LOG_LEVEL;
            attributes.log_size = size(log.len());
            attributes.log = log.as_mut_ptr().addr() as u64;
        }
        // Fifteen bytes and a NUL, as aya names the programs that it loads.
        for (to, from) in attributes.name[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        descriptor_from(PROG_LOAD, &attributes)
    }
}

/// Pins what `descriptor` is of.
pub(super) fn pin(descriptor: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::pin(path, error);
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    let attributes = PinAttributes {
        path: name.as_ptr().addr() as u64,
        descriptor: descriptor.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    call(OBJ_PIN, &attributes).map(|_| ()).map_err(failed)
}

fn types(number: u32) -> io::Result<OwnedFd> {
    let attributes = TypesAttributes {
        number,
        next: 0,
        flags: 0,
    };
    descriptor_from(BTF_GET_FD_BY_ID, &attributes)
}

/// The descriptor of a map of a kind that the object has.
fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(map)
        | Map::CgroupStorage(map)
        | Map::HashMap(map)
        | Map::HashOfMaps(map)
        | Map::LruHashMap(map)
        | Map::SkStorage(map)
        | Map::Unsupported(map) => Some(map.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

fn descriptor_from<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the kernel has just handed out this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `attributes` begins as `union bpf_attr` does for the command, and what it points to outlives the call.
fn call<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads the attributes and what they point to, writes to the log alone, and keeps no pointer.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(answer).map_err(io::Error::other)
}
