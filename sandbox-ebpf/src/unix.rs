//! Unix sockets: the way to every service of the host.

use ringfence_abi::{
    event::{cause, operation},
    network::{ABSTRACT, ALLOW as ALLOWED, DENY as DENIED, UNIX},
    policy::{Label, MODE_AUDIT},
    rights,
};

use crate::{
    abstract_name::{self, Memory},
    kernel::{offset, read},
    matching, membership,
    outcome::Outcome,
    report::{self, Finding, Span},
    scratch::{PATH_END, Path, Slot},
    sockets, table,
    verdict::{self, ALLOW, DENY, Object, Question},
    walk,
};

/// `unix_stream_connect(sock, other, newsk)`: `other` is the listener's `struct sock`.
#[inline(always)]
pub fn connect(other: u64) -> i32 {
    judge(Ok(other))
}

/// `unix_may_send(sock, other)`: `other` is the receiver's `struct socket`. For a datagram's connect as well.
#[inline(always)]
pub fn send(other: u64) -> i32 {
    judge(read::<u64>(other + offset!(socket_sock)))
}

/// A socket of the fence's own is reached without a rule, and so is one without any name, which is an end of a pair. One
/// with a path is reached where a rule about it says so, or where the file may be written, as the permission bits ask for
/// as well; an abstract name where a rule says so. The mode of the network's section decides about what is not allowed.
#[inline(always)]
fn judge(other: Result<u64, Outcome>) -> i32 {
    let Some(label) = sockets::restricted() else {
        return ALLOW;
    };
    let question = Question { label, operation: operation::CONNECT_UNIX, needed: rights::WRITE };
    // VERIFIER: "R3 !read_ok" where two results are matched together: each error leaves by itself.
    let other = match other {
        Ok(other) => other,
        Err(outcome) => return verdict::failed(question, outcome),
    };
    if membership::is_own(label, other) {
        return ALLOW;
    }
    // `struct unix_sock` begins with its `struct sock` (include/net/af_unix.h).
    let dentry = match read::<u64>(other + offset!(unix_path) + offset!(path_dentry)) {
        Ok(dentry) => dentry,
        Err(outcome) => return verdict::failed(question, outcome),
    };
    let address = match read::<u64>(other + offset!(unix_address)) {
        Ok(address) => address,
        Err(outcome) => return verdict::failed(question, outcome),
    };
    if dentry == 0 && address == 0 {
        return ALLOW;
    }
    verdict::with_slot(label, |slot| {
        // SAFETY: `slot` is a map value.
        let path = unsafe { &raw mut (*slot).path };
        let found = if dentry != 0 {
            with_path(path, label, other)
        } else {
            with_name(path, label, address)
        };
        // SAFETY: `slot` is a map value.
        let path = Span::built(unsafe { &raw const (*slot).path });
        conclude(slot, label, found, Shown { path, other: Span::NONE, error: 0 })
    })
}

/// What is said of a socket.
pub struct Found {
    /// Whether it may be reached.
    pub allowed: bool,
    /// Rights to its file.
    pub granted: u8,
}

#[inline(always)]
fn with_path(path: *mut Path, label: Label, other: u64) -> Result<Found, Outcome> {
    let object = Object::of_path(other + offset!(unix_path))?;
    walk::absolute(path, object.dentry, walk::mount_of(object.vfsmount))?;
    let granted = matching::rights(path, label)?.granted;
    let accept = matching::text(path, label, UNIX)?;
    let allowed = accept & ALLOWED != 0 || granted & rights::WRITE != 0;
    Ok(Found { allowed: allowed && accept & DENIED == 0, granted })
}

/// `address` is a `struct unix_address`, whose name begins with a NUL.
#[inline(always)]
fn with_name(path: *mut Path, label: Label, address: u64) -> Result<Found, Outcome> {
    begin_empty(path);
    let length = read::<u32>(address + offset!(unix_address_length))?;
    by_name(path, label, address + offset!(unix_address_name), length)
}

/// `address` is a `struct sockaddr_un` of `length` bytes, whose name begins with a NUL.
#[inline(always)]
pub fn by_name(path: *mut Path, label: Label, address: u64, length: u32) -> Result<Found, Outcome> {
    abstract_name::place(path, address, length, Memory::Kernel)?;
    let accept = matching::text(path, label, ABSTRACT)?;
    // In an event it is shown as in a rule.
    abstract_name::mark(path);
    Ok(Found { allowed: accept & (ALLOWED | DENIED) == ALLOWED, granted: 0 })
}

/// So that an event shows nothing of who had the slot before.
#[inline(always)]
pub fn begin_empty(path: *mut Path) {
    // SAFETY: `path` is a map value.
    unsafe { core::ptr::write_volatile(&raw mut (*path).start, PATH_END as u32) };
}

/// What is shown of a socket.
pub struct Shown {
    /// Its path or name.
    pub path: Span,
    /// The directory that a path which a program has passed is relative to.
    pub other: Span,
    /// What the call returns where the path is what a program has passed, else 0.
    pub error: u16,
}

/// Reports what may not be reached, and answers.
#[inline(always)]
pub fn conclude(
    slot: *mut Slot,
    label: Label,
    found: Result<Found, Outcome>,
    shown: Shown,
) -> i32 {
    let (cause, granted) = match found {
        Ok(Found { allowed: true, .. }) => return ALLOW,
        Ok(Found { granted, .. }) => (cause::RULE, granted),
        Err(outcome) => (outcome.0, 0),
    };
    let denied = table::network_mode(label) != MODE_AUDIT;
    let finding = Finding {
        needed: rights::WRITE,
        granted,
        denied,
        path: shown.path,
        other: shown.other,
        error: shown.error,
        ..Finding::new(operation::CONNECT_UNIX, cause)
    };
    report::send(slot, label, finding);
    if denied { DENY } else { ALLOW }
}
