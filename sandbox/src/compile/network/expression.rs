//! Rules about the network as regular expressions over the bytes of [`ringfence_abi::network`].
//!
//! Rules that differ in their hosts alone become one expression, whose hosts share prefixes in the library's trie, and whose
//! ports are there once: a thousand names with port 443 stay as small as their text.

use std::collections::BTreeMap;

use ipnet::IpNet;
use regex_syntax::hir::Hir;
use ringfence_abi::network::{
    ABSTRACT, ALLOW, CONNECT, DENY, ICMP, ICMP6, LISTEN, NAME, TCP, UDP, UNIX,
};

use super::super::determinise::Mark;
use super::super::glob::{below, class, repeat};
use super::{BoundNetwork, Meaning};
use crate::policy::mapped;
use crate::profile::{Host, NamePattern, NetworkRight, Peer, Ports, Transport};

/// Bits of the prefix under which IPv6 holds the addresses of IPv4: `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// What comes behind hosts.
type Tail = (Transport, Ports, bool);

/// Hosts by what comes before and behind them.
#[derive(Default)]
struct Hosts {
    /// By answer and [`CONNECT`] or [`LISTEN`].
    addresses: BTreeMap<(u8, u8, Tail), Vec<Hir>>,
    names: BTreeMap<(u8, Prefix, Tail), Vec<Hir>>,
    /// By answer and [`UNIX`] or [`ABSTRACT`].
    sockets: BTreeMap<(u8, u8), Vec<Hir>>,
}

/// What a name pattern begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Prefix {
    Nothing,
    OneLabel,
    AnyLabels,
}

/// The expressions of `rules`, each with its answer.
pub(super) fn expressions(rules: &[&BoundNetwork]) -> Vec<(Mark, Hir)> {
    let mut hosts = Hosts::default();
    for bound in rules {
        hosts.add(bound);
    }
    let addresses = hosts
        .addresses
        .into_iter()
        .map(|((answer, kind, tail), hosts)| {
            let parts = vec![byte(kind), Hir::alternation(hosts), tail_hir(&tail)];
            (answer, parts)
        });
    let names = hosts
        .names
        .into_iter()
        .map(|((answer, prefix, tail), names)| {
            let names = Hir::alternation(names);
            let parts = vec![
                byte(NAME),
                prefix.expression(),
                names,
                byte(0),
                tail_hir(&tail),
            ];
            (answer, parts)
        });
    let sockets = hosts
        .sockets
        .into_iter()
        .map(|((answer, kind), sockets)| (answer, vec![byte(kind), Hir::alternation(sockets)]));
    addresses
        .chain(names)
        .chain(sockets)
        .map(|(answer, parts)| (Mark::Answer(answer), Hir::concat(parts)))
        .collect()
}

impl Hosts {
    fn add(&mut self, bound: &BoundNetwork) {
        let right = bound.rule.right;
        let answer = match right {
            NetworkRight::Deny => DENY,
            _ => ALLOW,
        };
        match &bound.meaning {
            Meaning::Peer(peer) => self.add_peer(answer, right, peer),
            Meaning::Socket(socket) => {
                let list = self.sockets.entry((answer, UNIX)).or_default();
                list.extend(socket.covers.iter().map(|cover| {
                    let glob = &cover.glob;
                    let tail = if glob.subtree { below() } else { Hir::empty() };
                    Hir::concat(vec![glob.head(), tail])
                }));
            }
            Meaning::Abstract(names) => {
                let list = self.sockets.entry((answer, ABSTRACT)).or_default();
                list.extend(names.iter().map(|name| name.expression.clone()));
            }
        }
    }

    fn add_peer(&mut self, answer: u8, right: NetworkRight, peer: &Peer) {
        let tail = (peer.transport, peer.ports.clone(), peer.opens_lookup(right));
        let kinds: &[u8] = match right {
            NetworkRight::Connect => &[CONNECT],
            NetworkRight::Listen => &[LISTEN],
            NetworkRight::Unix => &[],
            NetworkRight::Deny => &[CONNECT, LISTEN],
        };
        for &kind in kinds {
            let networks = match &peer.host {
                Host::Any => vec![any_bytes(16)],
                Host::Net(net) => network(*net),
                Host::Name(_) => continue,
            };
            let list = self.addresses.entry((answer, kind, tail.clone()));
            list.or_default().extend(networks);
        }
        let (prefix, name) = match &peer.host {
            _ if right == NetworkRight::Listen => return,
            Host::Any => (Prefix::Nothing, repeat(class(&[(1, 255)]), 0, None)),
            Host::Net(_) => return,
            Host::Name(pattern) => name(pattern),
        };
        let list = self.names.entry((answer, prefix, tail));
        list.or_default().push(name);
    }
}

impl Prefix {
    fn expression(self) -> Hir {
        let labels = |min, max| {
            let label = repeat(label_byte(), 1, None);
            repeat(Hir::concat(vec![label, byte(b'.')]), min, max)
        };
        match self {
            Self::Nothing => Hir::empty(),
            Self::OneLabel => labels(1, Some(1)),
            Self::AnyLabels => labels(0, None),
        }
    }
}

/// What `pattern` begins with, and the rest of it.
fn name(pattern: &NamePattern) -> (Prefix, Hir) {
    let (prefix, labels) = match &pattern.labels[..] {
        labels if pattern.any_labels => (Prefix::AnyLabels, labels),
        [first, labels @ ..] if first == "*" => (Prefix::OneLabel, labels),
        labels => (Prefix::Nothing, labels),
    };
    if labels.iter().all(|label| !label.contains('*')) {
        return (prefix, Hir::literal(labels.join(".").into_bytes()));
    }
    let mut parts = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            parts.push(byte(b'.'));
        }
        if label == "*" {
            parts.push(repeat(label_byte(), 1, None));
            continue;
        }
        for (index, text) in label.split('*').enumerate() {
            if index > 0 {
                parts.push(repeat(label_byte(), 0, None));
            }
            parts.push(Hir::literal(text.as_bytes().to_vec()));
        }
    }
    (prefix, Hir::concat(parts))
}

/// The addresses of `net`. A network of IPv6 that lies around the addresses of IPv4 becomes those around them.
fn network(net: IpNet) -> Vec<Hir> {
    let bytes = mapped(net.network());
    let length = match net {
        IpNet::V4(net) => MAPPED_BITS + net.prefix_len(),
        IpNet::V6(net) => net.prefix_len(),
    };
    let within = mapped(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let lies_around = length < MAPPED_BITS && with_prefix(within, length) == bytes;
    if !lies_around {
        return vec![prefix(bytes, length)];
    }
    (length..MAPPED_BITS)
        .map(|bit| {
            let mut beside = with_prefix(within, bit + 1);
            beside[usize::from(bit / 8)] ^= 0x80 >> (bit % 8);
            prefix(beside, bit + 1)
        })
        .collect()
}

/// The first `length` bits of `bytes`, then zeros.
fn with_prefix(bytes: [u8; 16], length: u8) -> [u8; 16] {
    let value = u128::from_be_bytes(bytes);
    let mask = u128::MAX
        .checked_shl(u32::from(128 - length))
        .unwrap_or_default();
    (value & mask).to_be_bytes()
}

/// Addresses that begin with the first `length` bits of `bytes`.
fn prefix(bytes: [u8; 16], length: u8) -> Hir {
    let (whole, bits) = (usize::from(length / 8), length % 8);
    let mut parts = vec![Hir::literal(bytes[..whole].to_vec())];
    let mut left = 16 - whole;
    if bits > 0 {
        let low = bytes[whole];
        parts.push(class(&[(low, low | (0xff >> bits))]));
        left -= 1;
    }
    parts.push(any_bytes(left));
    Hir::concat(parts)
}

/// Protocol and port.
fn tail_hir((transport, ports, lookup): &Tail) -> Hir {
    let protocols: &[(u8, u8)] = match transport {
        Transport::Every => &[(0, 255)],
        Transport::TcpAndUdp => &[(TCP, TCP), (UDP, UDP)],
        Transport::Tcp => &[(TCP, TCP)],
        Transport::Udp => &[(UDP, UDP)],
        Transport::Icmp => &[(ICMP, ICMP), (ICMP6, ICMP6)],
    };
    let ports = ports
        .ranges()
        .iter()
        .flat_map(|&(low, high)| range(low, high));
    let ports = Hir::alternation(ports.collect());
    let mut tails = vec![Hir::concat(vec![class(protocols), ports])];
    if *lookup {
        tails.push(Hir::literal([UDP, 0, 0]));
    }
    Hir::alternation(tails)
}

/// The ports `low..=high` as two bytes each.
fn range(low: u16, high: u16) -> Vec<Hir> {
    let ([low_high, low_low], [high_high, high_low]) = (low.to_be_bytes(), high.to_be_bytes());
    let block =
        |first: (u8, u8), second: (u8, u8)| Hir::concat(vec![class(&[first]), class(&[second])]);
    if low_high == high_high {
        return vec![block((low_high, low_high), (low_low, high_low))];
    }
    let mut blocks = vec![
        block((low_high, low_high), (low_low, 255)),
        block((high_high, high_high), (0, high_low)),
    ];
    if high_high - low_high > 1 {
        blocks.push(block((low_high + 1, high_high - 1), (0, 255)));
    }
    blocks
}

fn byte(byte: u8) -> Hir {
    Hir::literal([byte])
}

fn any_bytes(count: usize) -> Hir {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    repeat(class(&[(0, 255)]), count, Some(count))
}

/// A byte that may stand in a label.
fn label_byte() -> Hir {
    class(&[(1, b'.' - 1), (b'.' + 1, 255)])
}
