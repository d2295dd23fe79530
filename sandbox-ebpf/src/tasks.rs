//! Other tasks: what a fenced task does to one outside its fence is denied.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::event::operation;

use crate::{
    identity::{self, Fork},
    verdict::{self, ALLOW},
};

/// `-EPERM`.
const NOT_PERMITTED: i32 = -1;
/// `-ENOMEM`.
const NO_MEMORY: i32 = -12;

/// `task_alloc(task, clone_flags)`: the child gets its parent's label, or does not come to be.
#[inline(always)]
pub fn fork(context: &LsmContext) -> i32 {
    match identity::inherit(context.arg::<u64>(0), context.arg::<u64>(1)) {
        Fork::Outside | Fork::Labelled => ALLOW,
        Fork::IntoCgroup(label) => {
            verdict::deny_without_path(label, operation::FORK);
            NOT_PERMITTED
        }
        Fork::Full(label) => {
            verdict::deny_without_path(label, operation::FORK);
            NO_MEMORY
        }
    }
}

/// `task_free(task)`.
#[inline(always)]
pub fn gone(context: &LsmContext) {
    identity::forget(context.arg::<u64>(0));
}

/// `ptrace_access_check(child, mode)` and `ptrace_traceme(parent)`: only inside the fence. The same check guards
/// `/proc/PID/mem` and its like, `process_vm_readv`, `pidfd_getfd` and `kcmp`.
#[inline(always)]
pub fn trace(context: &LsmContext) -> i32 {
    within(context.arg::<u64>(0), operation::PTRACE)
}

/// `task_kill(target, info, signal, credentials)`.
#[inline(always)]
pub fn signal(context: &LsmContext) -> i32 {
    within(context.arg::<u64>(0), operation::SIGNAL)
}

#[inline(always)]
fn within(target: u64, operation: u16) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    if identity::of(target).is_some_and(|other| other.fence == label.fence) {
        return ALLOW;
    }
    verdict::deny_without_path(label, operation);
    NOT_PERMITTED
}
