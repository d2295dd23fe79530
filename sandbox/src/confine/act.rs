//! What runs between fork and exec: the prepared steps, in order, by system calls alone.
//!
//! Nothing here may allocate, lock or print: the process is a copy of one that may have had other threads, whose
//! locks are taken for ever. A step that fails is told to the parent as numbers, and the process ends.

use std::ffi::{CStr, c_int, c_long, c_void};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr;

use super::fallback::allow_below;
use super::seccomp::{Program, Telling};
use super::signals;
use super::step::{Execution, Step, UserMap};

/// A word from the child: `[position, errno, 1 if the launch goes on]`.
pub(super) const REPORT_BYTES: usize = 12;
/// The child waits for one byte; end of file means that nobody wants it any more.
pub(super) const GO: u8 = b'g';

/// `struct __user_cap_header_struct`, version 3 (include/uapi/linux/capability.h).
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// No kernel has more capabilities than a 64-bit mask has bits.
const CAPABILITY_BITS: u32 = 64;

/// Does every step, and never returns. Before the first one that may close the call by which it is heard, it waits for the word to go:
/// until then the parent puts up what judges the command, and nothing of the command runs.
pub(super) fn run(steps: &[Step], go: RawFd, report: RawFd) -> ! {
    let mut waits = true;
    for (position, step) in steps.iter().enumerate() {
        if waits
            && matches!(
                step,
                Step::Seccomp(_) | Step::Notifications { .. } | Step::Exec(_)
            )
        {
            if !wait_for_go(go) {
                end(0);
            }
            waits = false;
        }
        if matches!(step, Step::Exec(_)) {
            // The report pipe closes at exec and at death alike; this tells them apart.
            tell(report, position, 0, true);
        }
        if let Err(errno) = perform(step) {
            let optional = step.is_optional(errno);
            tell(report, position, errno, optional);
            if !optional {
                break;
            }
        }
    }
    end(125)
}

/// Does one step; the error is errno.
pub(super) fn perform(step: &Step) -> Result<(), c_int> {
    match step {
        Step::ProcessGroup { terminal } => process_group(*terminal),
        Step::Signals { ignored } => default_signals(*ignored),
        Step::SessionKeyring => {
            // SAFETY: joins an anonymous keyring: the name is null, no memory is read.
            check(unsafe { libc::syscall(libc::SYS_keyctl, 1, ptr::null::<c_void>()) })
        }
        Step::UserNamespace(map) => user_namespace(map),
        Step::MountNamespace { ipc } => {
            // SAFETY: takes flags only.
            check(unsafe { libc::unshare(libc::CLONE_NEWNS | ipc_flag(*ipc)) }.into())
        }
        Step::Mounts(plan) => plan.enter(),
        Step::Limit {
            resource, value, ..
        } => limit(*resource, *value),
        Step::Bounding { kept } => bounding(*kept),
        Step::User {
            uid,
            gid,
            groups,
            keep_capabilities,
        } => user(*uid, *gid, groups, *keep_capabilities),
        Step::Capabilities {
            kept,
            ambient,
            until_exec,
        } => capabilities(*kept, *ambient, *until_exec),
        Step::NoNewPrivileges => prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0),
        Step::Landlock { ruleset, own, .. } => {
            for (directory, access) in own {
                allow_below(ruleset.as_fd(), directory, *access)?;
            }
            // SAFETY: takes a descriptor that the step owns, and flags.
            check(unsafe {
                libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0)
            })
        }
        Step::CloseDescriptors { ranges, kept } => close_descriptors(ranges, kept),
        Step::Directory(path) => {
            // SAFETY: a C string that the step owns.
            check(unsafe { libc::chdir(path.as_ptr()) }.into())
        }
        Step::Seccomp(program) => filter(program),
        Step::Notifications {
            programs,
            otherwise,
            channel,
        } => notifications(programs, otherwise.as_deref(), *channel),
        Step::Exec(execution) => exec(execution),
    }
}

fn filter(program: &Program) -> Result<(), c_int> {
    let header = program.header();
    // SAFETY: the kernel copies `header.len` instructions from memory that the step owns.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const header,
        )
    })
}

/// Loads a filter that notifies, and hands over what listens to it. A task that a notification has been received of is interrupted
/// by its end alone: what it asked for has been begun. Where nothing is begun for it but an answer, that may be left out (before 5.19).
///
/// Where there is a listener already (`EBUSY`), or the kernel has none (`EINVAL`), `otherwise` is loaded.
fn notifications(
    programs: &Telling,
    otherwise: Option<&[Program]>,
    channel: RawFd,
) -> Result<(), c_int> {
    let plain = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let whole = plain | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mut listener = listen(&programs.notifies, whole);
    if listener == Err(libc::EINVAL) && otherwise.is_some() {
        listener = listen(&programs.notifies, plain);
    }
    let listener = match (listener, otherwise) {
        (Err(libc::EBUSY | libc::EINVAL), Some(otherwise)) => {
            return otherwise.iter().try_for_each(filter);
        }
        (listener, _) => listener?,
    };
    send_descriptor(channel, &[GO], Some(listener))?;
    programs.rest.as_ref().map_or(Ok(()), filter)
}

fn listen(program: &Program, flags: libc::c_ulong) -> Result<RawFd, c_int> {
    let header = program.header();
    // SAFETY: the kernel copies `header.len` instructions from memory that the step owns.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const header,
        )
    };
    check(listener)?;
    RawFd::try_from(listener).map_err(|_| libc::EBADF)
}

/// A control message with one descriptor, which stands right behind its header (include/linux/socket.h, `CMSG_DATA`).
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    descriptor: RawFd,
    padding: u32,
}

impl Control {
    /// Up to where another would begin.
    const PADDING: u32 = 0;
}

/// Sends `bytes` to who holds the other end of a Unix socket, and a descriptor with them.
pub(super) fn send_descriptor(
    channel: RawFd,
    bytes: &[u8],
    descriptor: Option<RawFd>,
) -> Result<(), c_int> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control {
        header: libc::cmsghdr {
            cmsg_len: size_of::<Control>() - size_of_val(&Control::PADDING),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        descriptor: descriptor.unwrap_or(-1),
        padding: Control::PADDING,
    };
    // SAFETY: pointers and integers, for which zero is "nothing".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if descriptor.is_some() {
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>();
    }
    let mut messages = libc::mmsghdr {
        msg_hdr: message,
        msg_len: 0,
    };
    // sendmmsg, since a filter that is loaded already lets that through: see `Telling`.
    // SAFETY: the kernel reads one message and what it points to, all of which outlives the call, and writes its length.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            channel,
            &raw mut messages,
            1,
            libc::MSG_NOSIGNAL,
        )
    };
    check(sent)
}

fn process_group(terminal: Option<RawFd>) -> Result<(), c_int> {
    // SAFETY: numbers only.
    check(unsafe { libc::setpgid(0, 0) }.into())?;
    let Some(terminal) = terminal else {
        return Ok(());
    };
    // A process outside the foreground that sets the foreground is stopped unless it ignores this signal
    // (drivers/tty/tty_jobctrl.c: `tty_check_change`). The next step puts it back.
    // SAFETY: sets an action without a handler.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
    // SAFETY: asks for a number.
    let own = unsafe { libc::getpid() };
    // SAFETY: numbers only.
    check(unsafe { libc::tcsetpgrp(terminal, own) }.into())
}

fn default_signals(ignored: u64) -> Result<(), c_int> {
    for signal in signals::changed() {
        let action = if ignored & 1 << (signal - 1) == 0 {
            libc::SIG_DFL
        } else {
            libc::SIG_IGN
        };
        // SAFETY: sets an action without a handler.
        unsafe { libc::signal(signal, action) };
    }
    // SAFETY: all bits zero is the empty set.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: reads a set on this stack.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) }.into())
}

fn ipc_flag(ipc: bool) -> c_int {
    if ipc { libc::CLONE_NEWIPC } else { 0 }
}

fn user_namespace(map: &UserMap) -> Result<(), c_int> {
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | ipc_flag(map.ipc);
    // SAFETY: takes flags only.
    check(unsafe { libc::unshare(flags) }.into())?;
    // Without privilege outside, a group map is taken only once setgroups is given up (user_namespaces(7)).
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", &map.uid_map)?;
    write_file(c"/proc/self/gid_map", &map.gid_map)
}

fn write_file(path: &CStr, bytes: &[u8]) -> Result<(), c_int> {
    // SAFETY: a C string that lives for ever.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    check(file.into())?;
    // SAFETY: reads the slice.
    let written = unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) };
    let answer = check(written.try_into().unwrap_or(-1));
    // SAFETY: a descriptor that was just opened here.
    unsafe { libc::close(file) };
    answer
}

fn limit(resource: u32, value: u64) -> Result<(), c_int> {
    let mut now = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes to a structure on this stack.
    check(unsafe { libc::getrlimit64(resource, &raw mut now) }.into())?;
    // Never more than the caller had: raising asks for CAP_SYS_RESOURCE, and a policy only ever limits.
    let value = value.min(now.rlim_max);
    let wanted = libc::rlimit64 {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: reads a structure on this stack.
    check(unsafe { libc::setrlimit64(resource, &raw const wanted) }.into())
}

fn bounding(kept: u64) -> Result<(), c_int> {
    for bit in 0..CAPABILITY_BITS {
        if kept & 1 << bit != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, bit.into(), 0) {
            Ok(()) => {}
            // The first one that this kernel does not have: none follows.
            Err(libc::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// By system call: the C library's functions change every thread, and wait for them.
pub(super) fn user(
    uid: u32,
    gid: u32,
    groups: &[u32],
    keep_capabilities: bool,
) -> Result<(), c_int> {
    if keep_capabilities {
        prctl(libc::PR_SET_KEEPCAPS, 1, 0)?;
    }
    // SAFETY: the kernel reads `len` numbers of the slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

pub(super) fn capabilities(kept: u64, ambient: u64, until_exec: u64) -> Result<(), c_int> {
    const CLEAR_ALL: u64 = 4;
    const RAISE: u64 = 2;
    prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0)?;
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut held = [word(0), word(0)];
    // SAFETY: the kernel writes two words of version 3.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, held.as_mut_ptr()) })?;
    let permitted = u64::from(held[0].permitted) | u64::from(held[1].permitted) << 32;
    let kept = kept & permitted;
    let held = kept | until_exec & permitted;
    let wanted = [
        CapabilityWord {
            inheritable: low_half(kept),
            ..word(low_half(held))
        },
        CapabilityWord {
            inheritable: low_half(kept >> 32),
            ..word(low_half(held >> 32))
        },
    ];
    // SAFETY: the kernel reads two words of version 3.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, wanted.as_ptr()) })?;
    for bit in 0..CAPABILITY_BITS {
        if ambient & kept & 1 << bit != 0 {
            prctl(libc::PR_CAP_AMBIENT, RAISE, bit.into())?;
        }
    }
    Ok(())
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low_half(mask: u64) -> u32 {
    mask as u32
}

const fn word(mask: u32) -> CapabilityWord {
    CapabilityWord {
        effective: mask,
        permitted: mask,
        inheritable: mask,
    }
}

pub(super) fn close_descriptors(ranges: &[(u32, u32)], kept: &[RawFd]) -> Result<(), c_int> {
    for &(first, last) in ranges {
        // SAFETY: descriptors that no step after this one uses.
        check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    }
    for &fd in kept {
        // SAFETY: numbers only.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into())?;
    }
    Ok(())
}

fn exec(execution: &Execution) -> Result<(), c_int> {
    // SAFETY: C strings and null-terminated arrays of C strings that the step owns.
    check(
        unsafe {
            libc::execve(
                execution.path.as_ptr(),
                execution.argument_pointers.as_ptr(),
                execution.environment_pointers.as_ptr(),
            )
        }
        .into(),
    )
}

pub(super) fn prctl(option: c_int, second: u64, third: u64) -> Result<(), c_int> {
    // SAFETY: only options that take numbers are asked for.
    check(unsafe { libc::prctl(option, second, third, 0, 0) }.into())
}

/// errno, if a system call answered with a negative number.
pub(super) fn check(answer: c_long) -> Result<(), c_int> {
    if answer >= 0 {
        return Ok(());
    }
    // SAFETY: the address of this thread's errno is always valid.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    Err(unsafe { *place })
}

fn wait_for_go(go: RawFd) -> bool {
    let mut byte = 0u8;
    loop {
        // SAFETY: writes one byte on this stack.
        let count = unsafe { libc::read(go, (&raw mut byte).cast(), 1) };
        match check(count.try_into().unwrap_or(-1)) {
            Ok(()) => return count == 1 && byte == GO,
            Err(libc::EINTR) => {}
            Err(_) => return false,
        }
    }
}

fn tell(report: RawFd, position: usize, errno: c_int, optional: bool) {
    let position = u32::try_from(position).unwrap_or(u32::MAX).to_ne_bytes();
    let errno = errno.to_ne_bytes();
    let optional = u32::from(optional).to_ne_bytes();
    let mut message = [0; REPORT_BYTES];
    message[..4].copy_from_slice(&position);
    message[4..8].copy_from_slice(&errno);
    message[8..].copy_from_slice(&optional);
    // If the parent is gone there is nobody to tell; either way the process ends unless the step was optional.
    // SAFETY: reads an array on this stack. Less than PIPE_BUF is written whole (pipe(7)).
    unsafe { libc::write(report, message.as_ptr().cast(), message.len()) };
}

pub(super) fn end(code: c_int) -> ! {
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(code) }
}
