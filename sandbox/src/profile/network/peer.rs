//! The grammar of a peer: `[tcp://|udp://|icmp://]HOST[:PORTS]`.
//!
//! | written | means |
//! |---|---|
//! | `example.com:443` | that port of the host, by TCP and by UDP (QUIC is UDP) |
//! | `tcp://example.com:443` | by TCP alone |
//! | `10.0.0.0/8:22,80-90` | those ports of every address that begins with these 8 bits |
//! | `[2001:db8::]/32:*` | an IPv6 address stands in brackets; every port |
//! | `udp://example.com:0` | the name may be looked up; nothing is delivered at that port |
//! | `*:443` | that port of every address, and of every name |
//! | `:8080` | where addresses of one's own are meant: any of them |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use ringfence_abi::network::{ICMP, ICMP6, TCP, UDP};

use super::super::pattern::PatternFault;
use super::{NamePattern, NetworkRight};

/// Hosts, protocols and ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// By which protocols.
    pub transport: Transport,
    /// Which hosts.
    pub host: Host,
    /// Which of their ports.
    pub ports: Ports,
}

/// Which protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Every protocol: only a deny rule says so.
    Every,
    /// TCP and UDP: what is written without a protocol.
    TcpAndUdp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo and what else ICMP has, for IPv4 and IPv6. It has no ports.
    Icmp,
}

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Every address, and every name.
    Any,
    /// The addresses of a network. One of IPv6 holds no addresses that stand for those of IPv4.
    Net(IpNet),
    /// Names.
    Name(NamePattern),
}

/// Ranges of ports, in order, none adjacent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports(Vec<(u16, u16)>);

impl Transport {
    /// Whether packets of this protocol are meant.
    #[must_use]
    pub const fn contains(self, protocol: u8) -> bool {
        match self {
            Self::Every => true,
            Self::TcpAndUdp => matches!(protocol, TCP | UDP),
            Self::Tcp => protocol == TCP,
            Self::Udp => protocol == UDP,
            Self::Icmp => matches!(protocol, ICMP | ICMP6),
        }
    }
}

impl Host {
    /// Whether `address` is meant; one that IPv6 maps counts as that of IPv4.
    #[must_use]
    pub fn covers_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Net(net) => net.contains(&address.to_canonical()),
            Self::Name(_) => false,
        }
    }

    /// Whether `name`, in lower case and without a final dot, is meant.
    #[must_use]
    pub fn covers_name(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Net(_) => false,
            Self::Name(pattern) => pattern.covers(name),
        }
    }
}

impl Ports {
    /// Every port, 0 among them.
    #[must_use]
    pub fn every() -> Self {
        Self(vec![(0, u16::MAX)])
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&port))
    }

    fn new(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match joined.last_mut() {
                Some((_, before)) if u32::from(low) <= u32::from(*before) + 1 => {
                    *before = high.max(*before);
                }
                _ => joined.push((low, high)),
            }
        }
        Self(joined)
    }
}

impl Peer {
    /// Whether packets to, or a binding of, the port `port` of its hosts by `protocol` are meant by a rule of `right`.
    ///
    /// To reach any port is to reach port 0 by UDP: nothing is delivered there, and looking up addresses connects there to
    /// find out which of them is nearest (RFC 6724, section 6).
    #[must_use]
    pub fn covers_port(&self, right: NetworkRight, protocol: u8, port: u16) -> bool {
        let looks_up = self.opens_lookup(right) && protocol == UDP && port == 0;
        looks_up || (self.transport.contains(protocol) && self.ports.contains(port))
    }

    /// Whether port 0 is meant by UDP although it is not written.
    #[must_use]
    pub fn opens_lookup(&self, right: NetworkRight) -> bool {
        right == NetworkRight::Connect && self.transport != Transport::Icmp
    }

    /// The peer that `text` says in the list of `right`.
    pub(super) fn parse(right: NetworkRight, text: &str) -> Result<Self, PatternFault> {
        let reader = Reader { right, text };
        if text.is_empty() {
            return Err(reader.fault(
                0..0,
                "the rule is empty",
                "write a peer, as in `example.com:443`",
            ));
        }
        let (transport, at) = reader.transport()?;
        let (host, ports_at) = reader.host(at)?;
        let (transport, ports) = reader.ports(transport, ports_at)?;
        Ok(Self {
            transport,
            host,
            ports,
        })
    }
}

/// Reads one rule's text.
struct Reader<'a> {
    right: NetworkRight,
    text: &'a str,
}

impl Reader<'_> {
    fn fault(&self, at: Range<usize>, message: &str, help: &str) -> PatternFault {
        PatternFault {
            at,
            message: message.to_owned(),
            help: Some(help.to_owned()),
        }
    }

    /// The protocol, if one is written, and where the host begins.
    fn transport(&self) -> Result<(Option<Transport>, usize), PatternFault> {
        let Some(end) = self.text.find("://") else {
            return Ok((None, 0));
        };
        let transport = match &self.text[..end] {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "icmp" => Transport::Icmp,
            other => {
                let rest = self.text[end + 3..]
                    .split(['/', ':'])
                    .next()
                    .unwrap_or_default();
                let help = match other {
                    "https" | "wss" => format!("write `{rest}:443`"),
                    "http" | "ws" => format!("write `{rest}:80`"),
                    "ssh" | "git+ssh" | "sftp" => format!("write `{rest}:22`"),
                    _ => "write `tcp://`, `udp://`, `icmp://`, or none for TCP and UDP".to_owned(),
                };
                let message = format!("`{}` is no protocol of a peer", other.escape_debug());
                return Err(self.fault(0..end + 3, &message, &help));
            }
        };
        Ok((Some(transport), end + 3))
    }

    /// The host that begins at `at`, and where what follows it begins.
    fn host(&self, at: usize) -> Result<(Host, usize), PatternFault> {
        let rest = &self.text[at..];
        if rest.starts_with('[') {
            return self.bracketed(at);
        }
        let end = at + rest.find(':').unwrap_or(rest.len());
        let written = &self.text[at..end];
        let whole = at..self.text.len();
        if self.text[end..].matches(':').count() > 1 {
            return Err(self.fault(
                whole,
                "an IPv6 address stands in brackets",
                "write it as in `[2001:db8::1]:443`",
            ));
        }
        let host = match written {
            "*" => Host::Any,
            "" if self.right == NetworkRight::Listen => Host::Any,
            "" => {
                return Err(self.fault(
                    whole,
                    "the rule has no host",
                    "write a name or an address; `*` is every host",
                ));
            }
            _ => self.plain(at..end)?,
        };
        Ok((host, end))
    }

    /// A host without brackets.
    fn plain(&self, at: Range<usize>) -> Result<Host, PatternFault> {
        let written = &self.text[at.clone()];
        let address = written.split('/').next().unwrap_or(written);
        let looks_like_an_address = address
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()));
        if looks_like_an_address {
            let Ok(address) = address.parse::<Ipv4Addr>() else {
                let message = format!("`{}` is no IPv4 address", address.escape_debug());
                return Err(self.fault(
                    at,
                    &message,
                    "write four numbers up to 255, as in `192.0.2.1`",
                ));
            };
            return self.net(IpAddr::V4(address), &written[address_length(written)..], at);
        }
        if written.contains('/') {
            return Err(self.fault(
                at,
                "a host name has no `/`: a rule is about a host and its ports, whatever is asked there",
                "write `example.com:443`",
            ));
        }
        if self.right == NetworkRight::Listen {
            return Err(self.fault(
                at,
                "one listens at an address, not at a name",
                "write `127.0.0.1:8080` and `[::1]:8080`, or `:8080` for any address",
            ));
        }
        Ok(Host::Name(NamePattern::parse(written, at.start)?))
    }

    /// `[address]`, and perhaps `/length`, from `at`.
    fn bracketed(&self, at: usize) -> Result<(Host, usize), PatternFault> {
        let rest = &self.text[at..];
        let Some(close) = rest.find(']') else {
            return Err(self.fault(at..at + 1, "`[` is not closed", "close it with `]`"));
        };
        let written = &rest[1..close];
        let end = at
            + rest[close..]
                .find(':')
                .map_or(rest.len(), |colon| close + colon);
        let place = at..end;
        let Ok(address) = written.parse::<Ipv6Addr>() else {
            let message = format!("`{}` is no IPv6 address", written.escape_debug());
            return Err(self.fault(
                place,
                &message,
                "write it as in `[2001:db8::1]`, without a zone",
            ));
        };
        let length = &self.text[at + close + 1..end];
        Ok((self.net(IpAddr::V6(address), length, place)?, end))
    }

    /// The network of `address` with the `/length` that may follow it.
    fn net(&self, address: IpAddr, length: &str, at: Range<usize>) -> Result<Host, PatternFault> {
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length.strip_prefix('/') {
            None if length.is_empty() => longest,
            digits => digits
                .and_then(|digits| digits.parse().ok())
                .filter(|length| *length <= longest)
                .ok_or_else(|| {
                    let message = format!("`{}` is no length of a network", length.escape_debug());
                    self.fault(at.clone(), &message, &format!("write `/0` to `/{longest}`"))
                })?,
        };
        let net = match (address, length) {
            (IpAddr::V4(address), length) => Ipv4Net::new(address, length).map(IpNet::V4),
            // What IPv6 maps is an address of IPv4.
            (IpAddr::V6(address), 96..=128) if address.to_ipv4_mapped().is_some() => {
                let mapped = address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
                Ipv4Net::new(mapped, length - 96).map(IpNet::V4)
            }
            (IpAddr::V6(address), length) => Ipv6Net::new(address, length).map(IpNet::V6),
        };
        match net {
            Ok(net) if net.network() == net.addr() => Ok(Host::Net(net)),
            Ok(net) => {
                let first = net.trunc();
                let shown = match first {
                    IpNet::V4(net) => net.to_string(),
                    IpNet::V6(net) => format!("[{}]/{}", net.addr(), net.prefix_len()),
                };
                let message = format!("the address has bits beyond the {length} that count");
                Err(self.fault(
                    at,
                    &message,
                    &format!("write `{shown}`, or a longer length"),
                ))
            }
            // Lengths are checked above.
            Err(_) => Err(self.fault(
                at,
                "the length is no length of a network",
                "write a shorter one",
            )),
        }
    }

    /// The ports from `at`, and by which protocols.
    fn ports(
        &self,
        transport: Option<Transport>,
        at: usize,
    ) -> Result<(Transport, Ports), PatternFault> {
        let written = &self.text[at..];
        let whole = at..self.text.len();
        if transport == Some(Transport::Icmp) {
            return match written {
                "" => Ok((Transport::Icmp, Ports::every())),
                _ => Err(self.fault(whole, "ICMP has no ports", "leave them out")),
            };
        }
        let Some(list) = written.strip_prefix(':') else {
            if !written.is_empty() {
                let message = format!("`{}` does not belong there", written.escape_debug());
                return Err(self.fault(whole, &message, "write `:` and ports"));
            }
            // A deny rule that says less takes more.
            return match (self.right, transport) {
                (NetworkRight::Deny, None) => Ok((Transport::Every, Ports::every())),
                (NetworkRight::Deny, Some(transport)) => Ok((transport, Ports::every())),
                _ => Err(self.fault(
                    0..self.text.len(),
                    "the rule has no port",
                    &format!("write `{0}:443`, or `{0}:*` for every port", self.text),
                )),
            };
        };
        let transport = transport.unwrap_or(Transport::TcpAndUdp);
        if list == "*" {
            return Ok((transport, Ports::every()));
        }
        if self.right == NetworkRight::Connect && transport == Transport::Udp && list == "0" {
            return Ok((transport, Ports::new(vec![(0, 0)])));
        }
        let mut ranges = Vec::new();
        let mut start = at + 1;
        for item in list.split(',') {
            ranges.push(self.range(item, start)?);
            start += item.len() + 1;
        }
        Ok((transport, Ports::new(ranges)))
    }

    /// `443`, or `80-90`, from `at`.
    fn range(&self, item: &str, at: usize) -> Result<(u16, u16), PatternFault> {
        let place = at..at + item.len();
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| digits)
        };
        let (Some(low), Some(high)) = (number(low), number(high)) else {
            let message = format!("`{}` is no port", item.escape_debug());
            return Err(self.fault(
                place,
                &message,
                "write numbers up to 65535, as in `22,443`, `80-90`, or `*`",
            ));
        };
        if high < low {
            return Err(self.fault(place, "the range runs backwards", "swap its ends"));
        }
        if low == 0 && self.right == NetworkRight::Connect {
            return Err(self.fault(
                place,
                "nothing is reached at port 0",
                "write `*` for every port, or `udp://HOST:0` to look the name up and no more",
            ));
        }
        Ok((low, high))
    }
}

/// Where the address of `address/length` ends.
fn address_length(written: &str) -> usize {
    written.find('/').unwrap_or(written.len())
}
