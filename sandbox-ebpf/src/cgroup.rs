//! On the fence's own cgroup: name queries are sent to the fence's resolver, and where no hook judges, addresses are judged
//! here.
//!
//! These programs see the sockets that were made in the cgroup, whoever uses them. The fence is what the attachment
//! says.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use ringfence_abi::{
    event::{cause, operation},
    network::{HEARD, Peer, Resolver, UDP, mapped},
    policy::{Label, MODE_AUDIT},
};

use crate::{
    context::{load, load_four, store},
    maps::{FENCE, REDIRECTED},
    outcome::Answer,
    peers,
    report::{self, Finding},
    sockets::{self, DATAGRAM, STREAM},
    table, verdict,
};

/// Where the address of IPv6 stands.
const SIX: usize = offset_of!(bpf_sock_addr, user_ip6);

/// What a program on a cgroup returns to let something be.
pub const GO_ON: i32 = 1;
/// What it returns for the act to fail with `EPERM`.
pub const REFUSE: i32 = 0;

/// Set by the loader to 0 or 1: 1 where LSM hooks judge addresses, so that these programs only redirect.
#[unsafe(no_mangle)]
pub static HOOKS_JUDGE: u32 = 0xdead_beed;

#[inline(always)]
fn hooks_judge() -> bool {
    // SAFETY: a static of this object.
    unsafe { core::ptr::read_volatile(&raw const HOOKS_JUDGE) != 0 }
}

/// The fence whose cgroup this is; `None` while it is being set up or taken down.
#[inline(always)]
pub fn fence() -> Option<Label> {
    // SAFETY: the kernel allocates the value with the attachment (kernel/bpf/cgroup.c).
    let label = unsafe { core::ptr::read_volatile(FENCE.get_ptr_mut()) };
    (label.fence != 0).then_some(label)
}

/// Which of the two kinds of addresses a program is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `user_ip4`.
    Four,
    /// `user_ip6`, mapped addresses included.
    Six,
}

/// `connect4` and `connect6`: also what `MSG_FASTOPEN` connects.
#[inline(always)]
pub fn connect(context: &SockAddrContext, version: Version) -> i32 {
    go(context, version, operation::CONNECT)
}

/// `sendmsg4` and `sendmsg6`: a datagram whose message names its peer.
#[inline(always)]
pub fn send(context: &SockAddrContext, version: Version) -> i32 {
    go(context, version, operation::SEND)
}

#[inline(always)]
fn go(context: &SockAddrContext, version: Version, operation: u16) -> i32 {
    let Some(label) = fence() else {
        return REFUSE;
    };
    if hooks_judge() && sockets::restricted().is_none() {
        // A program of the fence whose network is open.
        return GO_ON;
    }
    let address = context.sock_addr;
    let peer = named(address, version);
    if peers::is_query(label, &peer) {
        return redirect(context, version, operation, &peer, &peers::resolver(label));
    }
    if hooks_judge() {
        return GO_ON;
    }
    if is_resolver(&peers::resolver(label), &peer) && was_redirected(context) {
        // A connected socket of IPv6 whose peer has an address of IPv4 names it in each message (net/ipv6/udp.c,
        // `udpv6_sendmsg`).
        return GO_ON;
    }
    let mut answer = peers::may_reach(label, &peer);
    if answer == Answer::NO && operation == operation::SEND && peer.protocol == UDP {
        answer = Answer::of(peers::is_known(label, &peer, own_port(address), HEARD));
    }
    answer_of(peers::conclude(label, operation, &peer, answer))
}

/// `bind4` and `bind6`.
#[inline(always)]
pub fn bind(context: &SockAddrContext, version: Version) -> i32 {
    let Some(label) = fence() else {
        return REFUSE;
    };
    let own = named(context.sock_addr, version);
    if own.port == 0 {
        return GO_ON;
    }
    answer_of(peers::conclude(label, operation::BIND, &own, peers::may_bind(label, &own)))
}

/// `sock_create`: a socket of the internet protocols that no rule is about. The system call's failure is told by who
/// watches it.
#[inline(always)]
pub fn create(context: &SockContext) -> i32 {
    let Some(label) = fence() else {
        return REFUSE;
    };
    // SAFETY (throughout): fields of the program's context.
    let kind = unsafe { load::<{ offset_of!(bpf_sock, type_) }, _>(context.sock) };
    let number = unsafe { load::<{ offset_of!(bpf_sock, protocol) }, _>(context.sock) };
    let protocol = peers::protocol(number);
    let is_judged = if peers::has_ports(protocol) {
        kind == STREAM || kind == DATAGRAM
    } else {
        kind == DATAGRAM && protocol != peers::UNKNOWN
    };
    if is_judged && table::reaches(label) {
        return GO_ON;
    }
    if table::network_mode(label) != MODE_AUDIT {
        return REFUSE;
    }
    let family = unsafe { load::<{ offset_of!(bpf_sock, family) }, _>(context.sock) };
    verdict::with_slot(label, |slot| {
        let finding = Finding {
            detail: family,
            denied: false,
            ..Finding::new(operation::SOCKET, cause::CLOSED)
        };
        report::send(slot, label, finding);
        verdict::ALLOW
    });
    GO_ON
}

/// `recvmsg4`, `recvmsg6`, `getpeername4` and `getpeername6`: an answer of the resolver comes from where the query was
/// going. They cannot fail.
#[inline(always)]
pub fn hide(context: &SockAddrContext, version: Version) -> i32 {
    let Some(label) = fence() else {
        return GO_ON;
    };
    hide_by(context, version, &peers::resolver(label));
    GO_ON
}

/// The same, whoever's resolver it is.
#[inline(always)]
pub fn hide_by(context: &SockAddrContext, version: Version, resolver: &Resolver) {
    let address = context.sock_addr;
    let peer = named(address, version);
    if !is_resolver(resolver, &peer) {
        return;
    }
    // SAFETY: the context's socket; the value lives as long as the program runs.
    let original = unsafe { REDIRECTED.get_ptr_mut(context) };
    if original.is_null() {
        return;
    }
    // SAFETY: as above, and it is not null.
    let original = unsafe { *original };
    set(address, version, original.address, original.port);
}

/// Whether a query of this socket has been sent to the resolver.
#[inline(always)]
pub fn was_redirected(context: &SockAddrContext) -> bool {
    // SAFETY: the context's socket.
    !unsafe { REDIRECTED.get_ptr_mut(context) }.is_null()
}

/// Whether this is where the fence's resolver listens.
#[inline(always)]
pub fn is_resolver(resolver: &Resolver, peer: &Peer) -> bool {
    resolver.port != 0
        && peer.port == resolver.port
        && (peer.address == mapped(resolver.address4)
            || resolver.address6 != [0; 16] && peer.address == resolver.address6)
}

/// Sends a name query to the resolver, and remembers where it was going.
#[inline(always)]
pub fn redirect(
    context: &SockAddrContext,
    version: Version,
    operation: u16,
    peer: &Peer,
    resolver: &Resolver,
) -> i32 {
    let is_four = peer.address[..12] == mapped([0; 4])[..12];
    let target = if version == Version::Four || is_four || resolver.address6 == [0; 16] {
        // A datagram to an address of IPv6 cannot be turned to one of IPv4 (net/ipv6/udp.c, `udpv6_sendmsg`).
        if !is_four && operation == operation::SEND {
            return REFUSE;
        }
        mapped(resolver.address4)
    } else {
        resolver.address6
    };
    // SAFETY: the context's socket.
    let original = unsafe { REDIRECTED.get_or_insert_ptr_mut(context, None) };
    if original.is_null() {
        return REFUSE;
    }
    // SAFETY: the value lives as long as the program runs, and is not null.
    unsafe { *original = *peer };
    set(context.sock_addr, version, target, resolver.port);
    GO_ON
}

/// The address that the context names. No rule is about [`peers::UNKNOWN`].
#[inline(always)]
pub fn named(context: *const bpf_sock_addr, version: Version) -> Peer {
    // SAFETY (throughout): fields of the program's context.
    let number = unsafe { load::<{ offset_of!(bpf_sock_addr, protocol) }, _>(context) };
    let protocol = peers::protocol(number);
    let address = match version {
        Version::Four => {
            let word = unsafe { load::<{ offset_of!(bpf_sock_addr, user_ip4) }, _>(context) };
            mapped(word.to_ne_bytes())
        }
        Version::Six => unsafe {
            load_four::<SIX, { SIX + 4 }, { SIX + 8 }, { SIX + 12 }, _>(context)
        },
    };
    let port = if peers::has_ports(protocol) {
        let port = unsafe { load::<{ offset_of!(bpf_sock_addr, user_port) }, _>(context) };
        u16::from_be(port as u16)
    } else {
        0
    };
    Peer { address, port, protocol, reserved: 0 }
}

#[inline(always)]
fn set(context: *mut bpf_sock_addr, version: Version, address: [u8; 16], port: u16) {
    let [a, b, c, d] = split(address);
    // SAFETY (throughout): fields of the program's context that it may write.
    match version {
        Version::Four => unsafe { store::<{ offset_of!(bpf_sock_addr, user_ip4) }, _>(context, d) },
        Version::Six => unsafe {
            store::<SIX, _>(context, a);
            store::<{ SIX + 4 }, _>(context, b);
            store::<{ SIX + 8 }, _>(context, c);
            store::<{ SIX + 12 }, _>(context, d);
        },
    }
    let port = u32::from(port.to_be());
    unsafe { store::<{ offset_of!(bpf_sock_addr, user_port) }, _>(context, port) };
}

/// The port of the socket itself.
#[inline(always)]
fn own_port(context: *const bpf_sock_addr) -> u16 {
    // SAFETY: the context's socket, which the kernel gives to every program of this kind.
    unsafe {
        let sock = (*context).__bindgen_anon_1.sk;
        if sock.is_null() {
            return 0;
        }
        load::<{ offset_of!(bpf_sock, src_port) }, _>(sock) as u16
    }
}

#[inline(always)]
fn split(address: [u8; 16]) -> [u32; 4] {
    // SAFETY: integers of the same size altogether.
    unsafe { core::mem::transmute(address) }
}

#[inline(always)]
fn answer_of(goes_on: bool) -> i32 {
    if goes_on { GO_ON } else { REFUSE }
}
