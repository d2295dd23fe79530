//! Other tasks: what a fenced task does to one outside its fence is denied.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    event::operation,
    surface::{PTRACE, SCHEDULER, SIGNALS, Surfaces},
};

use crate::{
    identity::{self, Fork},
    surface,
    verdict::ALLOW,
};

/// `-ENOMEM`.
const NO_MEMORY: i32 = -12;

/// `task_alloc(task, clone_flags)`: the child gets its parent's label, or does not come to be.
#[inline(always)]
pub fn fork(context: &LsmContext) -> i32 {
    match identity::inherit(context.arg::<u64>(0), context.arg::<u64>(1)) {
        Fork::Outside | Fork::Labelled => ALLOW,
        Fork::IntoCgroup(label) => surface::refuse(label, Surfaces::NONE, operation::FORK, 0),
        Fork::Full(label) => {
            surface::refuse(label, Surfaces::NONE, operation::FORK, 0);
            NO_MEMORY
        }
    }
}

/// `task_free(task)`.
#[inline(always)]
pub fn gone(context: &LsmContext) {
    identity::forget(context.arg::<u64>(0));
}

/// `ptrace_access_check(child, mode)` and `ptrace_traceme(parent)`: only inside the fence, and only among tasks with the
/// same policy, for who traces a task uses its rights. The same check guards `/proc/PID/mem` and its like,
/// `process_vm_readv`, `pidfd_getfd` and `kcmp`.
#[inline(always)]
pub fn trace(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let other = identity::of(context.arg::<u64>(0));
    if other.is_some_and(|other| other.table() == label.table()) || surface::open(label, PTRACE) {
        return ALLOW;
    }
    surface::refuse(label, PTRACE, operation::PTRACE, 0)
}

/// `task_kill(target, info, signal, credentials)`.
#[inline(always)]
pub fn signal(context: &LsmContext) -> i32 {
    within(context.arg::<u64>(0), SIGNALS, operation::SIGNAL, context.arg::<u32>(2))
}

/// `task_setnice` and its like, whose first argument is the task.
#[inline(always)]
pub fn schedule(context: &LsmContext) -> i32 {
    within(context.arg::<u64>(0), SCHEDULER, operation::SCHEDULE, 0)
}

#[inline(always)]
fn within(target: u64, surface: Surfaces, operation: u16, detail: u32) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    if identity::of(target).is_some_and(|other| other.fence == label.fence)
        || surface::open(label, surface)
    {
        return ALLOW;
    }
    surface::refuse(label, surface, operation, detail)
}
