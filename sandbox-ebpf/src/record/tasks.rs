//! Tasks that are recorded one by one, because they share their cgroup with others: what they start is, too.
//!
//! User space names the threads that are there when a recording begins. They are known by their number, which changes hands in
//! one case only: where a thread that does not lead its process executes (fs/exec.c, `de_thread`).
//!
//! Of a container, its runtime prepares each process, the first and those that are added, in the container's cgroup: what a task does there
//! before its first exec is not the container's. So a task is taken in by its exec, and let go of if that fails.

use core::mem::offset_of;

use aya_ebpf::{
    helpers::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id},
    programs::RawTracePointContext,
};
use ringfence_abi::{
    limits::CGROUP_LEVELS,
    record::{AT_EXEC, Recording, Tally},
};

use crate::{
    kernel::{offset, read},
    maps::{RECORDED, RECORDED_TASKS, RECORDINGS},
    record,
    watch::context_argument,
};

/// `sched_process_fork(parent, child)`, before the child runs (kernel/fork.c, `kernel_clone`).
#[inline(always)]
pub fn forked(context: &RawTracePointContext) {
    let Some(number) = record::number_of_thread(record::thread()) else {
        return;
    };
    let Some(recording) = RECORDINGS.get_ptr_mut(number) else {
        return;
    };
    let child = read::<u32>(context_argument(context, 1) + offset!(task_thread));
    if child.is_err() || child.is_ok_and(|child| RECORDED_TASKS.insert(child, number, 0).is_err()) {
        record::count(recording, offset_of!(Tally, unfollowed));
    }
}

/// `sched_process_exit(task)`: the number may be another's soon.
#[inline(always)]
pub fn exited() {
    let _absent_is_fine = RECORDED_TASKS.remove(record::thread());
}

/// An exec begins, of a task that is not recorded. The recording, if it stands in a cgroup whose tasks are taken in so.
#[inline(always)]
pub fn take_in() -> Option<*mut Recording> {
    if !record::takes_in() {
        return None;
    }
    let number = of_cgroup()?;
    let recording = RECORDINGS.get_ptr_mut(number)?;
    if RECORDED_TASKS.insert(record::thread(), number | AT_EXEC, 0).is_err() {
        record::count(recording, offset_of!(Tally, unfollowed));
        return None;
    }
    Some(recording)
}

/// The recording of the cgroup that the current task stands in or below: a container's runtime can put a process into a cgroup below the
/// container's.
#[inline(always)]
fn of_cgroup() -> Option<u32> {
    // SAFETY: the helper has no precondition.
    if let Some(number) = taking_in(unsafe { bpf_get_current_cgroup_id() }) {
        return Some(number);
    }
    let mut level = 1;
    while level <= CGROUP_LEVELS {
        // SAFETY: the helper has no precondition; it answers 0 where the task stands less deep.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        if cgroup == 0 {
            return None;
        }
        if let Some(number) = taking_in(cgroup) {
            return Some(number);
        }
        level += 1;
    }
    None
}

#[inline(always)]
fn taking_in(cgroup: u64) -> Option<u32> {
    // SAFETY: an entry is written once, by user space.
    let number = unsafe { RECORDED.get(cgroup) }.copied()?;
    (number & AT_EXEC != 0).then_some(number & !AT_EXEC)
}

/// A system call has failed: if it was the exec that has taken the current task in, that is undone.
#[inline(always)]
pub fn failed() {
    // SAFETY: only the task itself changes its entry.
    let number = unsafe { RECORDED_TASKS.get(record::thread()) };
    if number.is_some_and(|number| number & AT_EXEC != 0) {
        let _in_place = RECORDED_TASKS.remove(record::thread());
    }
}

/// `sched_process_exec(task, old_pid, bprm)`: the exec has succeeded, and the thread has taken the number of its process.
#[inline(always)]
pub fn executed(context: &RawTracePointContext) {
    let (before, now) = (context_argument(context, 1) as u32, record::thread());
    // SAFETY: only the task itself changes its entry.
    let Some(entry) = unsafe { RECORDED_TASKS.get(before) }.copied() else {
        return;
    };
    let number = entry & !AT_EXEC;
    if before == now && number == entry {
        return;
    }
    if before != now {
        let _absent_is_fine = RECORDED_TASKS.remove(before);
    }
    if RECORDED_TASKS.insert(now, number, 0).is_err()
        && let Some(recording) = RECORDINGS.get_ptr_mut(number)
    {
        record::count(recording, offset_of!(Tally, unfollowed));
    }
}
