//! Who does what is told: the program that a task executes, itself told the first time.

use core::mem::offset_of;

use aya_ebpf::helpers::bpf_get_current_task;
use ringfence_abi::record::{PROGRAM, Recording, Seen, Tally};

use super::{
    path::{Extent, built_by_loads, hash},
    recording::count,
    tell::submit,
};
use crate::{
    kernel::{Typed, offset},
    maps::EXECUTING,
    outcome::Outcome,
    scratch::{self, KEPT_WORDS, PATH_END, Path, Slot},
};

/// Runs `work` with a slot and the hash of the current program; what fails is counted as not read.
#[inline(always)]
pub fn with_program(
    recording: *mut Recording,
    work: impl FnOnce(*mut Slot, u64) -> Result<(), Outcome>,
) {
    let Ok(slot) = scratch::take() else {
        count(recording, offset_of!(Tally, unread));
        return;
    };
    // SAFETY: both are map values.
    unsafe {
        (*slot).recording = u64::from((*recording).number);
        (*slot).token = (*recording).token;
    }
    let done = match program(slot) {
        Ok(program) => work(slot, program),
        Err(outcome) => Err(outcome),
    };
    if done.is_err() {
        count(recording, offset_of!(Tally, unread));
    }
    scratch::release(slot);
}

/// The hash of the path of the program that the current task executes; told the first time. Uses the slot's `other`.
#[inline(always)]
fn program(slot: *mut Slot) -> Result<u64, Outcome> {
    let file = Typed::current_task().pointer(offset!(task_memory)).pointer(offset!(memory_program));
    let Ok(file) = file.known() else {
        return Ok(0);
    };
    let place = offset!(file_path);
    let dentry = file.pointer(place + offset!(path_dentry)).known()?;
    let vfsmount = file.pointer(place + offset!(path_mount)).known()?;
    // SAFETY: `slot` is a map value.
    let other = unsafe { &raw mut (*slot).other };
    let found = built_by_loads(other, dentry, vfsmount);
    if found == 0 {
        return Ok(0);
    }
    // SAFETY: `slot` is a map value.
    if unsafe { is_last(slot, found) } {
        // SAFETY: likewise.
        return Ok(unsafe { (*slot).last.hash });
    }
    let extent = Extent { start: found, end: PATH_END as u32 };
    let program = hash(other, extent)?;
    let seen = Seen { program, operation: PROGRAM, ..Seen::default() };
    if submit(slot, seen, Extent::NONE, extent) {
        // SAFETY: likewise.
        unsafe { keep(slot, found, program) };
    }
    Ok(program)
}

/// The word that ends so many words before the end of a path.
///
/// # Safety
/// `path` is in a map value, and `back` is 1 to [`KEPT_WORDS`].
#[inline(always)]
unsafe fn word_of(path: *const Path, back: usize) -> u64 {
    // SAFETY: by contract; the buffer is aligned to eight bytes, and so is where paths end in it.
    unsafe { (&raw const (*path).bytes).cast::<u64>().add(PATH_END / 8 - back).read_volatile() }
}

/// Whether the path in the slot's `other`, from `start` on, is that of the program that was told last, to the same recording.
///
/// # Safety
/// `slot` is a map value.
#[inline(always)]
unsafe fn is_last(slot: *mut Slot, start: u32) -> bool {
    // SAFETY: by contract.
    let (last, other) = unsafe { (&raw const (*slot).last, &raw const (*slot).other) };
    // SAFETY: likewise.
    let is_alike = unsafe { (*last).token == (*slot).token && (*last).start == u64::from(start) };
    if !is_alike {
        return false;
    }
    let mut back = 1;
    let mut left = PATH_END as u32 - start;
    while back <= KEPT_WORDS {
        // SAFETY: by contract, and the loop's bounds are those of the words.
        let mut differs = unsafe { word_of(other, back) ^ (*last).words[back - 1] };
        if left < 8 {
            // What lies before the path begins does not count.
            differs >>= 64 - 8 * u64::from(left & 7);
        }
        if differs != 0 {
            return false;
        }
        if left <= 8 {
            return true;
        }
        left -= 8;
        back += 1;
    }
    false
}

/// Keeps who was told, where all of the path can be kept.
///
/// # Safety
/// `slot` is a map value.
#[inline(always)]
unsafe fn keep(slot: *mut Slot, start: u32, hash: u64) {
    if PATH_END as u32 - start > 8 * KEPT_WORDS as u32 {
        return;
    }
    // SAFETY: by contract; the loop's bounds are those of the words.
    unsafe {
        let last = &raw mut (*slot).last;
        let other = &raw const (*slot).other;
        let mut back = 1;
        while back <= KEPT_WORDS {
            (*last).words[back - 1] = word_of(other, back);
            back += 1;
        }
        (*last).token = (*slot).token;
        (*last).start = u64::from(start);
        (*last).hash = hash;
    }
}

/// Keeps who the current task is until its exec has succeeded.
#[inline(always)]
pub fn about_to_execute(recording: *mut Recording, program: u64) {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    if EXECUTING.insert(task, program, 0).is_err() {
        count(recording, offset_of!(Tally, unread));
    }
}

/// Who the current task was before its exec.
#[inline(always)]
pub fn was_executing() -> Option<u64> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: only the task itself writes its entry.
    let program = unsafe { EXECUTING.get(task) }.copied();
    let _absent_is_fine = EXECUTING.remove(task);
    program
}
