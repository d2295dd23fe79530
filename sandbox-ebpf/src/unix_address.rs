//! Unix sockets where no hook sees whom they reach: on the fence's cgroup, by the address that a call passes (since 6.7).
//!
//! An abstract name is all there is to know of a socket, and is judged here. A path is not, for links and the task's own root
//! decide where it leads: only the fence's supervisor reaches a socket at one, which has judged the socket that it found
//! there. What a program passes otherwise is not looked at twice, so it may change as it likes.

use aya_ebpf::{
    cty::c_void,
    helpers::{
        bpf_get_current_task,
        generated::{bpf_get_current_cgroup_id, bpf_probe_read_kernel_str},
    },
    programs::SockAddrContext,
};
use ringfence_abi::policy::Label;

use crate::{
    cgroup::{self, GO_ON, REFUSE},
    kernel::{offset, read},
    maps::CONNECTORS,
    outcome::Outcome,
    report::Span,
    scratch::{Path, Slot},
    unix::{self, Found, Shown},
    verdict::{self, ALLOW, Object},
    walk::{self, bounded},
};

/// Bytes of `sun_family`.
const FAMILY: u32 = 2;
/// Bytes of `sun_path` (include/uapi/linux/un.h, `UNIX_PATH_MAX`).
const PATH: u32 = 108;
/// `EPERM`, which is what the call returns: the event's path is what a program has passed.
const NOT_PERMITTED: u16 = 1;

/// Where nothing can be shown.
const NOTHING: Shown = Shown { path: Span::NONE, other: Span::NONE, error: 0 };

/// `connect_unix` and `sendmsg_unix`: for both the kernel has checked the family and the length, and goes on with the copy of
/// the address that is seen here (net/unix/af_unix.c, 6.12: `unix_stream_connect`, `unix_dgram_connect`,
/// `unix_dgram_sendmsg`).
#[inline(always)]
pub fn reach(context: &SockAddrContext) -> i32 {
    let Some(label) = cgroup::fence() else {
        return REFUSE;
    };
    if is_supervisor(label) {
        return GO_ON;
    }
    let context = context.sock_addr as u64;
    let answer = verdict::with_slot(label, |slot| {
        // SAFETY: `slot` is a map value.
        let path = unsafe { &raw mut (*slot).path };
        unix::begin_empty(path);
        // A program is given a `struct bpf_sock_addr_kern` (include/linux/filter.h), and fields of it that rules of the verifier
        // do not open are read as any other memory.
        let (address, length) = match passed(context) {
            Ok(passed) => passed,
            Err(outcome) => return unix::conclude(slot, label, Err(outcome), NOTHING),
        };
        match read::<u8>(address + u64::from(FAMILY)) {
            Err(outcome) => unix::conclude(slot, label, Err(outcome), NOTHING),
            Ok(0) => {
                let found = unix::by_name(path, label, address, length);
                unix::conclude(slot, label, found, Shown { path: Span::built(path), ..NOTHING })
            }
            Ok(_) => {
                let shown = Shown {
                    path: copy(path, address, length),
                    other: directory(slot),
                    error: NOT_PERMITTED,
                };
                let found = Ok(Found { allowed: false, granted: 0 });
                unix::conclude(slot, label, found, shown)
            }
        }
    });
    if answer == ALLOW { GO_ON } else { REFUSE }
}

/// Whether the current task stands in the cgroup of the fence's supervisor. No task of the fence does, nor what the kernel runs
/// in its name: that has the cgroup of who asked.
#[inline(always)]
fn is_supervisor(label: Label) -> bool {
    // SAFETY: an entry is written whole.
    let Some(connector) = (unsafe { CONNECTORS.get(&label.fence) }) else {
        return false;
    };
    // SAFETY: the helper has no precondition.
    *connector == unsafe { bpf_get_current_cgroup_id() }
}

/// Where the kernel's copy of the address is, and how many bytes it has.
#[inline(always)]
fn passed(context: u64) -> Result<(u64, u32), Outcome> {
    let address = read::<u64>(context + offset!(passed_address))?;
    let length = read::<u32>(context + offset!(passed_length))?;
    Ok((address, length))
}

/// The working directory, for the event: nothing where it has no path.
#[inline(always)]
fn directory(slot: *mut Slot) -> Span {
    // SAFETY: the helper has no precondition, and `slot` is a map value.
    let (task, other) = unsafe { (bpf_get_current_task(), &raw mut (*slot).other) };
    let found = read::<u64>(task + offset!(task_filesystem))
        .and_then(|filesystem| Object::of_path(filesystem + offset!(filesystem_directory)))
        .and_then(|found| walk::absolute(other, found.dentry, walk::mount_of(found.vfsmount)));
    match found {
        Ok(()) => Span::built(other),
        Err(_) => Span::NONE,
    }
}

/// Copies a path for the event: as far as it can be read.
#[inline(always)]
fn copy(path: *mut Path, address: u64, length: u32) -> Span {
    let length = length.saturating_sub(FAMILY);
    let length = if length > PATH { PATH } else { length };
    let room = bounded!(u64::from(length) + 1, 127);
    // SAFETY: `path` is in a map value, and its buffer is longer.
    let copied = unsafe {
        let bytes = (&raw mut (*path).bytes).cast::<c_void>();
        bpf_probe_read_kernel_str(bytes, room as u32, (address + u64::from(FAMILY)) as *const c_void)
    };
    if copied <= 0 { Span::NONE } else { Span::first(copied as u32 - 1) }
}
