//! Which fence a task is in: inherited at fork, given at exec, never taken away.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_task,
        generated::bpf_get_current_ancestor_cgroup_id,
    },
};
use ringfence_abi::{
    limits::CGROUP_LEVELS,
    policy::{Counters, Label},
};

use crate::{
    atomic,
    maps::{CGROUPS, COUNTERS, TASKS},
    outcome::Outcome,
    walk::bounded,
};

/// `clone3` with a target cgroup (include/uapi/linux/sched.h). It takes a descriptor opened with `O_PATH`, so that no
/// other hook sees the cgroup being named.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// The label of the current task, if it is fenced.
#[inline(always)]
pub fn current() -> Option<Label> {
    // SAFETY: the helper has no precondition.
    of(unsafe { bpf_get_current_task() })
}

/// The label of the task at this address, if it is fenced.
#[inline(always)]
pub fn of(task: u64) -> Option<Label> {
    // SAFETY: the entry of a task is written before the task runs and removed after its last reference is gone.
    unsafe { TASKS.get(task) }.copied().filter(|label| label.fence != 0)
}

/// What a fork did.
pub enum Fork {
    /// The parent is in no fence.
    Outside,
    /// The child carries its parent's label.
    Labelled,
    /// The parent tried to put the child into another cgroup.
    IntoCgroup(Label),
    /// There is no room for another fenced task.
    Full(Label),
}

/// Gives a new task its parent's label. A task that cannot be labelled must not come to be.
#[inline(always)]
pub fn inherit(child: u64, flags: u64) -> Fork {
    let Some(label) = current() else {
        // A stale entry, had one been left behind, must not fence a task that merely got the same address.
        remove(child);
        return Fork::Outside;
    };
    if flags & CLONE_INTO_CGROUP != 0 {
        return Fork::IntoCgroup(label);
    }
    if TASKS.insert(child, label, u64::from(BPF_ANY)).is_err() {
        return Fork::Full(label);
    }
    count(label.fence, offset_of!(Counters, tasks), 1);
    Fork::Labelled
}

/// Forgets a task that is gone (`security_task_free` runs before the memory can be used again, kernel/fork.c).
#[inline(always)]
pub fn forget(task: u64) {
    if let Some(label) = of(task) {
        remove(task);
        count(label.fence, offset_of!(Counters, tasks), u64::MAX);
    }
}

/// Removes a task's entry. A removal can fail where the bucket is busy on the same processor (kernel/bpf/hashtab.c,
/// `htab_lock_bucket`), a write in place cannot: what is left then is the entry of no fence.
#[inline(always)]
fn remove(task: u64) {
    let Some(entry) = TASKS.get_ptr_mut(task) else {
        return;
    };
    // SAFETY: a map value lives as long as the program runs.
    unsafe { core::ptr::write_volatile(&raw mut (*entry).fence, 0) };
    let _in_place_already = TASKS.remove(task);
}

/// Labels the current task if it stands in a fenced cgroup; `Err` if it does and cannot be labelled.
#[inline(always)]
pub fn enrol() -> Result<Option<Label>, ()> {
    if let Some(label) = current() {
        return Ok(Some(label));
    }
    let Some(label) = cgroups_label() else {
        return Ok(None);
    };
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    TASKS
        .insert(task, label, u64::from(BPF_ANY))
        .map_err(|_| ())?;
    count(label.fence, offset_of!(Counters, tasks), 1);
    Ok(Some(label))
}

/// The label of the fenced cgroup that the current task stands in or below: a container's runtime can put a process into
/// a cgroup below the container's.
#[inline(always)]
fn cgroups_label() -> Option<Label> {
    // SAFETY: the helper has no precondition.
    let own = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: entries are written whole before tasks can enter the cgroup.
    if let Some(label) = unsafe { CGROUPS.get(own) }.copied() {
        return Some(label);
    }
    let mut level = 1;
    while level <= CGROUP_LEVELS {
        // SAFETY: the helper has no precondition; it answers 0 where the task stands less deep.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        if cgroup == 0 {
            return None;
        }
        // SAFETY: as above.
        if let Some(label) = unsafe { CGROUPS.get(cgroup) }.copied() {
            return Some(label);
        }
        level += 1;
    }
    None
}

/// Notes which of the fence's policies the current task gets if its exec succeeds.
#[inline(always)]
pub fn prepare(program: u8, size_class: u8) -> Result<(), Outcome> {
    let entry = own_entry().ok_or(Outcome::INTERNAL)?;
    // SAFETY: a map value lives as long as the program runs, and only the task itself writes these fields.
    unsafe {
        core::ptr::write_volatile(&raw mut (*entry).next_program, program);
        core::ptr::write_volatile(&raw mut (*entry).next_size_class, size_class);
    }
    Ok(())
}

/// The exec has succeeded: gives the current task the policy that [`prepare`] has noted.
#[inline(always)]
pub fn commit() {
    if let Some(entry) = own_entry() {
        // SAFETY: as in `prepare`; the other threads of the process are gone by now (fs/exec.c, `de_thread`).
        unsafe {
            let program = core::ptr::read_volatile(&raw const (*entry).next_program);
            let size_class = core::ptr::read_volatile(&raw const (*entry).next_size_class);
            core::ptr::write_volatile(&raw mut (*entry).program, program);
            core::ptr::write_volatile(&raw mut (*entry).size_class, size_class);
        }
    }
}

#[inline(always)]
fn own_entry() -> Option<*mut Label> {
    // SAFETY: the helper has no precondition.
    TASKS.get_ptr_mut(unsafe { bpf_get_current_task() })
}

/// Adds to the counter at `offset` of a fence's [`Counters`]. A fence without counters is being taken down: there is nobody to tell.
#[inline(always)]
pub fn count(fence: u32, offset: usize, amount: u64) {
    add_to_counter(fence, offset as u64, amount);
}

/// VERIFIER: a global function, as `matching::match_path`, since each way to a denial counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_to_counter(fence: u32, offset: u64, amount: u64) -> u32 {
    const SIZE: u64 = size_of::<u64>() as u64;
    const LAST: u64 = size_of::<Counters>() as u64 - SIZE;
    let offset = bounded!(offset, LAST.next_power_of_two() - SIZE);
    if let Some(counters) = COUNTERS.get_ptr_mut(fence)
        && offset <= LAST
    {
        // SAFETY: a map value lives as long as the program runs, and the counter lies in it.
        unsafe { atomic::add(counters.cast::<u8>().add(offset as usize).cast::<u64>(), amount) };
    }
    0
}
