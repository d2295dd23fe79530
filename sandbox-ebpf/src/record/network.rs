//! Recording what is reached and what is bound: programs on the cgroup of what is recorded, whichever way the rest is recorded.
//!
//! Name queries go to the recording's own resolver, as they would go to a fence's: it knows which name led to an address.
//! Nothing else is changed, and nothing is denied.

use aya_ebpf::programs::SockAddrContext;
use ringfence_abi::{
    event::operation,
    network::{Peer, Resolver, address_halves, peer_detail},
    record::{Recording, Seen},
};

use crate::{
    cgroup::{self, GO_ON, Version},
    outcome::Outcome,
    peers::{self, NAME_SERVICE},
    record,
    scratch::Slot,
    sockets,
};

/// Of a recording.
#[inline(always)]
fn resolver(recording: *mut Recording) -> Resolver {
    // SAFETY: a map value lives as long as the program runs, and user space writes it before it begins.
    unsafe { (*recording).resolver }
}

/// `connect4`, `connect6`, `sendmsg4` and `sendmsg6`.
#[inline(always)]
pub fn reach(context: &SockAddrContext, version: Version, operation: u16) -> i32 {
    let Some(recording) = record::current() else {
        return GO_ON;
    };
    let peer = cgroup::named(context.sock_addr, version);
    let resolver = resolver(recording);
    if resolver.port != 0 && peer.port == NAME_SERVICE && peers::has_ports(peer.protocol) {
        return cgroup::redirect(context, version, operation, &peer, &resolver);
    }
    if !(cgroup::is_resolver(&resolver, &peer) && cgroup::was_redirected(context)) {
        tell(recording, operation, &peer);
    }
    GO_ON
}

/// `recvmsg4`, `recvmsg6`, `getpeername4` and `getpeername6`.
#[inline(always)]
pub fn hide(context: &SockAddrContext, version: Version) -> i32 {
    if let Some(recording) = record::current() {
        cgroup::hide_by(context, version, &resolver(recording));
    }
    GO_ON
}

/// `bind4` and `bind6`. A port that the kernel chooses is told when the socket listens.
#[inline(always)]
pub fn bind(context: &SockAddrContext, version: Version) -> i32 {
    let Some(recording) = record::current() else {
        return GO_ON;
    };
    let own = cgroup::named(context.sock_addr, version);
    if own.port != 0 {
        tell(recording, operation::BIND, &own);
    }
    GO_ON
}

#[inline(always)]
fn tell(recording: *mut Recording, operation: u16, peer: &Peer) {
    record::with_program(recording, |slot, program| {
        with_peer(slot, Seen { program, operation, ..Seen::default() }, peer);
        Ok(())
    });
}

#[inline(always)]
fn with_peer(slot: *mut Slot, seen: Seen, peer: &Peer) {
    let [path, other] = address_halves(peer.address);
    let detail = peer_detail(peer.protocol, peer.port);
    record::without_path(slot, Seen { path, other, detail, ..seen });
}

/// A socket that listens, by its `struct socket`.
#[inline(always)]
pub fn listen(slot: *mut Slot, seen: Seen, socket: u64) -> Result<(), Outcome> {
    if let Some(own) = sockets::bound(socket) {
        with_peer(slot, Seen { operation: operation::LISTEN, ..seen }, &own);
    }
    Ok(())
}
