//! The calls that the fence's filter refuses, as notifications: each is answered as the filter would, and told.
//!
//! Nothing of what is told decides anything: number, architecture and arguments are registers, and the answer is never "go on".

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libseccomp::{ScmpNotifReq, ScmpSyscall};
use nix::time::{ClockId, clock_gettime};
use ringfence_abi::event::operation;
use ringfence_abi::limits::CHAIN;
use ringfence_abi::surface::{BPF, MOUNT, Surfaces};

use super::super::seccomp::{Call, Filter, answer, audit};
use super::super::syscalls::NEWER;
use super::request::{field, status};
use crate::event::{Cause, Event, Program, Source};

/// Kinds that are kept apart; what is of further ones is only counted. A list refuses numbers that are of no call, too.
const KINDS: usize = 1024;

/// What a fence refuses by its filter, and what of that has happened.
#[derive(Debug)]
pub(super) struct ClosedCalls {
    filter: Filter,
    seen: Mutex<Seen>,
    bell: UnixStream,
    rung: UnixStream,
}

/// What one call is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    number: u32,
    architecture: u32,
    surface: u8,
}

#[derive(Debug, Default)]
struct Seen {
    kinds: HashMap<Kind, usize>,
    /// One for each kind, in the order of their first appearance.
    told: Vec<(Event, u64)>,
    /// How many of those have been taken.
    taken: usize,
    further: u64,
}

/// What a fence's filter has refused altogether.
#[derive(Clone, Debug, Default)]
pub struct ClosedTotals {
    /// The first of each kind, and how often there was one.
    pub kinds: Vec<(Event, u64)>,
    /// How many were of further kinds.
    pub further: u64,
}

impl ClosedCalls {
    pub(super) fn new(filter: Filter) -> io::Result<Self> {
        let (bell, rung) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rung.set_nonblocking(true)?;
        Ok(Self {
            filter,
            seen: Mutex::default(),
            bell,
            rung,
        })
    }

    /// The errno of a call that the filter refuses; told, before its task goes on.
    pub(super) fn refuse(&self, asked: &ScmpNotifReq) -> Option<i32> {
        let call = Call {
            number: asked.data.syscall.as_raw_syscall().cast_unsigned(),
            // Of no other one do the programs notify.
            architecture: audit(asked.data.arch).unwrap_or_default(),
            arguments: asked.data.args,
        };
        let answered = answer(&self.filter.programs, &call);
        if answered == Some(libc::SECCOMP_RET_ALLOW) {
            return None;
        }
        self.add(asked, &call);
        let errno = answered.map(|answered| answered & libc::SECCOMP_RET_DATA);
        let errno = errno.and_then(|errno| i32::try_from(errno).ok());
        Some(errno.filter(|errno| *errno > 0).unwrap_or(libc::EPERM))
    }

    fn add(&self, asked: &ScmpNotifReq, call: &Call) {
        let name = name(asked);
        let closed = self.filter.closed_by(&name, &call.arguments);
        let kind = Kind {
            number: call.number,
            architecture: call.architecture,
            surface: closed.flatten().unwrap_or(Surfaces::NONE).number(),
        };
        let mut seen = self.seen();
        if let Some(&at) = seen.kinds.get(&kind) {
            seen.told[at].1 += 1;
            return;
        }
        if seen.told.len() == KINDS {
            seen.further += 1;
            return;
        }
        let at = seen.told.len();
        seen.kinds.insert(kind, at);
        let cause = if closed.is_some() {
            Cause::Closed
        } else {
            Cause::Rule
        };
        seen.told.push((event(asked.pid, name, kind, cause), 1));
        // Where it is full it is readable already.
        (&self.bell).write_all(&[0]).ok();
    }

    /// Readable when there is news.
    pub(super) fn rung(&self) -> BorrowedFd<'_> {
        self.rung.as_fd()
    }

    pub(super) fn news(&self) -> Vec<Event> {
        let mut bytes = [0; 512];
        while matches!((&self.rung).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        let mut seen = self.seen();
        let new = seen.told[seen.taken..].iter();
        let events = new.map(|(event, _)| event.clone()).collect();
        seen.taken = seen.told.len();
        events
    }

    /// A watcher tells of failed calls that mount and of bpf(2): who refuses those is this filter, unless they are open.
    pub(super) fn tells_of(&self, event: &Event) -> bool {
        let surface = match event.operation {
            operation::MOUNT => MOUNT,
            operation::BPF => BPF,
            _ => return false,
        };
        let wanted = self.filter.wanted;
        event.source == Source::Syscall && wanted.tells && !wanted.open.contains(surface)
    }

    pub(super) fn totals(&self) -> ClosedTotals {
        let seen = self.seen();
        ClosedTotals {
            kinds: seen.told.clone(),
            further: seen.further,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The call's name in its own table; its number if it has none here.
fn name(asked: &ScmpNotifReq) -> String {
    let number: ScmpSyscall = asked.data.syscall;
    let raw = number.as_raw_syscall();
    let newer = NEWER
        .iter()
        .find(|(_, known)| *known == raw.cast_unsigned());
    match newer {
        Some((name, _)) => (*name).to_owned(),
        None => number
            .get_name_by_arch(asked.data.arch)
            .unwrap_or_else(|_| raw.to_string()),
    }
}

fn event(thread: u32, name: String, kind: Kind, cause: Cause) -> Event {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
    let time = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    Event {
        time,
        operation: operation::SYSTEM_CALL,
        denied: true,
        cause,
        needed: 0,
        granted: 0,
        detail: kind.number,
        surface: kind.surface,
        program: 0,
        path: name.into_bytes(),
        other: None,
        peer: None,
        user: user(thread).unwrap_or_default(),
        chain: chain(thread),
        error: Some(libc::EPERM),
        source: Source::Filter,
    }
}

/// The effective user.
fn user(thread: u32) -> Option<u32> {
    let status = status(thread)?;
    let ids = field(&status, "Uid:")?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

/// The process and those above it, as far as they are below this one.
fn chain(thread: u32) -> Vec<Program> {
    let own = std::process::id();
    let mut next = thread;
    let mut chain = Vec::new();
    while chain.len() < CHAIN && next > 1 && next != own {
        let Some(program) = status(next).and_then(|status| {
            let number = |name| field(&status, name)?.trim().parse::<u32>().ok();
            next = number("PPid:")?;
            Some(Program {
                pid: number("Tgid:")?,
                name: field(&status, "Name:")?.trim().to_owned(),
            })
        }) else {
            break;
        };
        chain.push(program);
    }
    chain
}
