//! The network as the engines get it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfence_abi::automaton::DEAD;
use ringfence_abi::network::{
    ABSTRACT, ALLOW, CONNECT, LISTEN, NAME, UNIX, address_question, port_question,
};
use serde::{Deserialize, Serialize};

use super::{Automaton, Mode};

/// Which peers are reached, which addresses are bound, which Unix sockets are opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// What a denial does.
    pub mode: Mode,
    /// Peer to answer: asked as [`ringfence_abi::network`] says.
    pub automaton: Automaton,
    /// Whether some rule is about an address or a host: without one, no socket but Unix sockets is made.
    pub reaches: bool,
    /// Whether some rule is about a host name: then the fence has a resolver of its own.
    pub names: bool,
    /// Whether the name that a TLS client asks for is compared with the rule.
    pub sni: Sni,
}

/// Whether the name that a TLS client asks for (server name indication, RFC 6066) is compared with the rules about
/// names, so that an address that many names share does not open all of them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Sni {
    /// A connection to a name begins with a TLS greeting that says an allowed name, or is ended.
    Required,
    /// A TLS greeting that says a name has to say an allowed one.
    #[default]
    IfPresent,
    /// It is not looked at.
    Off,
}

/// What is asked of the network policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkQuestion<'a> {
    /// Whether this peer may be reached by its address.
    Connect {
        /// Its address.
        address: IpAddr,
        /// The protocol, as in [`ringfence_abi::network::TCP`].
        protocol: u8,
        /// Its port.
        port: u16,
    },
    /// Whether this address may be bound.
    Listen {
        /// The address.
        address: IpAddr,
        /// The protocol.
        protocol: u8,
        /// The port; 0 is one that the kernel chooses.
        port: u16,
    },
    /// Whether an address that this name led to may be reached.
    Name {
        /// In lower case, without a final dot.
        name: &'a str,
        /// The protocol.
        protocol: u8,
        /// The port.
        port: u16,
    },
    /// Whether the Unix socket at this path may be reached.
    Socket(&'a [u8]),
    /// Whether the Unix socket with this abstract name may be reached.
    Abstract(&'a [u8]),
}

impl NetworkQuestion<'_> {
    /// As the automaton is asked: [`ringfence_abi::network`].
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Connect {
                address,
                protocol,
                port,
            } => address_question(CONNECT, mapped(address), protocol, port).to_vec(),
            Self::Listen {
                address,
                protocol,
                port,
            } => address_question(LISTEN, mapped(address), protocol, port).to_vec(),
            Self::Name {
                name,
                protocol,
                port,
            } => [&name_question(name)[..], &port_question(protocol, port)].concat(),
            Self::Socket(path) => [&[UNIX], path].concat(),
            Self::Abstract(name) => [&[ABSTRACT], name].concat(),
        }
    }
}

/// The address that the kernel takes an unspecified peer for: see [`ringfence_abi::network::reached`].
#[must_use]
pub fn reached(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// `address` as questions have it.
#[must_use]
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What comes before protocol and port in a question about `name`.
fn name_question(name: &str) -> Vec<u8> {
    [&[NAME], name.as_bytes(), &[0]].concat()
}

impl Sni {
    /// The word that profiles and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::IfPresent => "if-present",
            Self::Off => "off",
        }
    }
}

impl NetworkPolicy {
    /// No network: only what a Unix socket reaches.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The section is off: sockets are not restricted.
    #[must_use]
    pub fn off() -> Self {
        Self {
            mode: Mode::Off,
            ..Self::default()
        }
    }

    /// The answer: [`ALLOW`], [`ringfence_abi::network::DENY`] or neither.
    #[must_use]
    pub fn answer(&self, question: &NetworkQuestion<'_>) -> u8 {
        self.automaton
            .accept(self.automaton.state(&question.bytes()))
    }

    /// The state that stands for the ports which `name`, in lower case and without a final dot, opens; [`DEAD`] if it opens
    /// none.
    #[must_use]
    pub fn name_state(&self, name: &str) -> u32 {
        let state = self.automaton.state(&name_question(name));
        let ports = port_question(0, 0).len();
        if self.automaton.leads_to(state, ALLOW, ports) {
            state
        } else {
            DEAD
        }
    }

    /// Whether a rule about addresses allows to reach some port of `address`.
    #[must_use]
    pub fn reaches_address(&self, address: IpAddr) -> bool {
        let question = address_question(CONNECT, mapped(address), 0, 0);
        let ports = port_question(0, 0).len();
        let beginning = &question[..question.len() - ports];
        let state = self.automaton.state(beginning);
        self.automaton.leads_to(state, ALLOW, ports)
    }

    /// Whether some rule allows to reach a Unix socket.
    #[must_use]
    pub fn reaches_unix(&self) -> bool {
        [UNIX, ABSTRACT].iter().any(|&kind| {
            let state = self.automaton.state(&[kind]);
            self.automaton.leads_anywhere_to(state, ALLOW)
        })
    }

    /// Whether sockets are not restricted.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.mode == Mode::Off
    }
}
