//! The calls that the fence's filter refuses, as notifications: each is answered as the filter would, and told.
//!
//! The filter leaves calls about a task to who names itself by 0. Who names itself by its number is let go on. That cannot come to mean
//! another: number, architecture and arguments are registers, which nobody changes while the task waits (a tracer would need it
//! to stop), and what the kernel judges then is the same call.

use std::collections::HashMap;
use std::fs;
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
use super::super::syscalls::{NEWER, names_a_task_by};
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

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It fails with this errno.
    Refused(i32),
    /// The kernel makes it.
    GoesOn,
    /// It is none that the filter refuses: that notifies of connections besides.
    Connects,
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

    /// What becomes of a call; if it is refused, that is told before its task goes on. `is_valid` says, after all of the task was looked
    /// at, whether it is the one that asked.
    pub(super) fn judge(&self, asked: &ScmpNotifReq, is_valid: impl FnOnce() -> bool) -> Judged {
        let call = Call {
            number: asked.data.syscall.as_raw_syscall().cast_unsigned(),
            // Of no other one do the programs notify.
            architecture: audit(asked.data.arch).unwrap_or_default(),
            arguments: asked.data.args,
        };
        let answered = answer(&self.filter.programs, &call);
        let name = name(asked);
        // Nothing else is asked about that the programs let through.
        if answered == Some(libc::SECCOMP_RET_ALLOW) && name == "connect" {
            return Judged::Connects;
        }
        let named = self.named(&name, &call);
        if named.is_some_and(|named| names_itself(asked.pid, named)) && is_valid() {
            return Judged::GoesOn;
        }
        let is_inside = named.is_some_and(|named| is_of_one_fence(asked.pid, named));
        self.add(asked.pid, name, &call, is_inside);
        let errno = answered.map(|answered| answered & libc::SECCOMP_RET_DATA);
        let errno = errno.and_then(|errno| i32::try_from(errno).ok());
        Judged::Refused(errno.filter(|errno| *errno > 0).unwrap_or(libc::EPERM))
    }

    /// The number of the task that it is about, if it would be let through with 0 in its place.
    fn named(&self, name: &str, call: &Call) -> Option<u64> {
        let named = names_a_task_by(name)?;
        let mut by_zero = *call;
        by_zero.arguments[named] = 0;
        let is_open = answer(&self.filter.programs, &by_zero) == Some(libc::SECCOMP_RET_ALLOW);
        // The kernel takes it for an integer of 32 bits.
        is_open.then_some(call.arguments[named] & 0xffff_ffff)
    }

    /// `is_inside`: it is about a task of the fence, which the profile has nothing against.
    fn add(&self, thread: u32, name: String, call: &Call, is_inside: bool) {
        let closed = self.filter.closed_by(&name, &call.arguments);
        // Of another kind, so that it hides nothing.
        let opened_by = closed.flatten().filter(|_| !is_inside);
        let kind = Kind {
            number: call.number,
            architecture: call.architecture,
            surface: opened_by.unwrap_or(Surfaces::NONE).number(),
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
        let cause = match closed {
            _ if is_inside => Cause::Other,
            Some(_) => Cause::Closed,
            None => Cause::Rule,
        };
        seen.told.push((event(thread, name, kind, cause), 1));
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

/// Whether a number is the thread's own, or its process's.
fn names_itself(thread: u32, named: u64) -> bool {
    own_numbers(thread).is_some_and(|own| own.contains(&named))
}

/// Whether a number is of another task of its fence, as far as that can be seen: of its process, or in the cgroup that it stands in and
/// this process does not; or of none, as of a thread that has ended. It may be another's a moment later: that says only how it is told.
fn is_of_one_fence(thread: u32, named: u64) -> bool {
    let Some(named) = u32::try_from(named).ok().filter(|_| counts_as_here(thread)) else {
        return false;
    };
    if status(named).is_none() {
        return true;
    }
    let same =
        |of: fn(u32) -> Option<String>, one, other| of(one).is_some() && of(one) == of(other);
    same(process, thread, named)
        || same(cgroup, thread, named) && !same(cgroup, thread, std::process::id())
}

/// Whether tasks are called there as they are here: it is in this pid namespace.
fn counts_as_here(thread: u32) -> bool {
    let numbers = |status: String| Some(field(&status, "NSpid:")?.split_whitespace().count());
    status(thread).and_then(numbers) == Some(1)
}

fn process(thread: u32) -> Option<String> {
    Some(field(&status(thread)?, "Tgid:")?.to_owned())
}

/// Its place in the hierarchy of cgroup v2 (cgroups(7)).
fn cgroup(thread: u32) -> Option<String> {
    let places = fs::read_to_string(format!("/proc/{thread}/cgroup")).ok()?;
    Some(field(&places, "0::")?.to_owned())
}

/// What the thread and its process are called in their own pid namespace, by which they name tasks: the last number of those from this
/// one's on.
fn own_numbers(thread: u32) -> Option<[u64; 2]> {
    let status = status(thread)?;
    let last = |name| {
        let numbers = field(&status, name)?.split_whitespace();
        numbers.last()?.parse().ok()
    };
    Some([last("NSpid:")?, last("NStgid:")?])
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
