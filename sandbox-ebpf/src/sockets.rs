//! Unix sockets: the one kind that is open where there is no network, and so the way to every service of the host.

use ringfence_abi::{event::operation, policy::MODE_OFF, rights};

use crate::{
    identity,
    kernel::{offset, read},
    matching,
    outcome::Outcome,
    verdict::{self, ALLOW, DENY, Object, Question},
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
    // `struct unix_sock` begins with its `struct sock` (include/net/af_unix.h).
    let object = other.and_then(|other| Object::of_path(other + offset!(unix_path)));
    let address = other.and_then(|other| read::<u64>(other + offset!(unix_address)));
    match (object, address) {
        (Ok(Object { dentry: 0, .. }), Ok(0)) => ALLOW,
        (Ok(Object { dentry: 0, .. }), _) => {
            verdict::deny_without_path(label, operation::CONNECT_UNIX);
            DENY
        }
        (object, _) => verdict::of(question, object),
    }
}
