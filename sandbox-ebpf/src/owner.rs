//! Who gets the signals of a file: `SIGIO`, or what `F_SETSIG` puts in its place, without passing `task_kill`.
//!
//! The signal is delivered in whatever context the file becomes ready in, where the current task says nothing about who
//! wanted it, and a task outside may well want signals about its own end of a pipe. So nothing is judged there
//! (`file_send_sigiotask`): a fenced task can only name its own process, and can only turn signals on where nobody else
//! is named.

use aya_ebpf::{helpers::bpf_get_current_task, programs::LsmContext};
use ringfence_abi::{event::operation, layout::ABSENT, surface::SIGNALS};

use crate::{
    files, identity,
    kernel::{offset, read},
    outcome::Outcome,
    surface,
    verdict::ALLOW,
};

// include/uapi/asm-generic/fcntl.h, include/uapi/linux/fcntl.h
const SET_FLAGS: u32 = 4;
const SET_OWNER: u32 = 8;
const SET_SIGNAL: u32 = 10;
const SET_OWNER_BY_POINTER: u32 = 15;
const SET_LEASE: u32 = 1024;
const NOTIFY: u32 = 1026;
/// `O_ASYNC`.
const ASYNCHRONOUS: u64 = 0o20000;

// Requests of ioctl (include/uapi/asm-generic/sockios.h and ioctls.h).
const FIOASYNC: u32 = 0x5452;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;

/// Bytes of a `struct upid` (include/linux/pid.h).
const NUMBER_BYTES: u64 = 16;

/// `file_fcntl(file, cmd, arg)`.
#[inline(always)]
pub fn by_fcntl(context: &LsmContext) -> i32 {
    let command = context.arg::<u32>(1);
    let argument = context.arg::<u64>(2);
    if !matches!(
        command,
        SET_FLAGS | SET_OWNER | SET_SIGNAL | SET_OWNER_BY_POINTER | SET_LEASE | NOTIFY
    ) || command == SET_FLAGS && argument & ASYNCHRONOUS == 0
    {
        return ALLOW;
    }
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let file = context.arg::<u64>(0);
    let fine = match command {
        // The kernel takes the argument for an integer (fs/fcntl.c, `f_setown`); a negative one is a process group,
        // which may have members outside.
        SET_OWNER => argument as u32 == 0 || Ok(argument as u32) == own_number(),
        // What a pointer leads to can change between here and the kernel's own look.
        SET_OWNER_BY_POINTER => false,
        _ => is_nobody_elses(file, command != SET_FLAGS) == Ok(true),
    };
    if fine || surface::open(label, SIGNALS) {
        return ALLOW;
    }
    surface::refuse(label, SIGNALS, operation::SIGNAL_OWNER, command)
}

/// Whether a request of `ioctl` sets an owner or turns signals on; then, whether it must not.
#[inline(always)]
pub fn is_closed_control(file: u64, command: u32) -> bool {
    match command {
        FIOSETOWN | SIOCSPGRP => true,
        FIOASYNC => is_nobody_elses(file, false) != Ok(true),
        _ => false,
    }
}

/// Whether the signals of a file would go to the current process, or to nobody.
///
/// Terminals name their foreground process group where nobody is named when signals are turned on (drivers/tty/tty_io.c,
/// `__tty_fasync`); what sets a signal's number, a lease or a watch does not.
#[inline(always)]
fn is_nobody_elses(file: u64, unowned_is_fine: bool) -> Result<bool, Outcome> {
    let owner = owner(file)?;
    if owner == 0 {
        return Ok(unowned_is_fine || !files::is_device(file)?);
    }
    Ok(owner == own_process()?)
}

/// The `struct pid` that a file's signals go to; 0 if there is none.
#[inline(always)]
fn owner(file: u64) -> Result<u64, Outcome> {
    let mut owner = file + offset!(file_owner);
    // Part of the file before 6.12, a pointer to what knows its file since (include/linux/fs.h).
    if offset!(owner_file) != u64::from(ABSENT) {
        owner = read::<u64>(owner)?;
        if owner == 0 {
            return Ok(0);
        }
    }
    read::<u64>(owner + offset!(owner_pid))
}

/// The current process's `struct pid`.
#[inline(always)]
fn own_process() -> Result<u64, Outcome> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let leader = read::<u64>(task + offset!(task_leader))?;
    read::<u64>(leader + offset!(task_pid))
}

/// The current process's number as the process itself sees it.
#[inline(always)]
fn own_number() -> Result<u32, Outcome> {
    let pid = own_process()?;
    let level = read::<u32>(pid + offset!(pid_level))?;
    // `nr` is the first member of a `struct upid`.
    read::<u32>(pid + offset!(pid_numbers) + u64::from(level) * NUMBER_BYTES)
}
