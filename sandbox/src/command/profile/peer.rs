//! A peer as `profile test` is asked about it: one host, one port.

use std::net::IpAddr;

use ringfence_abi::network::{ICMP, ICMP6, TCP, UDP};

use super::Error;
use crate::policy::NetworkQuestion;

/// One host and one port.
pub(super) struct Asked {
    text: String,
    host: Host,
    protocol: u8,
    port: u16,
}

enum Host {
    Address(IpAddr),
    Name(String),
}

impl Asked {
    /// `[tcp://|udp://|icmp://]HOST[:PORT]`; without a protocol it is TCP.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |message| Error::Peer {
            text: text.to_owned(),
            message,
        };
        let (protocol, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let (host, port) = match (protocol, rest.rsplit_once(':')) {
            ("icmp", _) => (rest, 0),
            (_, Some((host, port))) => {
                let port = port.parse().ok();
                (host, port.ok_or_else(|| wrong("the port is a number"))?)
            }
            _ => return Err(wrong("it needs a port, as in `example.com:443`")),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse() {
            Ok(address) => Host::Address(address),
            Err(_) if bare.is_empty() || bare.contains(['*', '/', ':']) => {
                return Err(wrong("one name or one address is asked about"));
            }
            Err(_) => Host::Name(bare.trim_end_matches('.').to_lowercase()),
        };
        let protocol = match (protocol, &host) {
            ("tcp", _) => TCP,
            ("udp", _) => UDP,
            ("icmp", Host::Address(IpAddr::V6(_))) => ICMP6,
            ("icmp", _) => ICMP,
            _ => return Err(wrong("the protocol is `tcp`, `udp` or `icmp`")),
        };
        Ok(Self {
            text: text.to_owned(),
            host,
            protocol,
            port,
        })
    }

    /// Whether it may be reached.
    pub(super) fn connect(&self) -> NetworkQuestion<'_> {
        let (protocol, port) = (self.protocol, self.port);
        match &self.host {
            Host::Address(address) => NetworkQuestion::Connect {
                address: *address,
                protocol,
                port,
            },
            Host::Name(name) => NetworkQuestion::Name {
                name,
                protocol,
                port,
            },
        }
    }

    /// Whether it may be bound.
    pub(super) fn listen(&self) -> Result<NetworkQuestion<'_>, Error> {
        match self.host {
            Host::Address(address) => Ok(NetworkQuestion::Listen {
                address,
                protocol: self.protocol,
                port: self.port,
            }),
            Host::Name(_) => Err(Error::Peer {
                text: self.text.clone(),
                message: "one listens at an address, not at a name",
            }),
        }
    }
}
