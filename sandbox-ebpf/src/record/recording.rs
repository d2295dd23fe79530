//! Which recording a task belongs to, and what is counted of it.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid};
use ringfence_abi::record::{AT_EXEC, BY_CGROUP, BY_EXEC, BY_ONE, BY_TASK, Known, Recording};

use crate::{
    atomic,
    maps::{RECORDED, RECORDED_BY, RECORDED_TASKS, RECORDINGS},
};

/// The recording that the current task belongs to, once its command has begun.
#[inline(always)]
pub fn current() -> Option<*mut Recording> {
    let recording = recording()?;
    // SAFETY: a map value lives as long as the program runs.
    let begun = unsafe { core::ptr::read_volatile(&raw const (*recording).begun) };
    (begun != 0).then_some(recording)
}

/// The same, whether it has begun or not. Where nothing is recorded, the first look answers.
#[inline(always)]
pub fn recording() -> Option<*mut Recording> {
    let known = RECORDED_BY.get_ptr_mut(only())?;
    let (by, number) = how(known);
    if by == 0 {
        return None;
    }
    let mut found = None;
    if by & (BY_ONE | BY_CGROUP) != 0 {
        // SAFETY: the helper has no precondition, and a map value lives as long as the program runs.
        let (own, one) = unsafe {
            (bpf_get_current_cgroup_id(), core::ptr::read_volatile(&raw const (*known).cgroup))
        };
        if by & BY_ONE != 0 && own == one {
            found = Some(number);
        } else if by & BY_CGROUP != 0 {
            // SAFETY: an entry is written once, by user space.
            found = unsafe { RECORDED.get(own) }.copied();
            found = found.filter(|number| number & AT_EXEC == 0);
        }
    }
    if found.is_none() && by & BY_TASK != 0 {
        found = number_of_thread(thread());
    }
    RECORDINGS.get_ptr_mut(found?)
}

/// The recording that a thread belongs to wherever it stands.
#[inline(always)]
pub fn number_of_thread(thread: u32) -> Option<u32> {
    // SAFETY: an entry is written before its task runs, by the task itself, or by user space.
    unsafe { RECORDED_TASKS.get(thread) }.map(|number| number & !AT_EXEC)
}

/// Whether tasks are taken in at their exec.
#[inline(always)]
pub fn takes_in() -> bool {
    RECORDED_BY.get_ptr_mut(only()).is_some_and(|known| how(known).0 & BY_EXEC != 0)
}

/// How tasks are known, and the recording of the one cgroup: by one load, so that they belong together.
#[inline(always)]
fn how(known: *mut Known) -> (u32, u32) {
    // SAFETY: a map value lives as long as the program runs, and is aligned to eight bytes.
    let both = unsafe { core::ptr::read_volatile(known.cast::<u64>()) };
    (both as u32, (both >> 32) as u32)
}

/// The current thread, as the initial pid namespace numbers it.
#[inline(always)]
pub fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Adds to the counter at `offset` of [`Tally`].
#[inline(always)]
pub fn count(recording: *mut Recording, offset: usize) {
    // SAFETY: `recording` is a map value, and the offset is that of one of the tally's fields.
    unsafe {
        let tally = (&raw mut (*recording).tally).cast::<u8>();
        atomic::add(tally.add(offset).cast::<u64>(), 1);
    }
}

/// Sets bits of the word at `offset` of [`Tally`].
#[inline(always)]
pub fn mark(recording: *mut Recording, offset: usize, bits: u64) {
    // SAFETY: as above; callers bound the offset.
    unsafe {
        let word = (&raw mut (*recording).tally).cast::<u8>().add(offset).cast::<u64>();
        // Almost always they are set: a read is cheaper.
        if core::ptr::read_volatile(word) & bits != bits {
            atomic::set(word, bits);
        }
    }
}

/// The index of the only element, not a constant that could be merged with a global that the loader changes.
#[inline(always)]
fn only() -> u32 {
    core::hint::black_box(0)
}
