//! What the network automaton is asked, as bytes: one automaton beside that of the files answers for addresses, ports,
//! host names and Unix sockets, so that the cost of an answer does not grow with the number of rules.
//!
//! ```text
//! CONNECT   address (16 bytes) protocol port (2 bytes, big endian)    may this peer be reached
//! LISTEN    address (16 bytes) protocol port                          may this address be bound for others to reach
//! NAME      lower-case host name without a final dot, NUL             -- a state, from which goes on:
//!           protocol port                                             may an address that this name led to be reached
//! UNIX      path                                                      may the socket of that path be reached
//! ABSTRACT  name, any bytes                                           may the socket of that abstract name be reached
//! ```
//!
//! An IPv4 address is written as IPv6 maps it, `::ffff:a.b.c.d`. A deny rule about addresses holds whatever name led
//! there: that is why [`DENY`] is told from the absence of [`ALLOW`].

/// First byte of a question about a peer's address.
pub const CONNECT: u8 = 1;
/// First byte of a question about an address of the fence's own.
pub const LISTEN: u8 = 2;
/// First byte of a question about a host name.
pub const NAME: u8 = 3;
/// First byte of a question about a Unix socket that has a path.
pub const UNIX: u8 = 4;
/// First byte of a question about a Unix socket that has an abstract name.
pub const ABSTRACT: u8 = 5;

/// Accepted with this: a rule allows it.
pub const ALLOW: u8 = 1;
/// Accepted with this: a rule denies it, and nothing else can allow it. Never together with [`ALLOW`].
pub const DENY: u8 = 2;

/// `IPPROTO_ICMP` of include/uapi/linux/in.h; its port is 0.
pub const ICMP: u8 = 1;
/// `IPPROTO_TCP`. `IPPROTO_MPTCP` is asked as this.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`. QUIC is this.
pub const UDP: u8 = 17;
/// `IPPROTO_ICMPV6` of include/uapi/linux/in6.h; its port is 0.
pub const ICMP6: u8 = 58;

/// A connection to a name begins with a TLS greeting that says an allowed name.
pub const SNI_REQUIRED: u8 = 0;
/// A TLS greeting that says a name says an allowed one.
pub const SNI_IF_PRESENT: u8 = 1;
/// Greetings are not looked at.
pub const SNI_OFF: u8 = 2;

/// What is the matter with a greeting, as an event's detail.
pub mod greeting {
    /// It says a name that no rule allows; the event's other path is that name.
    pub const NAME: u32 = 1;
    /// It says no name, and has to.
    pub const NAMELESS: u32 = 2;
    /// It is no TLS greeting, and has to be.
    pub const NOT_TLS: u32 = 3;
    /// It begins as one and cannot be read on.
    pub const UNREADABLE: u32 = 4;
}

/// Bytes of the longest name of a host (RFC 1035, section 2.3.4), rounded up: a greeting that says a longer one cannot be
/// read.
pub const NAME_BYTES: usize = 255;

/// Bytes of a question about an address.
pub const ADDRESS_QUESTION: usize = 20;

/// The question whether `address` may be reached or bound: `kind` is [`CONNECT`] or [`LISTEN`].
#[inline(always)]
#[must_use]
pub fn address_question(
    kind: u8,
    address: [u8; 16],
    protocol: u8,
    port: u16,
) -> [u8; ADDRESS_QUESTION] {
    let mut question = [0; ADDRESS_QUESTION];
    question[0] = kind;
    question[1..17].copy_from_slice(&address);
    question[17] = protocol;
    question[18..].copy_from_slice(&port.to_be_bytes());
    question
}

/// How a question about an IPv4 address begins, whatever the address.
#[must_use]
pub fn before_ipv4(kind: u8) -> [u8; BEFORE_IPV4] {
    let mut before = [0; BEFORE_IPV4];
    before.copy_from_slice(&address_question(kind, mapped([0; 4]), 0, 0)[..BEFORE_IPV4]);
    before
}

/// Bytes before an IPv4 address in a question.
pub const BEFORE_IPV4: usize = 1 + 12;

/// `AF_NETLINK` (include/linux/socket.h): sockets of protocols that [`is_judged`] does not name are opened by a surface.
pub const NETLINK: u32 = 16;

/// Whether there are rules about what a socket of this kind does: TCP, MPTCP, UDP, pings, and questions to the kernel
/// about addresses and routes, which the C library asks before it connects. Changing them takes a capability.
#[inline(always)]
#[must_use]
pub const fn is_judged(family: u32, kind: u32, protocol: u32) -> bool {
    // include/linux/socket.h, include/linux/net.h.
    const INET: u32 = 2;
    const INET6: u32 = 10;
    const STREAM: u32 = 1;
    const DATAGRAM: u32 = 2;
    const RAW: u32 = 3;
    if family == NETLINK {
        return (kind == RAW || kind == DATAGRAM) && protocol == 0;
    }
    if family != INET && family != INET6 {
        return false;
    }
    match kind {
        STREAM => matches!(protocol, 0 | 6 | 262),
        DATAGRAM => matches!(protocol, 0 | 1 | 17 | 58),
        _ => false,
    }
}

/// An address in two words, as records have it.
#[inline(always)]
#[must_use]
pub const fn address_halves(address: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = address;
    [
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes(rest),
    ]
}

/// The address of [`address_halves`].
#[must_use]
pub const fn address_of_halves(halves: [u64; 2]) -> [u8; 16] {
    (((halves[0] as u128) << 64) | halves[1] as u128).to_be_bytes()
}

/// Protocol and port of a record's peer.
#[inline(always)]
#[must_use]
pub const fn peer_detail(protocol: u8, port: u16) -> u32 {
    (protocol as u32) << 16 | port as u32
}

/// The protocol and port of [`peer_detail`].
#[must_use]
pub const fn peer_of_detail(detail: u32) -> (u8, u16) {
    let [_, protocol, high, low] = detail.to_be_bytes();
    (protocol, u16::from_be_bytes([high, low]))
}

/// Family, kind and protocol of a socket in a record; what does not fit is as large as it can be, which none is.
#[inline(always)]
#[must_use]
pub const fn socket_detail(family: u32, kind: u32, protocol: u32) -> u32 {
    let family = if family > 0xff { 0xff } else { family };
    let kind = if kind > 0xff { 0xff } else { kind };
    let protocol = if protocol > 0xffff { 0xffff } else { protocol };
    protocol << 16 | kind << 8 | family
}

/// Family, kind and protocol of [`socket_detail`].
#[must_use]
pub const fn socket_of_detail(detail: u32) -> (u32, u32, u32) {
    (detail & 0xff, detail >> 8 & 0xff, detail >> 16)
}

/// What follows the state of a name.
#[inline(always)]
#[must_use]
pub const fn port_question(protocol: u8, port: u16) -> [u8; 3] {
    let port = port.to_be_bytes();
    [protocol, port[0], port[1]]
}

/// Different sets of ports that the names of one address may open. A state of a minimised automaton is one such set, so
/// that more names than this may share an address; where more sets do, the resolver does not answer.
pub const STATES: usize = 8;

/// An address that a name has led to, in one of the policies of a fence.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrantKey {
    /// The policy: [`crate::policy::table`].
    pub table: u32,
    /// The address, IPv4 as IPv6 maps it.
    pub address: [u8; 16],
}

/// Whether an address is one of IPv4, as IPv6 maps it; by its words, each as it lies in memory.
#[inline(always)]
#[must_use]
pub const fn is_ipv4([a, b, c, _]: [u32; 4]) -> bool {
    a | b == 0 && c == u32::from_ne_bytes([0, 0, 0xff, 0xff])
}

/// The address that the kernel takes an unspecified peer for: it connects to the host itself (net/ipv4/route.c,
/// `ip_route_output_key_hash_rcu`; net/ipv6/tcp_ipv6.c, `tcp_v6_connect`), and so is the question asked. By its words, as [`is_ipv4`].
#[inline(always)]
#[must_use]
pub const fn reached(address: [u32; 4]) -> [u32; 4] {
    let [a, b, c, d] = address;
    if is_ipv4(address) && d == 0 {
        [a, b, c, u32::from_ne_bytes([127, 0, 0, 1])]
    } else if a | b | c | d == 0 {
        [a, b, c, u32::from_ne_bytes([0, 0, 0, 1])]
    } else {
        address
    }
}

/// An IPv4 address as IPv6 maps it: a number, which the kernel half writes by words and not byte by byte.
#[inline(always)]
#[must_use]
pub const fn mapped(address: [u8; 4]) -> [u8; 16] {
    (0xffff_0000_0000 | u32::from_be_bytes(address) as u128).to_be_bytes()
}

/// Until when it may be reached, and on which ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`) after which it counts no more.
    pub expires: u64,
    /// States of the policy's network automaton after the names; [`crate::automaton::DEAD`] where there is none.
    pub states: [u32; STATES],
}

/// A peer that a UDP socket of a fence has to do with besides what the rules say: one that a port which may be bound has
/// heard from and may answer, or one that has been sent to while a rule let it be, and so may go on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The fence.
    pub fence: u32,
    /// The peer's address, IPv4 as IPv6 maps it.
    pub peer: [u8; 16],
    /// The peer's port, host byte order.
    pub peer_port: u16,
    /// The socket's own port, host byte order.
    pub own_port: u16,
    /// [`HEARD`] or [`SENT`].
    pub kind: u32,
}

/// The peer has sent to a port that may be bound.
pub const HEARD: u32 = 1;
/// The peer has been sent to.
pub const SENT: u32 = 2;

/// What is counted together, where somebody asks for it: what a fence has to do with a peer, or what came to a port of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrafficKey {
    /// The fence.
    pub fence: u32,
    /// The peer's address, IPv4 as IPv6 maps it.
    pub address: [u8; 16],
    /// The peer's port; its own for connections that came; host byte order.
    pub port: u16,
    /// Protocol; 0 in [`TrafficKey::rest`].
    pub protocol: u8,
    /// 1 for connections that came from the peer, else 0.
    pub came: u8,
}

impl TrafficKey {
    /// What found no room of its own.
    #[inline(always)]
    #[must_use]
    pub const fn rest(fence: u32) -> Self {
        Self {
            fence,
            address: [0; 16],
            port: 0,
            protocol: 0,
            came: 0,
        }
    }
}

/// What has passed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were opened; 0 where the protocol has none.
    pub connections: u64,
    /// Bytes that left, without headers.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
}

/// Where the fence's own resolver listens, to which its name queries are sent instead of where they were going.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Its IPv4 address, network byte order, for UDP and TCP alike.
    pub address4: [u8; 4],
    /// Its IPv6 address; zero where the host has none.
    pub address6: [u8; 16],
    /// Its port, host byte order; 0 where the fence has no resolver.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 2],
}

/// The other side of a connection, or the side that is bound, as an event carries it in place of a path.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Address, IPv4 as IPv6 maps it. The kernel half reads it by words.
    pub address: [u8; 16],
    /// Port, host byte order.
    pub port: u16,
    /// Protocol: [`TCP`], [`UDP`] and so on, 255 where it fits no byte.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<GrantKey>() == 20);
const _: () = assert!(size_of::<Grant>() == 40);
const _: () = assert!(size_of::<Resolver>() == 24);
const _: () = assert!(size_of::<Peer>() == 20);
const _: () = assert!(size_of::<Flow>() == 28);
const _: () = assert!(size_of::<TrafficKey>() == 24);
const _: () = assert!(size_of::<Traffic>() == 24);
