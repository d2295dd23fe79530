//! The kernel half of ringfence: BPF LSM programs that judge what fenced tasks do.
//!
//! This file only attaches: one line a hook. Each hook finds the fence of the task, asks, and answers; a task in no fence
//! is let through at its first look-up. None of the programs may sleep.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod exec;
mod files;
mod identity;
mod kernel;
mod maps;
mod matching;
mod metadata;
mod names;
mod outcome;
mod report;
mod scratch;
mod sockets;
mod special;
mod tasks;
mod verdict;
mod walk;
mod watch;

use aya_ebpf::{
    macros::{lsm, raw_tracepoint},
    programs::{LsmContext, RawTracePointContext},
};
use ringfence_abi::event::operation;

/// One program on one LSM hook.
macro_rules! hooks {
    ($($hook:ident => |$context:ident| $answer:expr;)*) => {
        $(
            #[doc = concat!("On the hook `", stringify!($hook), "`.")]
            #[lsm]
            pub fn $hook($context: LsmContext) -> i32 {
                $answer
            }
        )*
    };
}

hooks! {
    task_alloc => |context| tasks::fork(&context);
    ptrace_access_check => |context| tasks::trace(&context);
    ptrace_traceme => |context| tasks::trace(&context);
    task_kill => |context| tasks::signal(&context);

    bprm_creds_for_exec => |context| exec::enrol(&context);
    bprm_check_security => |context| exec::check(&context);
    mmap_file => |context| exec::map(&context);
    file_mprotect => |context| exec::protect(&context);

    file_open => |context| files::open(&context);
    file_receive => |context| files::receive(&context);
    file_ioctl => |context| files::control(&context);
    file_ioctl_compat => |context| files::control(&context);

    path_mknod => |context| names::create(&context);
    path_mkdir => |context| names::entry(&context, operation::MKDIR);
    path_symlink => |context| names::entry(&context, operation::SYMLINK);
    path_unlink => |context| names::entry(&context, operation::UNLINK);
    path_rmdir => |context| names::entry(&context, operation::RMDIR);
    path_link => |context| names::link(&context);
    path_rename => |context| names::rename(&context);

    path_truncate => |context| metadata::by_path(&context, operation::TRUNCATE);
    path_chmod => |context| metadata::by_path(&context, operation::CHMOD);
    path_chown => |context| metadata::by_path(&context, operation::CHOWN);
    inode_setxattr => |context| metadata::change(context.arg(1), operation::SET_XATTR);
    inode_removexattr => |context| metadata::change(context.arg(1), operation::REMOVE_XATTR);
    inode_set_acl => |context| metadata::change(context.arg(1), operation::SET_XATTR);
    inode_remove_acl => |context| metadata::change(context.arg(1), operation::REMOVE_XATTR);
    inode_readlink => |context| metadata::read_link(context.arg(0));

    unix_stream_connect => |context| sockets::connect(context.arg(1));
    unix_may_send => |context| sockets::send(context.arg(1));
}

/// `inode_setattr`: the dentry is the first argument before 6.12 and the second since; the loader says which.
#[lsm]
pub fn inode_setattr(context: LsmContext) -> i32 {
    if kernel::setattr_has_mapping() {
        metadata::set_times(context.arg(1), context.arg(2))
    } else {
        metadata::set_times(context.arg(0), context.arg(1))
    }
}

/// `task_free` returns nothing.
#[lsm]
pub fn task_free(context: LsmContext) -> i32 {
    tasks::gone(&context);
    0
}

/// Not a hook: sees the system calls that fail behind the fallback engine. It changes nothing.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn watch_failures(context: RawTracePointContext) -> i32 {
    watch::failure(&context);
    0
}

/// The kernel takes programs with helpers that read its memory only under a licence compatible with its own.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No path leads here: a program with a reachable panic would not pass the verifier.
    loop {}
}
