//! The net below: packets that leave a fence's sockets, and packets that come to them.
//!
//! What the hooks let through passes here as well; what got round them does not. A connection is judged by its first
//! packet, so that those which were accepted can answer and those which stand are not cut; a datagram by its peer. What is
//! not understood is dropped and counted.
//!
//! A kernel's own packets (neighbour discovery, errors, resets, group reports) leave through sockets of its own and are not
//! seen here. Packets leave before they are cut into fragments (net/ipv4/ip_output.c, `ip_finish_output`), and are put
//! together before they come to a socket.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::bpf_sk_fullsock,
    programs::SkBuffContext,
};
use ringfence_abi::{
    network::{HEARD, ICMP, ICMP6, Peer, SENT, TCP, UDP, mapped},
    policy::{Counters, Label, MODE_AUDIT, MODE_OFF},
};

use crate::{
    cgroup::{self, fence},
    context::{load as load_field, load_four},
    greeting, identity, peers,
    sockets::STREAM,
    table,
};

/// What lets a packet be.
pub const PASS: i32 = 1;
/// What drops it; who sends it is told `EPERM`.
const DROP: i32 = 0;

// Headers that may stand before that of the protocol (include/uapi/linux/ipv6.h).
const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u8 = 60;
/// Headers between that of IPv6 and that of the protocol. Whoever sends has none, but the largest of packets.
const MOST_HEADERS: u32 = 2;

/// Not understood.
pub struct Unknown;

/// Which way it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Out,
    In,
}

/// What is looked at.
pub struct Packet {
    /// The other side.
    pub peer: Peer,
    /// The port on this side.
    pub own_port: u16,
    /// Whether it opens a connection: SYN without ACK.
    pub opens: bool,
    /// Whether it accepts one: SYN and ACK.
    pub accepts: bool,
    /// Whether a part of what it carries is urgent, and may be taken out of the stream at the other end.
    is_urgent: bool,
    /// The number of its first byte in the stream.
    pub sequence: u32,
    /// Where what it carries begins.
    pub data: u32,
}

impl Packet {
    /// One that is not about a connection.
    #[inline(always)]
    const fn of(peer: Peer, own_port: u16, data: u32) -> Self {
        Self {
            peer,
            own_port,
            opens: false,
            accepts: false,
            is_urgent: false,
            sequence: 0,
            data,
        }
    }
}

/// Whether the packet is one of a TCP connection that stands. Most packets are, and their headers need not be read: the first
/// was judged, and in these states none that opens a connection is sent, and one that comes opens nothing
/// (net/ipv4/tcp_input.c, `tcp_validate_incoming`).
#[inline(always)]
fn is_of_one_that_stands(context: &SkBuffContext) -> bool {
    // include/net/tcp_states.h
    const ESTABLISHED: u32 = 1;
    const FIN_WAIT_1: u32 = 4;
    const FIN_WAIT_2: u32 = 5;
    const CLOSE_WAIT: u32 = 8;
    const LAST_ACK: u32 = 9;
    const CLOSING: u32 = 11;
    let Some(sock) = socket(context.skb.skb) else {
        return false;
    };
    // SAFETY (throughout): fields of the socket, as wide as they are.
    let kind = unsafe { load_field::<{ offset_of!(bpf_sock, type_) }, _>(sock) };
    let protocol = unsafe { load_field::<{ offset_of!(bpf_sock, protocol) }, _>(sock) };
    let state = unsafe { load_field::<{ offset_of!(bpf_sock, state) }, _>(sock) };
    // A raw socket can have this protocol, and is in the first of the states when it is connected.
    kind == STREAM
        && protocol == u32::from(TCP)
        && matches!(
            state,
            ESTABLISHED | FIN_WAIT_1 | FIN_WAIT_2 | CLOSE_WAIT | LAST_ACK | CLOSING
        )
}

/// `cgroup_skb/egress`.
#[inline(always)]
pub fn leaving(context: &SkBuffContext) -> i32 {
    if is_of_one_that_stands(context) {
        return PASS;
    }
    let Some(label) = fence() else {
        return DROP;
    };
    let passes = match packet(context, Way::Out) {
        Ok(packet) => may_leave(label, &packet),
        Err(Unknown) => false,
    };
    answer(label, passes)
}

/// `cgroup_skb/egress`, beside [`leaving`]: a program of its own, which the verifier goes through by itself.
#[inline(always)]
pub fn greeting(context: &SkBuffContext) -> i32 {
    const SYN_SENT: u32 = 2;
    let skb = context.skb.skb;
    // Sockets that are not whole have nothing to say yet, or nothing more.
    let Some(sock) = socket(skb) else {
        return PASS;
    };
    // SAFETY: a field of the socket, as wide as it is.
    let state = unsafe { load_field::<{ offset_of!(bpf_sock, state) }, _>(sock) };
    let is_opening = state == SYN_SENT;
    // The cheap question first: this program sees every packet.
    if !is_opening && !greeting::is_expected(sock) {
        return PASS;
    }
    let Some(label) = fence() else {
        return DROP;
    };
    match packet(context, Way::Out) {
        Ok(Packet { peer, opens, is_urgent, sequence, data, .. }) if peer.protocol == TCP => {
            if opens && !greeting::expect(label, &peer, sock, sequence) {
                return answer(label, false);
            }
            // It knows whose connection it is, and so in which mode.
            if greeting::passes(label, &peer, skb, sock, data, is_urgent) {
                return PASS;
            }
            identity::count(label.fence, offset_of!(Counters, dropped), 1);
            DROP
        }
        Ok(_) => PASS,
        Err(Unknown) => answer(label, false),
    }
}

/// `cgroup_skb/ingress`.
#[inline(always)]
pub fn coming(context: &SkBuffContext) -> i32 {
    if is_of_one_that_stands(context) {
        return PASS;
    }
    let Some(label) = fence() else {
        return DROP;
    };
    let passes = match packet(context, Way::In) {
        Ok(packet) => may_come(context, label, &packet),
        Err(Unknown) => false,
    };
    answer(label, passes)
}

#[inline(always)]
fn answer(label: Label, passes: bool) -> i32 {
    if passes || matches!(table::network_mode(label), MODE_AUDIT | MODE_OFF) {
        return PASS;
    }
    identity::count(label.fence, offset_of!(Counters, dropped), 1);
    DROP
}

#[inline(always)]
fn may_leave(label: Label, packet: &Packet) -> bool {
    let peer = &packet.peer;
    if peer.protocol == TCP && !packet.opens {
        return true;
    }
    let is_datagram = peer.protocol == UDP;
    if is_datagram
        && (peers::is_known(label, peer, packet.own_port, SENT)
            || peers::is_known(label, peer, packet.own_port, HEARD))
    {
        return true;
    }
    if is_to_resolver(label, peer) {
        return true;
    }
    let may = peers::of_any_program(label, peer, false);
    if may && is_datagram {
        peers::remember(label, peer, packet.own_port, SENT);
    }
    may
}

#[inline(always)]
fn may_come(context: &SkBuffContext, label: Label, packet: &Packet) -> bool {
    let peer = &packet.peer;
    match peer.protocol {
        TCP => !packet.opens || is_open_to_others(context, label, packet),
        UDP => {
            if peers::is_known(label, peer, packet.own_port, SENT)
                || peers::is_known(label, peer, packet.own_port, HEARD)
                || is_to_resolver(label, peer)
            {
                return true;
            }
            if is_open_to_others(context, label, packet) {
                peers::remember(label, peer, packet.own_port, HEARD);
                return true;
            }
            peers::of_any_program(label, peer, false)
        }
        _ => peers::of_any_program(label, peer, false),
    }
}

/// Whether the socket that a packet comes to is bound where others may reach it.
#[inline(always)]
fn is_open_to_others(context: &SkBuffContext, label: Label, packet: &Packet) -> bool {
    let Some(address) = bound(context.skb.skb) else {
        return false;
    };
    let own = Peer {
        address,
        port: packet.own_port,
        protocol: packet.peer.protocol,
        reserved: 0,
    };
    peers::of_any_program(label, &own, true)
}

/// The address that the packet's socket is bound to.
#[inline(always)]
fn bound(skb: *const __sk_buff) -> Option<[u8; 16]> {
    let sock = socket(skb)?;
    // SAFETY (throughout): fields of the socket, each read as wide as it is.
    let family = unsafe { load_field::<{ offset_of!(bpf_sock, family) }, _>(sock) };
    if family == 2 {
        let word = unsafe { load_field::<{ offset_of!(bpf_sock, src_ip4) }, _>(sock) };
        return Some(mapped(word.to_ne_bytes()));
    }
    const SIX: usize = offset_of!(bpf_sock, src_ip6);
    Some(unsafe { load_four::<SIX, { SIX + 4 }, { SIX + 8 }, { SIX + 12 }, _>(sock) })
}

/// The packet's socket.
#[inline(always)]
pub fn socket(skb: *const __sk_buff) -> Option<*mut bpf_sock> {
    // SAFETY: a field of the program's context, which may be null.
    let sock: *mut bpf_sock = unsafe { (*skb).__bindgen_anon_2.sk };
    if sock.is_null() {
        return None;
    }
    // SAFETY: not null.
    let sock = unsafe { bpf_sk_fullsock(sock) };
    (!sock.is_null()).then_some(sock)
}

#[inline(always)]
pub fn is_to_resolver(label: Label, peer: &Peer) -> bool {
    peers::has_ports(peer.protocol)
        && cgroup::is_resolver(&peers::resolver(label), peer)
}

/// `struct iphdr` (include/uapi/linux/ip.h), read at once: each call that reads takes longer than what it reads.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header4 {
    before: [u8; 6],
    fragment: [u8; 2],
    time_to_live: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    target: [u8; 4],
}

/// `struct tcphdr` behind its ports (include/uapi/linux/tcp.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    sequence: [u8; 4],
    acknowledged: [u8; 4],
    length: u8,
    flags: u8,
}

/// Reads the headers. The data of these programs begins with that of the network layer.
#[inline(always)]
pub fn packet(context: &SkBuffContext, way: Way) -> Result<Packet, Unknown> {
    let first = load::<u8>(context, 0)?;
    match first >> 4 {
        4 => packet4(context, way, u32::from(first & 15) * 4),
        6 => packet6(context, way),
        _ => Err(Unknown),
    }
}

#[inline(always)]
fn packet4(context: &SkBuffContext, way: Way, length: u32) -> Result<Packet, Unknown> {
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    let header = load::<Header4>(context, 0)?;
    if u16::from_be_bytes(header.fragment) & FRAGMENT_OFFSET != 0 || length < 20 {
        return Err(Unknown);
    }
    let protocol = header.protocol;
    let address = mapped(if way == Way::Out { header.target } else { header.source });
    let peer = Peer { address, port: 0, protocol, reserved: 0 };
    with_ports(context, way, length, peer)
}

#[inline(always)]
fn packet6(context: &SkBuffContext, way: Way) -> Result<Packet, Unknown> {
    let mut next = load::<u8>(context, 6)?;
    let at = if way == Way::Out { 24 } else { 8 };
    let address = load::<[u8; 16]>(context, at)?;
    let mut length = 40;
    let mut headers = 0;
    while headers < MOST_HEADERS && matches!(next, HOP_BY_HOP | DESTINATION_OPTIONS) {
        let [following, eights] = load::<[u8; 2]>(context, length)?;
        next = following;
        length += (u32::from(eights) + 1) * 8;
        headers += 1;
    }
    let peer = Peer { address, port: 0, protocol: next, reserved: 0 };
    with_ports(context, way, length, peer)
}

#[inline(always)]
fn with_ports(
    context: &SkBuffContext,
    way: Way,
    at: u32,
    mut peer: Peer,
) -> Result<Packet, Unknown> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    const URG: u8 = 32;
    match peer.protocol {
        TCP | UDP => {}
        ICMP | ICMP6 => return Ok(Packet::of(peer, 0, at)),
        _ => return Err(Unknown),
    }
    let [a, b, c, d] = load::<[u8; 4]>(context, at)?;
    let (source, target) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let own_port = if way == Way::Out {
        peer.port = target;
        source
    } else {
        peer.port = source;
        target
    };
    if peer.protocol == UDP {
        return Ok(Packet::of(peer, own_port, at + 8));
    }
    let Header { sequence, length, flags, .. } = load::<Header>(context, at + 4)?;
    let data = at + u32::from(length >> 4) * 4;
    Ok(Packet {
        opens: flags & (SYN | ACK) == SYN,
        accepts: flags & (SYN | ACK) == SYN | ACK,
        is_urgent: flags & URG != 0,
        sequence: u32::from_be_bytes(sequence),
        ..Packet::of(peer, own_port, data)
    })
}

#[inline(always)]
fn load<T: Copy>(context: &SkBuffContext, at: u32) -> Result<T, Unknown> {
    context.skb.load::<T>(at as usize).map_err(|_| Unknown)
}
