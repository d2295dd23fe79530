//! Ports of a run: which of them are others in the next one.

use std::{collections::BTreeSet, net::IpAddr};

use ringfence_abi::network::UDP;

use super::Level;
use crate::trace::{Peer, Record, Trace};

/// Ports that the kernel chooses by default (Documentation/networking/ip-sysctl.rst, `ip_local_port_range`).
const CHOSEN: (u16, u16) = (32_768, 60_999);
/// Ports of one address that a run binds for datagrams from which on it is taken to draw them itself: browsers and resolvers do, so that
/// answers cannot be guessed.
const DRAWN: usize = 4;
/// What such a program draws from.
const DRAWN_FROM: &str = "1024-65535";

/// An address, a protocol and a port.
type Place = (IpAddr, u8, u16);

/// What is known of the ports of one run.
pub(super) struct Ports<'a> {
    trace: &'a Trace,
    /// Those that were asked for by number.
    bound: BTreeSet<Place>,
    /// Addresses at which the run draws its ports for datagrams itself.
    drawing: BTreeSet<IpAddr>,
    /// Of those that were asked for, those which the kernel is taken to have chosen before.
    handed_on: BTreeSet<Place>,
}

impl<'a> Ports<'a> {
    pub(super) fn new(trace: &'a Trace, level: Level) -> Self {
        let records = trace.records.iter().filter(|record| record.what == "bind");
        let bound: BTreeSet<_> = records
            .filter_map(|record| record.peer.as_ref())
            .map(place)
            .collect();
        let (mut drawing, mut handed_on) = (BTreeSet::new(), BTreeSet::new());
        if level != Level::Tight {
            drawing = self::drawing(&bound);
            handed_on = self::handed_on(trace, &bound);
        }
        Self {
            trace,
            bound,
            drawing,
            handed_on,
        }
    }

    /// As a rule says it of a port that was asked for.
    pub(super) fn of_bound(&self, peer: &Peer) -> String {
        if peer.protocol == UDP && peer.port >= 1024 && self.drawing.contains(&peer.address) {
            return DRAWN_FROM.to_owned();
        }
        match self.handed_on.contains(&place(peer)) {
            true => chosen(),
            false => peer.port.to_string(),
        }
    }

    /// The same of one that was listened at: 0 where the kernel chose it.
    pub(super) fn of_listening(&self, peer: &Peer) -> String {
        match self.bound.contains(&place(peer)) {
            true => self.of_bound(peer),
            false => "0".to_owned(),
        }
    }

    /// The same of one that was reached: all that the kernel may choose, if it has chosen this one for a socket of the run itself.
    pub(super) fn of_reached(&self, peer: &Peer) -> String {
        let is_chosen = is_chosen(peer.port);
        // Of datagrams nobody listens, and to bind a socket to a port that the kernel chooses is no act: there is only the call.
        if peer.protocol == UDP
            && is_chosen
            && peer.address.is_loopback()
            && called(self.trace, "bind")
        {
            return chosen();
        }
        if self.handed_on.iter().any(|handed| is_at(peer, *handed)) {
            return chosen();
        }
        let listens = self.trace.records.iter().any(|record| {
            let own = record.peer.as_ref();
            record.what == "listen"
                && own.is_some_and(|own| {
                    own.port == peer.port
                        && own.protocol == peer.protocol
                        && !self.bound.contains(&place(own))
                })
        });
        match (listens, is_chosen) {
            (false, _) => peer.port.to_string(),
            (true, true) => chosen(),
            (true, false) => DRAWN_FROM.to_owned(),
        }
    }

    /// Whether a datagram may be taken for an answer: to a port that the kernel has chosen, in a run that has bound a port for datagrams.
    /// Who has been heard at such a port may be answered without a rule.
    pub(super) fn is_answer(&self, record: &Record, peer: &Peer) -> bool {
        record.what == "send"
            && peer.names.is_empty()
            && is_chosen(peer.port)
            && self.bound.iter().any(|(_, protocol, _)| *protocol == UDP)
    }
}

fn place(peer: &Peer) -> Place {
    (peer.address, peer.protocol, peer.port)
}

fn is_chosen(port: u16) -> bool {
    (CHOSEN.0..=CHOSEN.1).contains(&port)
}

fn chosen() -> String {
    format!("{}-{}", CHOSEN.0, CHOSEN.1)
}

fn called(trace: &Trace, name: &str) -> bool {
    trace.end.system_calls.iter().any(|call| call == name)
}

fn drawing(bound: &BTreeSet<Place>) -> BTreeSet<IpAddr> {
    let ports = |address: &IpAddr| {
        let of =
            |(one, protocol, port): &&Place| one == address && *protocol == UDP && *port >= 1024;
        bound.iter().filter(of).count()
    };
    let addresses = bound.iter().map(|(address, ..)| *address);
    addresses
        .filter(|address| ports(address) >= DRAWN)
        .collect()
}

/// A test has the kernel choose a port, closes that socket, and hands the number to a server that it then reaches. Nothing tells such a
/// number from one that somebody chose for good but where it lies, and that the run has asked what port it was given.
fn handed_on(trace: &Trace, bound: &BTreeSet<Place>) -> BTreeSet<Place> {
    if !called(trace, "getsockname") {
        return BTreeSet::new();
    }
    let is_reached = |bound: &Place| {
        trace.records.iter().any(|record| {
            let reaches = record.what == "connect" || record.what == "send";
            reaches && record.peer.as_ref().is_some_and(|peer| is_at(peer, *bound))
        })
    };
    let bound = bound.iter().copied();
    bound
        .filter(|place| is_chosen(place.2) && is_reached(place))
        .collect()
}

/// Whether who reached `peer` may have reached who is bound there. By which of its own addresses is not asked.
fn is_at(peer: &Peer, (address, protocol, port): Place) -> bool {
    let is_here = peer.address.is_loopback() || peer.address.is_unspecified();
    peer.protocol == protocol && peer.port == port && (is_here || peer.address == address)
}
