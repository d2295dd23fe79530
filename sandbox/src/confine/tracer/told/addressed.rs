//! Calls that say the address of a socket: of the internet, by a path, or by an abstract name.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;

use nix::unistd::Pid;
use ringfence_abi::calls::{BIND, CONNECT, SEND_MESSAGE, SEND_TO};
use ringfence_abi::event::operation;
use ringfence_abi::network::{TCP, UDP, address_halves, peer_detail};
use ringfence_abi::record::{FOLLOWED, Seen};
use ringfence_abi::rights::WRITE;

use super::{Thing, Told, low};
use crate::confine::tracer::{
    Notice,
    call::Call,
    memory,
    socket::{NAME_SERVICE, duplicate, internet, protocol},
};

impl<Tell: FnMut(Notice)> Told<Tell> {
    /// A call with the address of a socket.
    pub(super) fn addressed(&mut self, task: Pid, call: &Call, seen: Seen) -> io::Result<()> {
        let (address, length) = match call.number {
            SEND_TO => (call.arguments[4], call.arguments[5]),
            SEND_MESSAGE => (
                memory::number(task, call.arguments[1])?,
                memory::number(task, call.arguments[1] + 8)?,
            ),
            _ => (call.arguments[1], call.arguments[2]),
        };
        if address == 0 {
            return Ok(());
        }
        // `sizeof(struct sockaddr_un)` is what the kernel takes at most of those that are looked at.
        let length = usize::from(u8::try_from(low(length)).unwrap_or(u8::MAX)).min(110);
        // A pointer that the kernel did not look at, for the socket was connected, need not lead anywhere.
        let Ok(bytes) = memory::bytes(task, address, length) else {
            return Ok(());
        };
        let [first, second, rest @ ..] = bytes.as_slice() else {
            return Ok(());
        };
        if i32::from(u16::from_ne_bytes([*first, *second])) == libc::AF_UNIX {
            return self.unix(task, call, rest, seen);
        }
        let Some(peer) = internet(&bytes) else {
            return Ok(());
        };
        let protocol = protocol(&duplicate(task, call.arguments[0])?)?;
        let operation = match call.number {
            BIND => operation::BIND,
            CONNECT => operation::CONNECT,
            _ => operation::SEND,
        };
        let is_query = call.number != BIND && peer.port() == NAME_SERVICE;
        if is_query {
            self.askers.add(call.arguments[0]);
        }
        if !is_query && (call.number != BIND || peer.port() != 0) {
            self.peer(task, Seen { operation, ..seen }, peer, protocol);
        }
        Ok(())
    }

    /// The address of a Unix socket: a path, an abstract name, or none.
    fn unix(&mut self, task: Pid, call: &Call, name: &[u8], seen: Seen) -> io::Result<()> {
        let is_abstract = name.first() == Some(&0);
        let operation = match (call.number, is_abstract) {
            (BIND, true) => operation::BIND_UNIX,
            (BIND, false) => operation::MKNOD,
            _ => operation::CONNECT_UNIX,
        };
        let seen = Seen {
            operation,
            needed: WRITE,
            ..seen
        };
        match name {
            [] | [0] => {}
            // As in a rule.
            [0, name @ ..] => {
                let name = [&b"@"[..], name].concat();
                self.act(task, seen, Some(Thing::of_kernel(name)), None);
            }
            _ => {
                let end = name.iter().position(|&byte| byte == 0);
                let name = &name[..end.unwrap_or(name.len())];
                let root = if name.starts_with(b"/") {
                    "root"
                } else {
                    "cwd"
                };
                let base = fs::read_link(format!("/proc/{task}/{root}"))?;
                let thing = Thing::below(base.into_os_string().into_vec(), name);
                let seen = Seen {
                    flags: FOLLOWED,
                    ..seen
                };
                self.act(task, seen, Some(thing), None);
            }
        }
        Ok(())
    }

    pub(super) fn peer(&mut self, task: Pid, seen: Seen, peer: SocketAddr, protocol: u8) {
        let address = match peer.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let has_ports = protocol == TCP || protocol == UDP;
        let port = if has_ports { peer.port() } else { 0 };
        let [path, other] = address_halves(address.octets());
        let detail = peer_detail(protocol, port);
        self.submit(
            task,
            Seen {
                path,
                other,
                detail,
                ..seen
            },
            Vec::new(),
            Vec::new(),
        );
    }
}
