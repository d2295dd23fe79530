//! The stream of records to user space, and when its reader is woken.

use aya_ebpf::{
    bindings::bpf_dynptr,
    cty::c_void,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_dynptr_write, bpf_ktime_get_boot_ns, bpf_ringbuf_discard_dynptr, bpf_ringbuf_query,
            bpf_ringbuf_reserve_dynptr, bpf_ringbuf_submit_dynptr,
        },
    },
};
use ringfence_abi::{
    event::operation,
    limits,
    record::{Act, PASSED, Seen},
};

use super::path::Extent;
use crate::{
    maps::RECORDS,
    scratch::{PATH_END, Path, Slot},
    walk::bounded,
    zero::zeroed,
};

/// `BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP` and `BPF_RB_AVAIL_DATA` (include/uapi/linux/bpf.h).
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
const AVAILABLE_DATA: u64 = 0;

/// Whether there was room for the record.
///
/// # Safety
/// `slot` is a map value.
#[inline(always)]
pub(super) unsafe fn write(slot: *mut Slot, number: u32, path: Extent, other: Extent) -> bool {
    const HEADER: u32 = size_of::<Act>() as u32;
    // SAFETY: an inner map is removed as a whole and freed after a grace period.
    let Some(ring) = (unsafe { RECORDS.get(&number) }) else {
        return false;
    };
    let (path_bytes, other_bytes) = (path.end - path.start, other.end - other.start);
    let mut record: bpf_dynptr = zeroed();
    // SAFETY: `slot` by contract; a reservation that failed still has to be discarded (kernel/bpf/ringbuf.c).
    unsafe {
        let act = &raw mut (*slot).act;
        (*act).time = bpf_ktime_get_boot_ns();
        (*act).process = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*act).path_bytes = path_bytes as u16;
        (*act).other_bytes = other_bytes as u16;
        let ring = core::ptr::from_ref(ring).cast_mut().cast::<c_void>();
        let size = HEADER + path_bytes + other_bytes;
        if bpf_ringbuf_reserve_dynptr(ring, size, 0, &raw mut record) != 0 {
            bpf_ringbuf_discard_dynptr(&raw mut record, 0);
            return false;
        }
        let mut failed = bpf_dynptr_write(&raw const record, 0, act.cast::<c_void>(), HEADER, 0);
        failed |= append(&record, HEADER, &raw const (*slot).path, path);
        failed |= append(&record, HEADER + path_bytes, &raw const (*slot).other, other);
        if failed != 0 {
            bpf_ringbuf_discard_dynptr(&raw mut record, 0);
            return false;
        }
        bpf_ringbuf_submit_dynptr(&raw mut record, when(ring, &(*act).seen));
    }
    true
}

/// Whether the reader is woken. To wake it takes half as long as all else that is done for an act, so it looks by itself now and then. Woken
/// it is where what it makes of an act depends on when it does so, which is that of names that were passed and of containers that begin,
/// and before the buffer is full.
#[inline(always)]
fn when(ring: *mut c_void, seen: &Seen) -> u64 {
    if seen.flags & PASSED != 0 || matches!(seen.operation, operation::EXEC | operation::RENAME) {
        return FORCE_WAKEUP;
    }
    // SAFETY: `ring` is a ring buffer.
    let waiting = unsafe { bpf_ringbuf_query(ring, AVAILABLE_DATA) };
    if waiting >= u64::from(limits::RECORD_RING_BYTES / 8) { FORCE_WAKEUP } else { NO_WAKEUP }
}

/// Both halves of a path: what the kernel named, and what was passed.
///
/// # Safety
/// `path` is in a map value.
#[inline(always)]
unsafe fn append(record: &bpf_dynptr, at: u32, path: *const Path, extent: Extent) -> i64 {
    const MASK: u64 = PATH_END as u64 - 1;
    if extent.end == 0 {
        return 0;
    }
    let start = bounded!(u64::from(extent.start), MASK);
    let kernel = bounded!(PATH_END as u64 - start, MASK);
    let passed = bounded!(u64::from(extent.end) - PATH_END as u64, MASK);
    // SAFETY: start and length are below half of the buffer each, and the second half is as long as the mask allows.
    unsafe {
        let bytes = (&raw const (*path).bytes).cast_mut().cast::<u8>();
        let mut failed = 0;
        let from = bytes.add(start as usize).cast::<c_void>();
        if kernel != 0 {
            failed |= bpf_dynptr_write(record, at, from, kernel as u32, 0);
        }
        if passed != 0 {
            let from = bytes.add(PATH_END).cast::<c_void>();
            failed |= bpf_dynptr_write(record, at + kernel as u32, from, passed as u32, 0);
        }
        failed
    }
}
