//! An act is told the first time, and counted after that.

use core::mem::offset_of;

use aya_ebpf::btf_maps::HashMap;
use ringfence_abi::{
    limits,
    record::{NAMELESS, PASSED, Seen, Tally},
    rights,
};

use super::{
    path::{Extent, Name, Thing, hash, path_of},
    recording::count,
    stream,
};
use crate::{
    abstract_name::{self, BEFORE_NAME, Memory},
    atomic,
    maps::{RECORDINGS, SEEN},
    outcome::Outcome,
    scratch::{PATH_END, Slot},
};

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h).
const NO_EXIST: u64 = 1;
/// `-EEXIST`.
const EXISTS: i32 = -17;

/// The acts that one recording has told.
type Told = HashMap<Seen, u64, { limits::SEEN as usize }>;

/// Tells an act on one thing, or on two where there is an `other`.
#[inline(always)]
pub fn act(slot: *mut Slot, seen: Seen, thing: Thing, other: Option<Thing>) -> Result<(), Outcome> {
    // SAFETY: `slot` is a map value.
    let (path, second) = unsafe { (&raw mut (*slot).path, &raw mut (*slot).other) };
    let mut seen = seen;
    let Some(extent) = path_of(path, thing)? else {
        if seen.needed & rights::EXEC != 0 {
            nameless(slot, seen);
        }
        return Ok(());
    };
    if !matches!(thing.name, Name::None) {
        seen.flags |= PASSED;
    }
    seen.path = hash(path, extent)?;
    let mut second_extent = Extent::NONE;
    if let Some(other) = other {
        second_extent = path_of(second, other)?.ok_or(Outcome::INTERNAL)?;
        seen.other = hash(second, second_extent)?;
    }
    submit(slot, seen, extent, second_extent);
    Ok(())
}

/// Tells an act on a Unix socket with an abstract name, by a `struct sockaddr_un` of `length` bytes: the name stands for the path, with an
/// `@` before it. What has none is not told.
#[inline(always)]
pub fn by_abstract_name(
    slot: *mut Slot,
    seen: Seen,
    address: u64,
    length: u32,
    memory: Memory,
) -> Result<(), Outcome> {
    if length <= BEFORE_NAME {
        return Ok(());
    }
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw mut (*slot).path };
    abstract_name::place(path, address, length, memory)?;
    abstract_name::mark(path);
    // SAFETY: as above.
    let start = unsafe { core::ptr::read_volatile(&raw const (*path).start) };
    let extent = Extent { start, end: PATH_END as u32 };
    submit(slot, Seen { path: hash(path, extent)?, ..seen }, extent, Extent::NONE);
    Ok(())
}

/// Tells an act on something without a name.
#[inline(always)]
pub fn nameless(slot: *mut Slot, seen: Seen) {
    let seen = Seen { flags: seen.flags | NAMELESS, ..seen };
    submit(slot, seen, Extent::NONE, Extent::NONE);
}

/// Tells an act whose [`Seen`] says everything.
#[inline(always)]
pub fn without_path(slot: *mut Slot, seen: Seen) {
    submit(slot, seen, Extent::NONE, Extent::NONE);
}

/// Tells what has not been told, counts what has; whether it has been told. A path is in the slot's `path`, another in its `other`.
#[inline(always)]
pub(super) fn submit(slot: *mut Slot, seen: Seen, path: Extent, other: Extent) -> bool {
    let Seen { path: hash, other: other_hash, program, detail, operation, needed, flags } = seen;
    // SAFETY: `slot` is a map value.
    unsafe {
        let own = &raw mut (*slot).act.seen;
        // Apart from the rest, or LLVM calls `memset` where neither path is known (see `zero`).
        core::ptr::write_volatile(&raw mut (*own).other, other_hash);
        (*own).path = hash;
        (*own).program = program;
        (*own).detail = detail;
        (*own).operation = operation;
        (*own).needed = needed;
        (*own).flags = flags;
    }
    told(slot, path.start, path.end, other.start, other.end) != 0
}

/// See [`submit`]. A function of its own, so that the programs hold it once.
#[inline(never)]
fn told(slot: *mut Slot, start: u32, end: u32, other_start: u32, other_end: u32) -> u32 {
    // SAFETY: `slot` is a map value.
    let (seen, number) = unsafe { ((*slot).act.seen, (*slot).recording as u32) };
    let Some(recording) = RECORDINGS.get_ptr_mut(number) else {
        return 0;
    };
    // SAFETY: an inner map is removed as a whole and freed after a grace period.
    let Some(all) = (unsafe { SEEN.get(&number) }) else {
        count(recording, offset_of!(Tally, lost));
        return 0;
    };
    if counted(all, &seen) {
        return 1;
    }
    match all.insert(&seen, 1, NO_EXIST) {
        Ok(()) => {}
        // Another processor was faster.
        Err(EXISTS) => {
            counted(all, &seen);
            return 1;
        }
        Err(_) => count(recording, offset_of!(Tally, again)),
    }
    let path = Extent { start, end };
    let other = Extent { start: other_start, end: other_end };
    // SAFETY: `slot` is a map value.
    if !unsafe { stream::write(slot, number, path, other) } {
        count(recording, offset_of!(Tally, lost));
        // The next time it is told, if there is one.
        let _may_be_absent = all.remove(&seen);
        return 0;
    }
    1
}

#[inline(always)]
fn counted(told: &Told, seen: &Seen) -> bool {
    let Some(times) = told.get_ptr_mut(seen) else {
        return false;
    };
    // SAFETY: a map value lives as long as the program runs.
    unsafe { atomic::add(times, 1) };
    true
}
