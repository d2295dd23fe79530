//! Sockets of the internet protocols: which are made, whom they reach, where they are bound.
//!
//! The kernel hands every hook its own copy of an address, so that what is judged is what is used.

use core::mem::offset_of;

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    event::{cause, operation},
    network::{HEARD, Peer, UDP, is_judged, mapped},
    policy::{Label, MODE_AUDIT, MODE_OFF},
    rights, surface,
};

use crate::{
    identity,
    kernel::{Typed, offset, read},
    membership,
    outcome::{Answer, Outcome},
    peers,
    report::{self, Finding},
    table,
    verdict::{self, ALLOW, DENY, Question},
    zero::{Plain, zeroed},
};

// Families (include/linux/socket.h).
const UNSPECIFIED: u16 = 0;
/// `AF_UNIX`.
pub const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;
const NETLINK: u16 = 16;

// Kinds (include/linux/net.h).
/// `SOCK_STREAM`.
pub const STREAM: u32 = 1;
/// `SOCK_DGRAM`.
pub const DATAGRAM: u32 = 2;

/// `struct sockaddr_in` without its padding.
#[repr(C)]
#[derive(Clone, Copy)]
struct Address4 {
    family: u16,
    port: [u8; 2],
    address: [u8; 4],
}

/// `struct sockaddr_in6` without its scope; family and port stand where those of [`Address4`] do.
#[repr(C)]
#[derive(Clone, Copy)]
struct Address6 {
    _family: u16,
    _port: [u8; 2],
    flow: u32,
    address: [u8; 16],
}

/// The label of the current task, if its network is restricted.
#[inline(always)]
pub fn restricted() -> Option<Label> {
    identity::current().filter(|label| table::network_mode(*label) != MODE_OFF)
}

/// `socket_create(family, type, protocol, kern)`. The filter of system calls says the same of families and kinds; a ring
/// makes sockets without a system call.
#[inline(always)]
pub fn create(context: &LsmContext) -> i32 {
    let family = context.arg::<u32>(0);
    let by_kernel = context.arg::<u32>(3) != 0;
    if family == u32::from(UNIX) || by_kernel {
        return ALLOW;
    }
    let Some(label) = restricted() else {
        return ALLOW;
    };
    let (kind, protocol) = (context.arg::<u32>(1), context.arg::<u32>(2));
    if is_judged(family, kind, protocol) && table::reaches(label) {
        return ALLOW;
    }
    if family == u32::from(NETLINK) && table::surfaces(label).contains(surface::NETLINK) {
        return ALLOW;
    }
    refuse(label, operation::SOCKET, family)
}

/// Reports what is closed but for audit.
#[inline(always)]
fn refuse(label: Label, operation: u16, detail: u32) -> i32 {
    let denied = table::network_mode(label) != MODE_AUDIT;
    verdict::with_slot(label, |slot| {
        let finding = Finding { detail, denied, ..Finding::new(operation, cause::CLOSED) };
        report::send(slot, label, finding);
        if denied { DENY } else { ALLOW }
    })
}

/// A socket that somebody hands over: it must not bring a network, unless it is one of the fence's own, which has been
/// judged. A Unix socket is what it came by.
#[inline(always)]
pub fn receive(label: Label, file: u64) -> i32 {
    if table::network_mode(label) == MODE_OFF {
        return ALLOW;
    }
    match received(label, file) {
        Ok(UNIX) => ALLOW,
        Ok(family) => refuse(label, operation::RECEIVE, u32::from(family)),
        Err(outcome) => {
            let question = Question { label, operation: operation::RECEIVE, needed: rights::ALL };
            verdict::failed(question, outcome)
        }
    }
}

/// The family of a socket's file (net/socket.c: `sock_alloc_file` keeps the `struct socket` in `private_data`); that of a
/// Unix socket for one of the fence's own.
#[inline(always)]
fn received(label: Label, file: u64) -> Result<u16, Outcome> {
    let socket = read::<u64>(file + offset!(file_private))?;
    let sock = read::<u64>(socket + offset!(socket_sock))?;
    let family = read::<u16>(sock + offset!(sock_family))?;
    if family == UNIX || membership::is_own(label, sock) {
        return Ok(UNIX);
    }
    Ok(family)
}

/// What a hook is about.
#[repr(C)]
struct Subject {
    /// The `struct sock`.
    sock: u64,
    /// The peer, or the address of the socket's own. Protocol [`NONE`] is for what there are no rules about here.
    peer: Peer,
}

/// No protocol.
const NONE: u8 = 0;

// SAFETY: integers, and the address of a `struct sock` as one.
unsafe impl Plain for Subject {}

impl Subject {
    #[inline(always)]
    fn nothing() -> Self {
        zeroed()
    }

    #[inline(always)]
    fn is_nothing(&self) -> bool {
        self.peer.protocol == NONE
    }
}

/// `socket_connect(sock, address, addrlen)`.
#[inline(always)]
pub fn connect(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let mut subject = Subject::nothing();
    let (socket, address) = (Typed::argument(context, 0), Typed::argument(context, 1));
    let found = find(&mut subject, socket, || begin(address), address.address(), false);
    reach(label, operation::CONNECT, &subject, found)
}

/// `socket_sendmsg(sock, msg, size)`: only where the message names a peer; what a connected socket sends was judged when
/// it was connected. The name that comes with `MSG_FASTOPEN` connects as well.
#[inline(always)]
pub fn send(context: &LsmContext) -> i32 {
    let message = Typed::argument(context, 1);
    // The cheap question first: this hook runs for every message on the machine. The message is its caller's, and can be read.
    let name = message.member::<u64>(offset!(message_name));
    if name == 0 {
        return ALLOW;
    }
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let length = message.member::<u32>(offset!(message_name_length));
    if length == 0 {
        return ALLOW;
    }
    let mut subject = Subject::nothing();
    let found = find(&mut subject, Typed::argument(context, 0), || read(name), name, true);
    reach(label, operation::SEND, &subject, found)
}

#[inline(always)]
fn reach(label: Label, operation: u16, subject: &Subject, found: Answer) -> i32 {
    let mut answer = found;
    if found == Answer::YES {
        if subject.is_nothing() {
            return ALLOW;
        }
        answer = may_reach(label, &subject.peer, subject.sock);
    }
    answer_of(peers::conclude(label, operation, &subject.peer, answer))
}

/// A rule, a name that was asked for, a name query that is on its way to the resolver, or an answer to who has asked.
#[inline(always)]
fn may_reach(label: Label, peer: &Peer, sock: u64) -> Answer {
    if peers::is_query(label, peer) && membership::is_own(label, sock) {
        return Answer::YES;
    }
    let answer = peers::may_reach(label, peer);
    if answer != Answer::NO || peer.protocol != UDP {
        return answer;
    }
    let own_port = read::<u16>(sock + offset!(sock_own_port)).unwrap_or(0);
    Answer::of(own_port != 0 && peers::is_known(label, peer, own_port, HEARD))
}

/// `socket_bind(sock, address, addrlen)`. Port 0 lets the kernel choose one, as clients do: whether others may reach it
/// is asked when the socket listens, and of datagrams when they come.
#[inline(always)]
pub fn bind(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let mut own = Subject::nothing();
    let (socket, address) = (Typed::argument(context, 0), Typed::argument(context, 1));
    let mut answer = find(&mut own, socket, || begin(address), address.address(), true);
    if answer == Answer::YES {
        if own.is_nothing() || own.peer.port == 0 {
            return ALLOW;
        }
        answer = peers::may_bind(label, &own.peer);
    }
    answer_of(peers::conclude(label, operation::BIND, &own.peer, answer))
}

/// `socket_listen(sock, backlog)`.
#[inline(always)]
pub fn listen(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let mut own = Subject::nothing();
    let mut answer = find_bound(&mut own, context.arg(0));
    if answer == Answer::YES {
        if own.is_nothing() {
            return ALLOW;
        }
        answer = peers::may_listen(label, &own.peer);
    }
    answer_of(peers::conclude(label, operation::LISTEN, &own.peer, answer))
}

/// `sctp_bind_connect(sk, optname, address, addrlen)`: there are no rules about SCTP.
#[inline(always)]
pub fn associate() -> i32 {
    match restricted() {
        Some(label) => refuse(label, operation::CONNECT, 132),
        None => ALLOW,
    }
}

#[inline(always)]
fn answer_of(goes_on: bool) -> i32 {
    if goes_on { ALLOW } else { DENY }
}

/// What was read, or the answer that it could not be.
macro_rules! known {
    ($read:expr) => {
        match $read {
            Ok(value) => value,
            Err(outcome) => return Answer::failed(outcome),
        }
    };
}

/// How an address begins that a hook was given: as much as every one has (include/linux/socket.h, `struct sockaddr`). Read without a call.
#[inline(always)]
fn begin(address: Typed) -> Result<Address4, Outcome> {
    let begin = Address4 {
        family: address.member(offset_of!(Address4, family) as u64),
        port: address.member(offset_of!(Address4, port) as u64),
        address: address.member(offset_of!(Address4, address) as u64),
    };
    // A load that has faulted gives this.
    if begin.family == UNSPECIFIED { read(address.address()) } else { Ok(begin) }
}

/// The peer that an address, which begins so, names for a `struct socket`; it is read only for sockets that there are rules about here. No address at all ends a connection, but where
/// `unspecified_is_4` is set a socket of IPv4 takes it for one of its own (net/ipv4/udp.c, `udp_sendmsg`;
/// net/ipv4/af_inet.c, `__inet_bind`).
#[inline(always)]
fn find(
    subject: &mut Subject,
    socket: Typed,
    begin: impl FnOnce() -> Result<Address4, Outcome>,
    address: u64,
    unspecified_is_4: bool,
) -> Answer {
    let sock = known!(socket.pointer(offset!(socket_sock)).known());
    let own_family = sock.member::<u16>(offset!(sock_family));
    if own_family == UNIX || own_family == NETLINK {
        return Answer::YES;
    }
    if own_family != INET && own_family != INET6 {
        return Answer::failed(Outcome(cause::CLOSED));
    }
    let begin = known!(begin());
    let mut family = begin.family;
    if family == UNSPECIFIED {
        if own_family != INET || !unspecified_is_4 {
            return Answer::YES;
        }
        family = INET;
    }
    let protocol = peers::protocol(u32::from(sock.member::<u16>(offset!(sock_protocol))));
    if family == INET {
        subject.peer.address = mapped(begin.address);
    } else if family == INET6 {
        subject.peer.address = known!(read::<Address6>(address)).address;
    } else {
        return Answer::failed(Outcome(cause::CLOSED));
    }
    if peers::has_ports(protocol) {
        subject.peer.port = u16::from_be_bytes(begin.port);
    }
    subject.peer.protocol = protocol;
    subject.sock = sock.address();
    Answer::YES
}

/// Where a `struct socket` is bound, for who only records; `None` for what there are no rules about.
#[inline(always)]
pub fn bound(socket: u64) -> Option<Peer> {
    let mut own = Subject::nothing();
    if find_bound(&mut own, socket) != Answer::YES || own.is_nothing() {
        return None;
    }
    Some(own.peer)
}

/// The `struct socket` behind its `struct file` (net/socket.c, `sock_alloc_file`).
#[inline(always)]
pub fn of_file(file: u64) -> Result<u64, Outcome> {
    read::<u64>(file + offset!(file_private))
}

/// Where a `struct socket` is bound.
#[inline(always)]
fn find_bound(own: &mut Subject, socket: u64) -> Answer {
    let sock = known!(read::<u64>(socket + offset!(socket_sock)));
    let family = known!(read::<u16>(sock + offset!(sock_family)));
    if family == UNIX {
        return Answer::YES;
    }
    if family == INET {
        own.peer.address = mapped(known!(read::<[u8; 4]>(sock + offset!(sock_own_address4))));
    } else if family == INET6 {
        own.peer.address = known!(read::<[u8; 16]>(sock + offset!(sock_own_address6)));
    } else {
        return Answer::failed(Outcome(cause::CLOSED));
    }
    let number = known!(read::<u16>(sock + offset!(sock_protocol)));
    own.peer.protocol = peers::protocol(u32::from(number));
    own.peer.port = known!(read::<u16>(sock + offset!(sock_own_port)));
    own.sock = sock;
    Answer::YES
}
