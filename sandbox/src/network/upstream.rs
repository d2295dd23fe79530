//! The servers that the host itself asks: addresses of a name, aliases followed.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::message::PAYLOAD;

/// How long one server is waited for; glibc waits 5 seconds (resolv.conf(5)), and gives up before us if we wait as long.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// Servers of the file that count, as for glibc (MAXNS).
const MOST_SERVERS: usize = 3;
/// Aliases in a row that are followed.
const MOST_ALIASES: usize = 16;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The servers of this file, usually `/etc/resolv.conf`, as it is when a name is asked for. A local stub among them is asked
    /// like any other: it knows which network answers for which names.
    File(PathBuf),
    /// These.
    Servers(Vec<SocketAddr>),
}

/// What a name leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// Seconds that all of it lives.
    pub(super) ttl: u32,
    /// Whether there is such a name at all.
    pub(super) exists: bool,
}

impl Upstream {
    /// The addresses of `name` of one family, an error being a sentence.
    pub(super) fn addresses(&self, name: &str, kind: RecordType) -> Result<Found, String> {
        let mut target = Name::from_ascii(name).map_err(|error| error.to_string())?;
        target.set_fqdn(true);
        let mut found = Found {
            addresses: Vec::new(),
            ttl: u32::MAX,
            exists: true,
        };
        let mut aliases = 0;
        loop {
            let reply = self.ask(&target, kind)?;
            let asked = target.clone();
            follow(&reply, kind, &mut target, &mut found, &mut aliases)?;
            if reply.metadata.response_code == ResponseCode::NXDomain {
                found.exists = false;
            }
            // A server that does not follow aliases itself ends with one.
            if !found.addresses.is_empty() || !found.exists || target == asked {
                return Ok(found);
            }
        }
    }

    /// The servers that a text of the form of `/etc/resolv.conf` names.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::Servers(servers(text))
    }

    fn servers(&self) -> Result<Vec<SocketAddr>, String> {
        match self {
            Self::Servers(servers) => Ok(servers.clone()),
            Self::File(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Ok(servers(&text))
            }
        }
    }

    /// The first sound reply of any server.
    fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, String> {
        let mut trouble = "there is no name server".to_owned();
        let servers = self.servers()?;
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            match ask_one(*server, name, kind) {
                Ok(reply) => match reply.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Ok(reply),
                    code => trouble = format!("{server} answered: {code}"),
                },
                Err(error) => trouble = format!("{server}: {error}"),
            }
        }
        Err(trouble)
    }
}

/// The `nameserver` lines; without any it is the host itself, as for glibc (resolv.conf(5)).
fn servers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    let servers: Vec<_> = lines.filter_map(address).take(MOST_SERVERS).collect();
    if servers.is_empty() {
        return vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))];
    }
    servers
}

/// An address, whose zone is a number if it has one: names of interfaces are not looked up.
fn address(word: &str) -> Option<SocketAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(SocketAddr::from((address, 53)));
    }
    let (address, zone) = word.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let index = fs::read_to_string(format!("/sys/class/net/{}/ifindex", zone.replace('/', "")));
    let index = zone.parse().ok().or(index.ok()?.trim().parse().ok())?;
    Some(std::net::SocketAddrV6::new(address, 53, 0, index).into())
}

/// Takes the addresses of `target` out of `reply`, going from alias to alias. Records of other names do not count, whatever
/// they say.
pub(super) fn follow(
    reply: &Message,
    kind: RecordType,
    target: &mut Name,
    found: &mut Found,
    aliases: &mut usize,
) -> Result<(), String> {
    loop {
        let own = || {
            let records = reply.answers.iter();
            records.filter(|record| record.dns_class == DNSClass::IN && record.name == *target)
        };
        for record in own().filter(|record| record.record_type() == kind) {
            let address = match &record.data {
                RData::A(address) => IpAddr::V4(address.0),
                RData::AAAA(address) => IpAddr::V6(address.0),
                _ => continue,
            };
            found.ttl = found.ttl.min(record.ttl);
            found.addresses.push(address);
        }
        if !found.addresses.is_empty() {
            return Ok(());
        }
        let alias = own().find_map(|record| match &record.data {
            RData::CNAME(alias) => Some((alias.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((alias, ttl)) = alias else {
            return Ok(());
        };
        *aliases += 1;
        if *aliases > MOST_ALIASES {
            return Err(format!("more than {MOST_ALIASES} aliases in a row"));
        }
        found.ttl = found.ttl.min(ttl);
        *target = alias;
    }
}

/// One question to one server, by TCP if it does not fit into a datagram.
fn ask_one(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    // The identifier is random, and so is the port of a socket that the kernel binds.
    let mut request = Message::query();
    request.metadata.recursion_desired = true;
    request.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    request.set_edns(edns);
    let bytes = request.to_vec().map_err(io::Error::other)?;
    let reply = by_udp(server, &request, &bytes)?;
    if reply.metadata.truncation {
        return by_tcp(server, &request, &bytes);
    }
    Ok(reply)
}

fn by_udp(server: SocketAddr, request: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // What comes from elsewhere does not arrive.
    socket.connect(server)?;
    socket.send(bytes)?;
    let end = Instant::now() + TIMEOUT;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        match Message::from_vec(&buffer[..length]) {
            Ok(reply) if answers(&reply, request) => return Ok(reply),
            _ => {}
        }
    }
}

fn by_tcp(server: SocketAddr, request: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write_message(&mut stream, bytes)?;
    let reply = read_message(&mut stream)?;
    Message::from_vec(&reply)
        .ok()
        .filter(|reply| answers(reply, request))
        .ok_or_else(|| io::Error::other("the reply is none"))
}

/// Writes a message with its length before it (RFC 1035, section 4.2.2).
pub(super) fn write_message(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())
}

/// Reads a message with its length before it.
pub(super) fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Whether `reply` is one to `request`.
fn answers(reply: &Message, request: &Message) -> bool {
    reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == request.metadata.id
        && reply.queries == request.queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_of_the_file_in_order() {
        let text = "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.1\nnameserver 2001:db8::1 # two\nnameserver x\n";
        let expected: Vec<SocketAddr> = vec![
            "192.0.2.1:53".parse().unwrap(),
            "[2001:db8::1]:53".parse().unwrap(),
        ];
        assert_eq!(servers(text), expected);
        assert_eq!(servers(""), ["127.0.0.1:53".parse().unwrap()]);
    }
}
