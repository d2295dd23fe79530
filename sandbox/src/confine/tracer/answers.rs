//! What name servers answer, as tasks receive it: whole messages, for somebody else to read.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use nix::unistd::Pid;

use super::call::Call;
use super::memory;
use super::socket::{NAME_SERVICE, duplicate, internet};
use super::told::low;

// arch/x86/entry/syscalls/syscall_64.tbl
const READ: u64 = 0;
const RECEIVE_FROM: u64 = 45;
const RECEIVE_MESSAGE: u64 = 47;
/// Bytes of a message with its length before it (RFC 1035, section 4.2.2).
const LONGEST: u64 = 2 + u16::MAX as u64;
/// Parts that one message is received in at most; programs use one.
const MOST_PARTS: u64 = 8;

/// Sockets by which somebody has asked a name server.
#[derive(Debug, Default)]
pub(super) struct Askers {
    /// Their numbers, in whichever process: what is behind one is looked at when something comes.
    numbers: HashSet<u32>,
}

impl Askers {
    /// A query is sent by this descriptor, or will be.
    pub(super) fn add(&mut self, number: u64) {
        self.numbers.insert(low(number));
    }

    /// What a call that has returned `answer` has brought of a name server.
    pub(super) fn received(&self, task: Pid, call: &Call, answer: i64) -> Option<Vec<u8>> {
        let receives = matches!(call.number, READ | RECEIVE_FROM | RECEIVE_MESSAGE);
        let is_asker = receives && self.numbers.contains(&low(call.arguments[0]));
        let length = u64::try_from(answer).ok().filter(|&length| length > 0)?;
        if !is_asker || length > LONGEST || !is_of_server(task, call) {
            return None;
        }
        // What cannot be read is not known: then the address is learned.
        bytes(task, call, length).ok()
    }
}

/// Whether it came from the port of name servers: of a socket that is connected its peer, else who is named.
fn is_of_server(task: Pid, call: &Call) -> bool {
    let connected = duplicate(task, call.arguments[0]).map(peer);
    match connected {
        Ok(Some(peer)) => peer.port() == NAME_SERVICE,
        Ok(None) => sender(task, call).is_some_and(|peer| peer.port() == NAME_SERVICE),
        Err(_) => false,
    }
}

fn peer(socket: OwnedFd) -> Option<SocketAddr> {
    // Of TCP as well: only the address is asked for.
    UdpSocket::from(socket).peer_addr().ok()
}

/// Whom the kernel has named as the sender.
fn sender(task: Pid, call: &Call) -> Option<SocketAddr> {
    let address = match call.number {
        RECEIVE_FROM => call.arguments[4],
        RECEIVE_MESSAGE => memory::number(task, call.arguments[1]).ok()?,
        _ => 0,
    };
    if address == 0 {
        return None;
    }
    // `struct sockaddr_in6` is the longer one of the two; the shorter one may end a page.
    let bytes = memory::bytes(task, address, 28).or_else(|_| memory::bytes(task, address, 16));
    internet(&bytes.ok()?)
}

/// The first `length` bytes of where the call was to put what came.
fn bytes(task: Pid, call: &Call, length: u64) -> io::Result<Vec<u8>> {
    if call.number != RECEIVE_MESSAGE {
        let room = call.arguments[2];
        return part(task, call.arguments[1], length.min(room));
    }
    // `msg_iov` and `msg_iovlen` (include/linux/socket.h, `struct user_msghdr`).
    let parts = memory::number(task, call.arguments[1] + 16)?;
    let count = memory::number(task, call.arguments[1] + 24)?;
    let mut found = Vec::new();
    let mut left = length;
    for index in 0..count.min(MOST_PARTS) {
        let room = memory::number(task, parts + 16 * index + 8)?.min(left);
        found.extend(part(task, memory::number(task, parts + 16 * index)?, room)?);
        left -= room;
    }
    Ok(found)
}

fn part(task: Pid, address: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    memory::bytes(task, address, length)
}
