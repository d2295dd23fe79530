//! The path of what an act is about: what the kernel names, and behind it a name that the program has passed.

use aya_ebpf::{
    cty::c_void,
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str},
};
use ringfence_abi::event::cause;

use crate::{
    kernel::Typed,
    outcome::Outcome,
    scratch::{PATH_END, Path},
    siphash,
    verdict::Object,
    walk,
};

/// Room for a name that was passed: behind the slash at [`PATH_END`], to the end of the buffer.
const NAME_ROOM: u32 = PATH_END as u32 - 1;

/// Bytes of a path's buffer: up to [`PATH_END`] what the kernel named, then what the program passed.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Extent {
    /// No path.
    pub(super) const NONE: Self = Self { start: 0, end: 0 };
}

/// Where a name that was passed lies.
#[derive(Clone, Copy)]
pub enum Name {
    /// There is none: the object itself is meant.
    None,
    /// In the program's memory.
    User(u64),
    /// In the kernel's.
    Kernel(u64),
}

/// Walks an object's path; where it begins, or 0 if it has none in this namespace. A function of its own, so that the
/// programs hold the walk once.
#[inline(never)]
fn built(path: *mut Path, dentry: u64, vfsmount: u64) -> u32 {
    match walk::absolute(path, dentry, walk::mount_of(vfsmount)) {
        // SAFETY: `path` is in a map value.
        Ok(()) => unsafe { core::ptr::read_volatile(&raw const (*path).start) },
        Err(_) => 0,
    }
}

/// The same for an object whose types the verifier knows.
#[inline(never)]
pub(super) fn built_by_loads(path: *mut Path, dentry: Typed, vfsmount: Typed) -> u32 {
    match walk::absolute_typed(path, dentry, vfsmount) {
        // SAFETY: `path` is in a map value.
        Ok(()) => unsafe { core::ptr::read_volatile(&raw const (*path).start) },
        Err(_) => 0,
    }
}

/// What an act is about, before it is told.
#[derive(Clone, Copy)]
pub struct Thing {
    /// The object, or the directory that the name is in.
    pub object: Object,
    /// The name.
    pub name: Name,
}

/// Builds the path of `thing`. `None` if it has none and needs none: pipes, sockets, memory, the inside of a stacked
/// filesystem.
#[inline(always)]
pub(super) fn path_of(path: *mut Path, thing: Thing) -> Result<Option<Extent>, Outcome> {
    let start = built(path, thing.object.dentry, thing.object.vfsmount);
    if start == 0 {
        // SAFETY: `path` is in a map value.
        let outcome = unsafe { core::ptr::read_volatile(&raw const (*path).outcome) };
        let has_no_path = outcome == u32::from(cause::ANONYMOUS) || outcome == walk::COMPLETE;
        let mount = walk::mount_of(thing.object.vfsmount);
        if has_no_path && walk::is_internal(mount)? {
            return Ok(None);
        }
        return Err(Outcome::INTERNAL);
    }
    let kernel = Extent { start, end: PATH_END as u32 };
    match thing.name {
        Name::None => Ok(Some(kernel)),
        Name::User(address) => passed(path, start, address, false).map(Some),
        Name::Kernel(address) => passed(path, start, address, true).map(Some),
    }
}

/// Puts a slash and the name behind the path that begins at `start`.
#[inline(always)]
fn passed(path: *mut Path, start: u32, address: u64, kernel: bool) -> Result<Extent, Outcome> {
    // SAFETY: `path` is in a map value, and the helper writes at most NAME_ROOM bytes, to the end of the buffer.
    let length = unsafe {
        let bytes = (&raw mut (*path).bytes).cast::<u8>();
        bytes.add(PATH_END).write_volatile(b'/');
        let name = bytes.add(PATH_END + 1).cast::<c_void>();
        if kernel {
            bpf_probe_read_kernel_str(name, NAME_ROOM, address as *const c_void)
        } else {
            bpf_probe_read_user_str(name, NAME_ROOM, address as *const c_void)
        }
    };
    // A name that fills the room may have been cut.
    if length <= 0 || length >= i64::from(NAME_ROOM) {
        return Err(Outcome::INTERNAL);
    }
    Ok(Extent { start, end: PATH_END as u32 + length as u32 })
}

/// The hash of a path.
#[inline(always)]
pub(super) fn hash(path: *mut Path, extent: Extent) -> Result<u64, Outcome> {
    match hashed(path, extent.start, extent.end) {
        0 => Err(Outcome::INTERNAL),
        hash => Ok(hash),
    }
}

/// 0 for a failure. A function of its own, so that the programs hold it once.
#[inline(never)]
fn hashed(path: *mut Path, start: u32, end: u32) -> u64 {
    siphash::of(path, start, end).unwrap_or(0)
}
