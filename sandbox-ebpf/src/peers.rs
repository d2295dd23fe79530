//! May this peer be reached, may this address be bound: asked by the hooks and by the programs on the cgroup alike.

use aya_ebpf::{cty::c_void, helpers::generated::{bpf_ktime_get_boot_ns, bpf_loop}};
use ringfence_abi::{
    network::{
        ALLOW, CONNECT, DENY, Flow, GrantKey, LISTEN, Peer, Resolver, TCP, UDP,
    },
    policy::{Label, MODE_AUDIT, MODE_OFF, NO_TABLE},
    rights::PROGRAMS,
};

use crate::{
    maps::{FLOWS, NAMES, RESOLVERS},
    outcome::{Answer, Outcome},
    questions,
    report::{self, Finding, Span},
    steps::FAILED,
    table, verdict,
};

/// `IPPROTO_MPTCP` (include/uapi/linux/in.h).
const MULTIPATH: u32 = 262;
/// The port of name servers.
pub const NAME_SERVICE: u16 = 53;

/// What stands for every protocol that no rule can be about.
pub const UNKNOWN: u8 = u8::MAX;

/// A protocol as questions have it.
#[inline(always)]
pub fn protocol(number: u32) -> u8 {
    match number {
        MULTIPATH => TCP,
        1 | 6 | 17 | 58 => number as u8,
        _ => UNKNOWN,
    }
}

/// Whether a protocol has ports.
#[inline(always)]
pub fn has_ports(protocol: u8) -> bool {
    protocol == TCP || protocol == UDP
}

/// Whether a rule, or a name that was asked for, lets the peer be reached.
#[inline(always)]
pub fn may_reach(label: Label, peer: &Peer) -> Answer {
    let accept = by_rule(label, peer);
    if accept != 0 {
        return decided(accept);
    }
    Answer::of(by_name(label, peer))
}

/// What the rules say of reaching the peer: see [`questions::address`].
#[inline(always)]
pub fn by_rule(label: Label, peer: &Peer) -> u32 {
    questions::address(label, CONNECT, peer, peer.port)
}

/// Whether a name that was asked for has led to the address, for this port.
#[inline(always)]
pub fn by_name(label: Label, peer: &Peer) -> bool {
    let key = GrantKey { table: label.table(), address: peer.address };
    let Some(grant) = NAMES.get_ptr(&key) else {
        return false;
    };
    // SAFETY: a map value lives as long as the program runs; the helper has no precondition.
    let is_over = unsafe { (*grant).expires < bpf_ktime_get_boot_ns() };
    !is_over && questions::granted(label, grant, peer.protocol, peer.port)
}

/// Whether a rule lets the address be bound, port and all.
#[inline(always)]
pub fn may_bind(label: Label, own: &Peer) -> Answer {
    decided(listening(label, own, own.port))
}

/// Whether others may reach a socket at its address. A rule about port 0 is about ports that the kernel has chosen; one
/// that was asked for had to be allowed by [`may_bind`].
#[inline(always)]
pub fn may_listen(label: Label, own: &Peer) -> Answer {
    let accept = listening(label, own, own.port);
    if accept != 0 || own.port == 0 {
        return decided(accept);
    }
    decided(listening(label, own, 0))
}

#[inline(always)]
fn listening(label: Label, own: &Peer, port: u16) -> u32 {
    questions::address(label, LISTEN, own, port)
}

/// What a question was accepted with, as an answer.
#[inline(always)]
fn decided(accept: u32) -> Answer {
    if accept & FAILED != 0 {
        return Answer::failed(Outcome::INTERNAL);
    }
    Answer::of(accept & u32::from(ALLOW | DENY) == u32::from(ALLOW))
}

/// What [`of_any_program`] goes through the fence's programs with.
struct Search {
    label: Label,
    peer: Peer,
    listens: bool,
    found: bool,
}

/// Whether the fence at large, or one of its programs, may do this. What carries no task is asked about in this way.
#[inline(always)]
pub fn of_any_program(label: Label, peer: &Peer, listens: bool) -> bool {
    if may(label, peer, listens) {
        return true;
    }
    let programs = table::program_count(label);
    if programs == 0 {
        return false;
    }
    let mut search = Search { label, peer: *peer, listens, found: false };
    // SAFETY: the callback gets the address of a value on this frame's stack.
    unsafe {
        bpf_loop(
            u32::from(PROGRAMS),
            one_program as *const () as *mut c_void,
            (&raw mut search).cast::<c_void>(),
            0,
        );
    }
    search.found
}

/// One of the programs; returns 1 at the first that may.
extern "C" fn one_program(index: u64, search: *mut Search) -> i64 {
    // SAFETY: `search` is the one that `of_any_program` passed.
    let search = unsafe { &mut *search };
    let program = index as u8 + 1;
    let size_class = table::size_class_of(search.label, program);
    if size_class == NO_TABLE {
        return 1;
    }
    let label = Label { program, size_class, ..search.label };
    if may(label, &search.peer, search.listens) {
        search.found = true;
        return 1;
    }
    0
}

#[inline(always)]
fn may(label: Label, peer: &Peer, listens: bool) -> bool {
    let answer = if listens { may_listen(label, peer) } else { may_reach(label, peer) };
    answer == Answer::YES
}

/// Whether this is a name query, and the fence has a resolver that it goes to.
#[inline(always)]
pub fn is_query(label: Label, peer: &Peer) -> bool {
    peer.port == NAME_SERVICE && has_ports(peer.protocol) && resolver(label).port != 0
}

/// The fence's resolver; port 0 if it has none.
#[inline(always)]
pub fn resolver(label: Label) -> Resolver {
    // SAFETY: an entry is written whole before the fence's tasks run.
    match unsafe { RESOLVERS.get(&label.fence) } {
        Some(resolver) => *resolver,
        None => Resolver { address4: [0; 4], address6: [0; 16], port: 0, reserved: [0; 2] },
    }
}

/// Whether a UDP socket has to do with this peer already: `kind` says how.
#[inline(always)]
pub fn is_known(label: Label, peer: &Peer, own_port: u16, kind: u32) -> bool {
    FLOWS.get_ptr(&flow(label, peer, own_port, kind)).is_some()
}

/// Remembers that a UDP socket has to do with this peer. Where there is no room the peer is judged anew.
#[inline(always)]
pub fn remember(label: Label, peer: &Peer, own_port: u16, kind: u32) {
    let _judged_anew = FLOWS.insert(&flow(label, peer, own_port, kind), 0u32, 0);
}

#[inline(always)]
fn flow(label: Label, peer: &Peer, own_port: u16, kind: u32) -> Flow {
    Flow {
        fence: label.fence,
        peer: peer.address,
        peer_port: peer.port,
        own_port,
        kind,
    }
}

/// Concludes: `true` if the act goes on. What is not allowed is reported, and under audit goes on all the same. A policy whose network
/// section is off judges nothing.
#[inline(always)]
pub fn conclude(
    label: Label,
    operation: u16,
    peer: &Peer,
    answer: Answer,
) -> bool {
    if answer == Answer::YES {
        return true;
    }
    let mode = table::network_mode(label);
    if mode == MODE_OFF {
        return true;
    }
    let denied = mode != MODE_AUDIT;
    verdict::with_slot(label, |slot| {
        // SAFETY: `slot` is a map value, and its buffer is longer and begins at a multiple of four.
        unsafe { (&raw mut (*slot).path.bytes).cast::<Peer>().write(*peer) };
        let finding = Finding {
            denied,
            path: Span::first(size_of::<Peer>() as u32),
            ..Finding::new(operation, answer.cause())
        };
        report::send(slot, label, finding);
        if denied { verdict::DENY } else { verdict::ALLOW }
    }) == verdict::ALLOW
}
