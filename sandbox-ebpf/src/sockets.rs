//! Sockets: without a network there are Unix sockets only, and those are the way to every service of the host.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    event::operation,
    policy::{Label, MODE_OFF},
    rights,
    surface::Surfaces,
};

use crate::{
    identity,
    kernel::{offset, read},
    matching,
    outcome::Outcome,
    surface,
    verdict::{self, ALLOW, DENY, Object, Question},
};

/// `AF_UNIX`.
const UNIX: u32 = 1;

/// `socket_create(family, type, protocol, kern)`: where there is no network, Unix sockets only. The filter of system calls
/// says the same; a ring makes sockets without a system call.
#[inline(always)]
pub fn create(context: &LsmContext) -> i32 {
    let family = context.arg::<u32>(0);
    let by_kernel = context.arg::<u32>(3) != 0;
    if family == UNIX || by_kernel {
        return ALLOW;
    }
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    if matching::network_mode(label) == MODE_OFF {
        return ALLOW;
    }
    surface::refuse(label, Surfaces::NONE, operation::SOCKET, family);
    DENY
}

/// A socket that somebody hands over: where there is no network, it must not bring one. A Unix socket is what it came by.
#[inline(always)]
pub fn receive(label: Label, file: u64) -> i32 {
    if matching::network_mode(label) == MODE_OFF {
        return ALLOW;
    }
    match family(file) {
        Ok(family) if u32::from(family) == UNIX => ALLOW,
        Ok(family) => {
            surface::refuse(label, Surfaces::NONE, operation::RECEIVE, u32::from(family));
            DENY
        }
        Err(outcome) => {
            let question = Question { label, operation: operation::RECEIVE, needed: rights::ALL };
            verdict::failed(question, outcome)
        }
    }
}

/// The address family of a socket's file (net/socket.c: `sock_alloc_file` keeps the `struct socket` in `private_data`).
#[inline(always)]
fn family(file: u64) -> Result<u16, Outcome> {
    let socket = read::<u64>(file + offset!(file_private))?;
    let sock = read::<u64>(socket + offset!(socket_sock))?;
    read::<u16>(sock + offset!(sock_family))
}

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

/// A socket with a path is a file that one has to be allowed to write, as the permission bits ask for as well. One
/// without any name is an end of a pair. An abstract name belongs to nobody, and is closed.
#[inline(always)]
fn judge(other: Result<u64, Outcome>) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    if matching::network_mode(label) == MODE_OFF {
        return ALLOW;
    }
    let question = Question { label, operation: operation::CONNECT_UNIX, needed: rights::WRITE };
    // VERIFIER: "R3 !read_ok" where two results are matched together: each error leaves by itself.
    let other = match other {
        Ok(other) => other,
        Err(outcome) => return verdict::failed(question, outcome),
    };
    // `struct unix_sock` begins with its `struct sock` (include/net/af_unix.h).
    let dentry = match read::<u64>(other + offset!(unix_path) + offset!(path_dentry)) {
        Ok(dentry) => dentry,
        Err(outcome) => return verdict::failed(question, outcome),
    };
    if dentry != 0 {
        return verdict::of(question, Object::of_path(other + offset!(unix_path)));
    }
    match read::<u64>(other + offset!(unix_address)) {
        Ok(0) => ALLOW,
        Ok(_) => {
            surface::refuse(label, Surfaces::NONE, operation::CONNECT_UNIX, 0);
            DENY
        }
        Err(outcome) => verdict::failed(question, outcome),
    }
}
