//! Where names begin below a mount that stands on another: the state that the path of its root leads to.
//!
//! A walk finds it out, the table in force keeps it, and it holds as long as nothing has moved. What could move it is counted by the
//! kernel: a name of a directory changes under `rename_lock` (fs/dcache.c, `__d_move`), and a mount comes, goes or changes its place
//! under `mount_lock` (fs/namespace.c, `lock_mount_hash`), sequence locks both, whose numbers are odd while somebody writes. Neither
//! can a mount's address be another's before `mount_lock` has been taken, nor can that of a namespace, which takes its mounts with it.
//!
//! The numbers have 32 bits. Nobody renames 2^31 times before what is kept is too old.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_jiffies64;
use ringfence_abi::{
    automaton::DEAD,
    policy::{Label, MOUNT_STATES, MountState, Table},
};

use crate::{
    atomic,
    kernel::{offset, read},
    matching,
    scratch::{PATH_END, Path},
    table::{self, by_size},
    walk::{self, bounded},
};

/// Where the kernel has the numbers of `rename_lock` and `mount_lock`. Set by the loader.
#[unsafe(no_mangle)]
pub static MOVES: [u64; 2] = [UNKNOWN; 2];
/// No address.
const UNKNOWN: u64 = 1;
/// What is older, in ticks, is not believed: a minute where there are 250 a second.
const TICKS: u64 = 1 << 14;
/// Bytes of all but the last of the places.
const LAST: u64 = ((MOUNT_STATES - 1) * size_of::<MountState>()) as u64;

const _: () = assert!(MOUNT_STATES.is_power_of_two() && size_of::<MountState>() == 64);

/// How often names and mounts have moved by now; 0 while something moves, or where that cannot be told.
#[inline(always)]
pub fn moves() -> u64 {
    // SAFETY: a static of this object.
    let [renames, mounts] = unsafe { core::ptr::read_volatile(&raw const MOVES) };
    if renames == UNKNOWN {
        return 0;
    }
    match (read::<u32>(renames), read::<u32>(mounts)) {
        // Both are even, so that nothing is lost by the bit that tells this from nothing.
        (Ok(renames), Ok(mounts)) if (renames | mounts) & 1 == 0 => {
            u64::from(renames) << 32 | u64::from(mounts) | 1
        }
        _ => 0,
    }
}

/// Finds out and keeps what the path of a mount (a `struct mount`) leads to, if it is one of the task's namespace and has a name.
#[inline(always)]
pub fn note(path: *mut Path, label: Label, mount: u64) {
    // SAFETY: `path` is a map value. From memory the address is a number, whatever the verifier knows of it.
    unsafe { core::ptr::write_volatile(&raw mut (*path).mount, mount) };
    note_mount(path, label.table(), u32::from(label.size_class));
}

/// VERIFIER: a global function, as `matching::match_path`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_mount(path: *mut Path, table: u32, size_class: u32) -> u32 {
    if path.is_null() {
        return 0;
    }
    let before = moves();
    // A compare-and-swap, so that no processor looks at names before it has looked at the numbers.
    // SAFETY: `path` is a path, by the verifier's own account.
    let mount = unsafe { atomic::compare_exchange(&raw mut (*path).mount, 0, 0) };
    let Ok(namespace) = walk::current_namespace() else {
        return 0;
    };
    // Most that come here without need: memory files, pipes, layers.
    if before == 0 || read::<u64>(mount + offset!(mount_namespace)) != Ok(namespace) {
        return 0;
    }
    // What lies deep below a mount comes here each time.
    if has_mount(table, size_class, mount, namespace, before) {
        return 0;
    }
    let Ok(root) = read::<u64>(mount + offset!(mount_vfsmount) + offset!(vfsmount_root)) else {
        return 0;
    };
    if walk::absolute(path, root, mount).is_err() {
        return 0;
    }
    // SAFETY: `path` is a path, by the verifier's own account.
    let start = unsafe { core::ptr::read_volatile(&raw const (*path).start) };
    // What stands on the root of all has a slash for its path, and the names below begin with one.
    if start as usize >= PATH_END - 1 {
        return 0;
    }
    keep_mount(path, table, size_class, mount, namespace, before);
    0
}

/// Whether the table in force has kept what the path of a mount leads to.
#[inline(always)]
fn has_mount(table: u32, size_class: u32, mount: u64, namespace: u64, moves: u64) -> bool {
    let Some(header) = table::header(table, size_class) else {
        return false;
    };
    // SAFETY: the header is a map value.
    let kept = unsafe { state((&raw mut (*header).mounts).cast(), mount, namespace, moves) };
    kept != DEAD
}

/// Keeps in the table in force what the path of a mount leads to, which [`crate::walk`] has built.
#[inline(always)]
fn keep_mount(path: *mut Path, table: u32, size_class: u32, mount: u64, namespace: u64, before: u64) {
    by_size!(table, size_class, keep_in(path, mount, namespace, before));
}

#[inline(always)]
fn keep_in<const WORDS: usize>(
    path: *mut Path,
    mount: u64,
    namespace: u64,
    before: u64,
    table: Option<*mut Table<WORDS>>,
) {
    let Some(table) = table else {
        return;
    };
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        if let Ok(state) = matching::from_the_start(path, table)
            && moves() == before
        {
            keep((&raw mut (*table).header.mounts).cast(), mount, namespace, before, state);
        }
    }
}

/// The state that is kept of a mount; [`DEAD`] if none is, or it may not hold any more.
///
/// # Safety
/// `all` are the places of a table.
#[inline(always)]
pub unsafe fn state(all: *mut MountState, mount: u64, namespace: u64, moves: u64) -> u32 {
    // SAFETY: by contract.
    unsafe {
        let place = place(all, mount);
        // As often as it was: a compare-and-swap, which nothing passes in either direction.
        let version = atomic::compare_exchange(&raw mut (*place).version, 0, 0);
        let is_that = core::ptr::read_volatile(&raw const (*place).mount) == mount
            && core::ptr::read_volatile(&raw const (*place).namespace) == namespace
            && core::ptr::read_volatile(&raw const (*place).moves) == moves;
        let age = bpf_jiffies64().wrapping_sub(core::ptr::read_volatile(&raw const (*place).since));
        let state = core::ptr::read_volatile(&raw const (*place).state) as u32;
        let is_whole = version & 1 == 0
            && atomic::compare_exchange(&raw mut (*place).version, 0, 0) == version;
        if is_that && age < TICKS && is_whole { state } else { DEAD }
    }
}

/// Keeps it, unless somebody else writes at the same place.
///
/// # Safety
/// `all` are the places of a table.
#[inline(always)]
pub unsafe fn keep(all: *mut MountState, mount: u64, namespace: u64, moves: u64, state: u32) {
    // SAFETY: by contract.
    unsafe {
        let place = place(all, mount);
        let version = &raw mut (*place).version;
        let before = core::ptr::read_volatile(version);
        if before & 1 != 0 || atomic::compare_exchange(version, before, before + 1) != before {
            return;
        }
        core::ptr::write_volatile(&raw mut (*place).mount, mount);
        core::ptr::write_volatile(&raw mut (*place).namespace, namespace);
        core::ptr::write_volatile(&raw mut (*place).moves, moves);
        core::ptr::write_volatile(&raw mut (*place).since, bpf_jiffies64());
        core::ptr::write_volatile(&raw mut (*place).state, u64::from(state));
        atomic::store(version, before + 2);
    }
}

/// The lower half of an address.
///
/// VERIFIER: "math between ptr_ pointer and ... is not allowed". Half of a pointer is a number, if it is moved before anything is done to
/// it.
#[inline(always)]
fn low_half(address: u64) -> u32 {
    let half: u32;
    // SAFETY: two registers, no memory.
    unsafe {
        asm!(
            "{half} = {whole}",
            half = out(wreg) half,
            whole = in(wreg) address as u32,
            options(pure, nomem, nostack),
        );
    }
    half
}

/// The place of a mount.
///
/// # Safety
/// `all` are the places of a table.
#[inline(always)]
unsafe fn place(all: *mut MountState, mount: u64) -> *mut MountState {
    // Fibonacci hashing: the highest bits of the product.
    let hash = low_half(mount).wrapping_mul(0x9e37_79b1);
    let offset = bounded!(u64::from(hash >> (32 - (LAST + 64).trailing_zeros())), LAST);
    // SAFETY: a multiple of a place's size, up to the last one's.
    unsafe { all.cast::<u8>().add(offset as usize).cast() }
}
