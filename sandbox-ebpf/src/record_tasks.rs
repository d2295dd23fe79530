//! Tasks that are recorded one by one, because they share their cgroup with others: what they start is, too.
//!
//! User space names the threads that are there when a recording begins. They are known by their number, which changes hands in
//! one case only: where a thread that does not lead its process executes (fs/exec.c, `de_thread`).

use core::mem::offset_of;

use aya_ebpf::programs::RawTracePointContext;
use ringfence_abi::record::Tally;

use crate::{
    kernel::{offset, read},
    maps::{RECORDED_TASKS, RECORDINGS},
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

/// `sched_process_exec(task, old_pid, bprm)`: the thread has taken the number of its process.
#[inline(always)]
pub fn renumbered(context: &RawTracePointContext) {
    let (before, now) = (context_argument(context, 1) as u32, record::thread());
    if before == now {
        return;
    }
    let Some(number) = record::number_of_thread(before) else {
        return;
    };
    let _absent_is_fine = RECORDED_TASKS.remove(before);
    if RECORDED_TASKS.insert(now, number, 0).is_err()
        && let Some(recording) = RECORDINGS.get_ptr_mut(number)
    {
        record::count(recording, offset_of!(Tally, unfollowed));
    }
}
