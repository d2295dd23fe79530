//! Capabilities: those that the profile does not list are not there, whoever gave them.
//!
//! The launcher drops them as well. This is the wall behind it: for tasks that get theirs by a set-user-id program, by a
//! user namespace, or from the container runtime that started them. It is the only hook that many calls have: setns,
//! unshare, open_tree, reboot, swapon, acct.

use aya_ebpf::{helpers::bpf_get_current_task, programs::LsmContext};
use ringfence_abi::{
    event::operation,
    policy::Label,
    surface::{Surfaces, USERNS},
};

use crate::{
    identity,
    kernel::{offset, read},
    outcome::Outcome,
    surface::{self, NOT_PERMITTED},
    table,
    verdict::ALLOW,
};

/// `CAP_OPT_NOAUDIT` (include/linux/security.h): the kernel only wonders.
const WONDERS: u32 = 1 << 1;

/// `capable(cred, ns, cap, opts)`. The module that looks whether the credentials hold the capability comes first
/// (`LSM_ORDER_FIRST`, security/commoncap.c), and none is asked after the first that denies: what gets here is held.
#[inline(always)]
pub fn use_of(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let capability = context.arg::<u32>(2);
    match may(label, context.arg::<u64>(0), context.arg::<u64>(1), capability) {
        Ok(true) => ALLOW,
        Ok(false) | Err(_) if context.arg::<u32>(3) & WONDERS != 0 => NOT_PERMITTED,
        Ok(false) | Err(_) => {
            surface::refuse(label, Surfaces::NONE, operation::CAPABILITY, capability)
        }
    }
}

/// Whether the capability may be used.
#[inline(always)]
fn may(label: Label, credentials: u64, namespace: u64, capability: u32) -> Result<bool, Outcome> {
    if capability < u64::BITS && table::capabilities(label) >> capability & 1 != 0 {
        return Ok(true);
    }
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    // Others than the task's own: the kernel asks about another task, or a stacked filesystem works with its mounter's
    // credentials after the task's act on it has been judged. io_uring personalities are closed for good.
    if credentials != read::<u64>(task + offset!(task_real_credentials))? {
        return Ok(true);
    }
    // What a task may do in a user namespace of its own making is what opening that surface means.
    let level = read::<u32>(namespace + offset!(namespace_level))?;
    Ok(level != 0 && surface::open(label, USERNS))
}
