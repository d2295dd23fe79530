//! From the ring buffer to events.

use std::{
    net::Ipv6Addr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::maps::{Map, MapData, RingBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfence_abi::{
    event::{Header, VERDICT_DENY, cause, has_peer},
    limits::CHAIN,
};

use super::{Error, reader::Reader, slots::STREAMS};
use crate::event::{Cause, Event, Peer, Program, Source};

/// The denials of one fence. Its memory is looked into from the first one on: most fences have none.
pub struct Events {
    descriptor: OwnedFd,
    stream: Stream,
}

enum Stream {
    /// Nothing was there yet.
    Quiet(MapData),
    Open(RingBuf<MapData>),
    /// There was no memory to look into.
    Lost,
}

impl Events {
    pub(super) fn of(stream: MapData) -> Result<Self, Error> {
        let descriptor = stream.fd().as_fd().try_clone_to_owned();
        Ok(Self {
            descriptor: descriptor.map_err(|error| Error::map("open", STREAMS, error))?,
            stream: Stream::Quiet(stream),
        })
    }

    /// Skips all that is there.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        self.look()?;
        if let Stream::Open(ring) = &mut self.stream {
            while ring.next().is_some() {}
        }
        Ok(())
    }

    /// The next event, if there is one; poll the descriptor to wait. `Err` is a record that does not make sense, with
    /// its length; without any length the first one, where it cannot be read and so none can.
    pub fn next_event(&mut self) -> Option<Result<Event, usize>> {
        if self.look().is_err() {
            return Some(Err(0));
        }
        let Stream::Open(ring) = &mut self.stream else {
            return None;
        };
        let record = ring.next()?;
        Some(decode(&record).ok_or(record.len()))
    }

    /// Maps the stream once there is something in it.
    fn look(&mut self) -> Result<(), Error> {
        if !matches!(self.stream, Stream::Quiet(_)) || !self.is_readable() {
            return Ok(());
        }
        if let Stream::Quiet(stream) = std::mem::replace(&mut self.stream, Stream::Lost) {
            let ring = RingBuf::try_from(Map::RingBuf(stream));
            self.stream = Stream::Open(ring.map_err(|error| Error::map("open", STREAMS, error))?);
        }
        Ok(())
    }

    /// Asked of the kernel, which says so of a stream that nobody has mapped as well (kernel/bpf/ringbuf.c, 6.1:
    /// `ringbuf_map_poll_kern`). Where it cannot be asked, there may be something.
    fn is_readable(&self) -> bool {
        let mut polled = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO) != Ok(0)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Reads a record in the field order of [`Header`]; `None` if it does not make sense.
#[must_use]
pub fn decode(record: &[u8]) -> Option<Event> {
    let mut reader = Reader(record);
    let time = reader.u64()?;
    let _fence = reader.u32()?;
    let _thread = reader.u32()?;
    let user = reader.u32()?;
    let operation = reader.u16()?;
    let denied = reader.u8()? == VERDICT_DENY;
    let cause = cause_of(reader.u8()?);
    let needed = reader.u8()?;
    let granted = reader.u8()?;
    let path_bytes = reader.u16()?;
    let other_bytes = reader.u16()?;
    let error = reader.u16()?;
    let detail = reader.u32()?;
    let surface = reader.u8()?;
    let program = reader.u8()?;
    let _reserved = reader.u16()?;
    let chain = chain(&mut reader)?;
    debug_assert_eq!(record.len() - reader.0.len(), size_of::<Header>());
    let mut path = reader.take(usize::from(path_bytes))?.to_vec();
    let mut peer = None;
    // What was not found out has no peer.
    if has_peer(operation) && !path.is_empty() {
        peer = Some(peer_of(&path)?);
        path.clear();
    }
    let other = reader.take(usize::from(other_bytes))?.to_vec();
    Some(Event {
        time,
        operation,
        denied,
        cause,
        needed,
        granted,
        detail,
        surface,
        program,
        path,
        peer,
        other: (!other.is_empty()).then_some(other),
        user,
        chain,
        error: (error != 0).then_some(i32::from(error)),
        source: if error == 0 {
            Source::Hook
        } else {
            Source::Syscall
        },
    })
}

/// Reads a peer in the field order of [`ringfence_abi::network::Peer`].
fn peer_of(bytes: &[u8]) -> Option<Peer> {
    let mut reader = Reader(bytes);
    let address: [u8; 16] = reader.take(16)?.try_into().ok()?;
    Some(Peer {
        address: Ipv6Addr::from(address).to_canonical(),
        port: reader.u16()?,
        protocol: reader.u8()?,
    })
}

fn chain(reader: &mut Reader<'_>) -> Option<Vec<Program>> {
    let mut programs = Vec::new();
    for _ in 0..CHAIN {
        let pid = reader.u32()?;
        let name = reader.take(ringfence_abi::limits::COMM_BYTES)?;
        if pid != 0 {
            let end = name
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(name.len());
            let name = String::from_utf8_lossy(&name[..end]).into_owned();
            programs.push(Program { pid, name });
        }
    }
    Some(programs)
}

fn cause_of(number: u8) -> Cause {
    match number {
        cause::RULE => Cause::Rule,
        cause::FOREIGN => Cause::Foreign,
        cause::ANONYMOUS => Cause::Anonymous,
        cause::TOO_LONG => Cause::TooLong,
        cause::TOO_DEEP => Cause::TooDeep,
        cause::UNLINKED => Cause::Unlinked,
        cause::RIGHTS_DIFFER => Cause::RightsDiffer,
        cause::CLOSED => Cause::Closed,
        _ => Cause::Internal,
    }
}
