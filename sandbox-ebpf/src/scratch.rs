//! Working memory: a pool of slots taken by compare-and-swap.
//!
//! Not a per-CPU map: LSM programs run preemptible (only migration is off), and another task on the same processor
//! would write into the path that is being matched.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use ringfence_abi::{event, limits, record};

use crate::{atomic, greeting::Reading, maps::SCRATCH, outcome::Outcome, siphash, walk::bounded};

/// Slots of the pool, a power of two.
pub const SLOTS: u32 = 128;
/// Slots that a processor tries, from its own first one on. All taken is an error of the fence: denied and counted.
const TRIES: u64 = 16;
/// Where a path ends in its buffer: it is built from the end, root last.
pub const PATH_END: usize = 4096;
/// As far as the verifier can tell, a path may start at any offset below [`PATH_END`] and be that long again, and a short name of 32
/// bytes be put behind it.
const PATH_BUFFER: usize = 2 * PATH_END + 32;

const _: () = assert!(PATH_END == limits::PATH_BYTES + 1);
const _: () = assert!(PATH_BUFFER <= u16::MAX as usize);
const _: () = assert!(SLOTS.is_power_of_two());

/// A path that is being built and matched. All of it lies in memory, not in registers, so that the verifier does not
/// follow each value of each field through the loops.
#[repr(C)]
pub struct Path {
    /// Where the walk stands: a `struct dentry`.
    pub dentry: u64,
    /// Its `struct mount`.
    pub mount: u64,
    /// The root dentry of that mount.
    pub mount_root: u64,
    /// Index of the first byte of the path in `bytes`.
    pub start: u32,
    /// How the walk ended: [`crate::walk`].
    pub outcome: u32,
    /// Index of the byte that is matched next.
    pub position: u32,
    /// State of the automaton after the bytes before `position`.
    pub state: u32,
    /// The hash of it, where one is asked for.
    pub hash: siphash::State,
    /// The path ends at [`PATH_END`].
    pub bytes: [u8; PATH_BUFFER],
}

/// Words of a program's path that are kept.
pub const KEPT_WORDS: usize = 16;

/// The program that was told last by way of a slot. Processors take slots in turn, and programs do many things one after the other.
#[repr(C)]
pub struct LastProgram {
    /// The token of the recording that it was told to; 0 if none was.
    pub token: u64,
    /// The hash of its path.
    pub hash: u64,
    /// Where its path began, as [`Path::start`].
    pub start: u64,
    /// The end of its path, as the last words before [`PATH_END`].
    pub words: [u64; KEPT_WORDS],
}

/// One slot.
#[repr(C)]
pub struct Slot {
    busy: u64,
    /// The path, or the old name of a rename or link.
    pub path: Path,
    /// The new name of a rename or link.
    pub other: Path,
    /// The TLS greeting that is read.
    pub reading: Reading,
    /// The event that is put together on a denial.
    pub header: event::Header,
    /// The record that is put together.
    pub act: record::Act,
    /// The recording that it belongs to, by its number.
    pub recording: u64,
    /// And by its token.
    pub token: u64,
    /// Who acted before.
    pub last: LastProgram,
}

/// Takes a slot; [`release`] must follow.
#[inline(always)]
pub fn take() -> Result<*mut Slot, Outcome> {
    SCRATCH.get_ptr_mut(take_one()).ok_or(Outcome::INTERNAL)
}

/// Takes a slot; its index, or [`SLOTS`] if none is free.
///
/// VERIFIER: a global function, as `matching::match_path`, with a loop that is not unrolled: for each look-up the kernel writes a program
/// anew (kernel/bpf/verifier.c, `bpf_patch_insn_data`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_one() -> u32 {
    // SAFETY: the helper has no precondition.
    let first = unsafe { bpf_get_smp_processor_id() } * 4;
    let mut attempt = 0;
    while attempt < TRIES {
        // Opaque, or LLVM makes as many look-ups of it as there are turns.
        attempt = bounded!(attempt, TRIES * 2 - 1);
        let index = (first + attempt as u32) & (SLOTS - 1);
        if let Some(slot) = SCRATCH.get_ptr_mut(index) {
            // SAFETY: a map value lives as long as the program runs.
            if unsafe { atomic::compare_exchange(&raw mut (*slot).busy, 0, 1) } == 0 {
                return index;
            }
        }
        attempt += 1;
    }
    SLOTS
}

/// Gives a slot back.
#[inline(always)]
pub fn release(slot: *mut Slot) {
    // SAFETY: `slot` came from `take` in this run of the program.
    unsafe { atomic::store(&raw mut (*slot).busy, 0) };
}
