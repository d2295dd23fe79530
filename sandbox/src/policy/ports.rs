//! What a network policy comes to for an engine that sees protocols and ports, and neither addresses nor names.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use ringfence_abi::network::{ALLOW, CONNECT, ICMP, ICMP6, LISTEN, NAME, TCP, UDP};

use super::NetworkPolicy;
use super::automaton::alphabet;

/// Bytes of an address in a question.
const ADDRESS: usize = 16;

/// The ports of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortView {
    /// Of peers, by TCP.
    pub connect: PortSet,
    /// Of one's own, by TCP.
    pub listen: PortSet,
    /// The first port that is open by UDP and not by TCP, to reach or to bind.
    pub datagrams_alone: Option<u16>,
    /// Whether some port is open by UDP at all, to reach or to bind. Port 0 does not count: nothing is delivered there.
    pub datagrams: bool,
    /// Whether peers are reached by ICMP.
    pub echo: bool,
}

/// TCP ports that some rule opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    /// All of them, in order.
    pub ports: Vec<u16>,
    /// The first one that is open for some addresses or names and not for every address.
    pub narrower: Option<u16>,
}

/// Where a port is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Nowhere,
    Somewhere,
    Everywhere,
}

impl PortSet {
    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.ports.binary_search(&port).is_ok()
    }

    /// Whether every port that a packet can have is one of them.
    #[must_use]
    pub fn is_every(&self) -> bool {
        self.ports.len() - usize::from(self.contains(0)) == usize::from(u16::MAX)
    }

    fn new(opened: &[Opening]) -> Self {
        let is = |wanted: &dyn Fn(Opening) -> bool| {
            let ports = (0..=u16::MAX).zip(opened);
            ports
                .filter_map(|(port, open)| wanted(*open).then_some(port))
                .collect::<Vec<_>>()
        };
        Self {
            ports: is(&|open| open != Opening::Nowhere),
            narrower: is(&|open| open == Opening::Somewhere).first().copied(),
        }
    }
}

impl NetworkPolicy {
    /// The policy as ports alone.
    #[must_use]
    pub fn ports(&self) -> PortView {
        let names = self.after_any_name();
        let peers = self.after_any_address(CONNECT);
        let own = self.after_any_address(LISTEN);
        let of =
            |addresses, names, protocol| PortSet::new(&self.opened(addresses, names, protocol));
        let nameless = BTreeSet::new();
        let connect = of(&peers, &names, TCP);
        let listen = of(&own, &nameless, TCP);
        let mut reached = of(&peers, &names, UDP).ports;
        reached.retain(|&port| port != 0);
        let bound = of(&own, &nameless, UDP).ports;
        let echo = |protocol| {
            let opened = self.opened(&peers, &names, protocol);
            opened.iter().any(|&open| open != Opening::Nowhere)
        };
        let alone = |ports: &[u16], beside: &PortSet| {
            let mut ports = ports.iter().copied();
            ports.find(|&port| !beside.contains(port))
        };
        PortView {
            datagrams: !reached.is_empty() || !bound.is_empty(),
            datagrams_alone: alone(&reached, &connect).or_else(|| alone(&bound, &listen)),
            echo: echo(ICMP) || echo(ICMP6),
            connect,
            listen,
        }
    }

    /// The states of questions of this kind after an address, whichever it is.
    fn after_any_address(&self, kind: u8) -> BTreeSet<u32> {
        let mut states = BTreeSet::from([self.automaton.state(&[kind])]);
        for _ in 0..ADDRESS {
            states = self.after(&states, 0..=255);
        }
        states
    }

    /// The states of questions about names after the NUL that ends one.
    fn after_any_name(&self) -> BTreeSet<u32> {
        let mut seen = BTreeSet::from([self.automaton.state(&[NAME])]);
        let mut open = seen.clone();
        while !open.is_empty() {
            let next = self.after(&open, 1..=255);
            open = next.difference(&seen).copied().collect();
            seen.extend(&open);
        }
        self.after(&seen, 0..=0)
    }

    fn after(&self, states: &BTreeSet<u32>, bytes: std::ops::RangeInclusive<u8>) -> BTreeSet<u32> {
        let classes = |byte: u8| (self.automaton.classes[usize::from(byte)], 0);
        let mut bytes_of_classes = alphabet(*bytes.start(), classes);
        bytes_of_classes.retain(|byte| bytes.contains(byte));
        let from = |&state: &u32| {
            let next = bytes_of_classes.iter();
            next.map(move |&byte| self.automaton.step(state, &[byte]))
        };
        states.iter().flat_map(from).collect()
    }

    /// Where each port is open, from the states in which protocol and port follow.
    fn opened(
        &self,
        addresses: &BTreeSet<u32>,
        names: &BTreeSet<u32>,
        protocol: u8,
    ) -> Vec<Opening> {
        let step = |states: &BTreeSet<u32>, byte: u8| -> BTreeSet<u32> {
            let states = states.iter();
            states
                .map(|&state| self.automaton.step(state, &[byte]))
                .collect()
        };
        let (addresses, names) = (step(addresses, protocol), step(names, protocol));
        // Most high bytes lead to the same states.
        let mut known: HashMap<_, Rc<[Opening]>> = HashMap::new();
        let mut opened = Vec::with_capacity(usize::from(u16::MAX) + 1);
        for high in 0..=255 {
            let states = (step(&addresses, high), step(&names, high));
            let low = known
                .entry(states)
                .or_insert_with_key(|(addresses, names)| {
                    (0..=255)
                        .map(|low| self.open(&step(addresses, low), &step(names, low)))
                        .collect()
                });
            opened.extend_from_slice(low);
        }
        opened
    }

    fn open(&self, addresses: &BTreeSet<u32>, names: &BTreeSet<u32>) -> Opening {
        let allows = |state: &u32| self.automaton.accept(*state) & ALLOW != 0;
        match () {
            () if addresses.iter().all(allows) => Opening::Everywhere,
            () if addresses.iter().chain(names).any(allows) => Opening::Somewhere,
            () => Opening::Nowhere,
        }
    }
}
