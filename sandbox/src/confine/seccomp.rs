//! The tables of [`super::syscalls`] as a program for the kernel, built by libseccomp before the fork.
//!
//! What libseccomp's version has no name for stands before its program, as plain comparisons of the number.
//!
//! A policy that lists its system calls gets a second program, which is loaded after the first. Of two programs that
//! refuse a call the later one's errno counts (kernel/seccomp.c, 6.18: `seccomp_run_filters` goes from the latest to the
//! earliest, and keeps the first of equal actions), so the second lets through what the first refuses whatever the
//! arguments: the errno stays the one that programs are prepared for.

mod answer;
mod kept;
mod sockets;
mod telling;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use ringfence_abi::surface::{NETLINK, Surfaces};

use super::error::Error;
use super::syscalls::{self, Closed, ClosedWhen};
use crate::policy::{Argument, Memory, Syscalls};
pub(super) use answer::{Call, answer, audit};
pub(super) use sockets::{Internet, Sockets};
pub(super) use telling::Telling;

/// Most instructions of a program (include/uapi/linux/bpf_common.h, `BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

// include/uapi/linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// What a filter is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// Sockets.
    pub(super) sockets: Sockets,
    /// What is open.
    pub(super) open: Surfaces,
    /// Whether to close what the fallback engine cannot judge.
    pub(super) fallback: bool,
    /// Whether IPC objects of others have to be kept out of reach by closing the calls.
    pub(super) shares_ipc: bool,
    /// Whether the supervisor is asked where a call is refused, and so nobody else is.
    pub(super) tells: bool,
}

/// What a fence's programs refuse, for who answers in their place.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// As they would be loaded.
    pub(super) programs: Vec<Program>,
    /// What they were built from.
    pub(super) wanted: Wanted,
}

impl Filter {
    /// What would open this call if it is closed to every fence, or nothing (`Some(None)`); `None` if it is not listed.
    pub(super) fn closed_by(&self, name: &str, arguments: &[u64; 6]) -> Option<Option<Surfaces>> {
        let whole = tables(self.wanted)
            .flatten()
            .filter(|rule| rule.stays(self.wanted.open) && rule.name == name)
            .map(|rule| rule.opened_by);
        let some = conditions(self.wanted)
            .into_iter()
            .filter(|rule| rule.name == name && rule.meets(arguments))
            .map(|rule| rule.opened_by);
        whole.chain(some).next()
    }
}

/// A program in the kernel's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    instructions: Vec<Instruction>,
}

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());

impl Program {
    /// The programs for `wanted`, in the order in which they are loaded.
    pub(super) fn all(wanted: Wanted, listed: &Syscalls) -> Result<Vec<Self>, Error> {
        let mut programs = vec![Self::build(wanted)?];
        if let Syscalls::Listed(names) = listed {
            programs.push(Self::listed(wanted, names)?);
        }
        Ok(programs)
    }

    /// The same, unless `memory` holds them.
    pub(super) fn remembered(
        wanted: Wanted,
        listed: &Syscalls,
        memory: Memory<'_>,
    ) -> Result<Vec<Self>, Error> {
        if let Some(programs) = Self::recall(wanted, listed, memory) {
            return Ok(programs);
        }
        let programs = Self::all(wanted, listed)?;
        Self::keep(&programs, wanted, listed, memory);
        Ok(programs)
    }

    /// The programs for `wanted` that `memory` holds.
    pub(super) fn recall(
        wanted: Wanted,
        listed: &Syscalls,
        memory: Memory<'_>,
    ) -> Option<Vec<Self>> {
        let key = kept::key(wanted, listed)?;
        let count = match listed {
            Syscalls::Default => 1,
            Syscalls::Listed(_) => 2,
        };
        kept::decode(&(memory.recall)(&key)?, count)
    }

    /// Has `memory` hold the programs for `wanted`.
    pub(super) fn keep(programs: &[Self], wanted: Wanted, listed: &Syscalls, memory: Memory<'_>) {
        if let Some(key) = kept::key(wanted, listed) {
            (memory.keep)(&key, &kept::encode(programs));
        }
    }

    /// One that notifies of every connection, and closes nothing.
    pub(super) fn notifying() -> Result<Self, Error> {
        let mut filter = context(ScmpAction::Allow)?;
        let syscall =
            ScmpSyscall::from_name("connect").map_err(|source| refused("connect", source))?;
        filter
            .add_rule(ScmpAction::Notify, syscall)
            .map_err(|source| refused("connect", source))?;
        Self::join(Vec::new(), &filter)
    }

    /// Compiles the tables for every architecture whose calls this kernel takes.
    fn build(wanted: Wanted) -> Result<Self, Error> {
        let mut filter = context(ScmpAction::Allow)?;
        let mut unnamed = Vec::new();
        for list in tables(wanted) {
            for rule in list.iter().filter(|rule| rule.stays(wanted.open)) {
                if !close(&mut filter, rule)? {
                    unnamed.push(rule);
                }
            }
        }
        for rule in conditions(wanted) {
            close_when(&mut filter, &rule)?;
        }
        if wanted.tells {
            close_when(&mut filter, &syscalls::another_listener())?;
        }
        sockets::close(&mut filter, wanted.sockets, wanted.open.contains(NETLINK))?;
        let unnamed: Vec<_> = unnamed
            .iter()
            .map(|rule| (rule.number, errno(rule.errno)))
            .collect();
        Self::join(prelude(&unnamed, errno(libc::ENOSYS)), &filter)
    }

    /// Lets nothing through but what every process needs, `names`, and what the other program refuses.
    fn listed(wanted: Wanted, names: &[&str]) -> Result<Self, Error> {
        let mut filter = context(ScmpAction::Errno(libc::EPERM))?;
        // A tree instead of a chain: such a list is long.
        filter
            .set_ctl_optimize(2)
            .map_err(|source| refused("(optimisation)", source))?;
        let refused_before = tables(wanted)
            .flatten()
            .filter(|rule| rule.stays(wanted.open))
            .map(|rule| rule.name);
        let all: BTreeSet<&str> = syscalls::ALWAYS
            .iter()
            .chain(names)
            .copied()
            .chain(refused_before)
            .collect();
        let mut unnamed = Vec::new();
        for name in all {
            match (ScmpSyscall::from_name(name), syscalls::newer(name)) {
                (Ok(syscall), _) => {
                    filter
                        .add_rule(ScmpAction::Allow, syscall)
                        .map_err(|source| refused(name, source))?;
                }
                (Err(_), Some(number)) => {
                    unnamed.push((Some(number), libc::SECCOMP_RET_ALLOW));
                }
                (Err(_), None) => {
                    return Err(Error::UnknownSyscall {
                        syscall: name.to_owned(),
                    });
                }
            }
        }
        // What is newer than the table, the other program refuses.
        Self::join(prelude(&unnamed, libc::SECCOMP_RET_ALLOW), &filter)
    }

    fn join(mut instructions: Vec<Instruction>, filter: &ScmpFilterContext) -> Result<Self, Error> {
        instructions.extend(export(filter)?);
        if instructions.len() > MOST_INSTRUCTIONS {
            return Err(Error::SeccompSize {
                instructions: instructions.len(),
            });
        }
        Ok(Self { instructions })
    }

    /// How many instructions it has.
    pub(super) fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Its instructions as the kernel reads them.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let encoded = self.instructions.iter().flat_map(|one| {
            let [a, b] = one.code.to_ne_bytes();
            let [c, d, e, f] = one.value.to_ne_bytes();
            [a, b, one.if_true, one.if_false, c, d, e, f]
        });
        encoded.collect()
    }

    /// `struct sock_fprog` for seccomp(2): valid as long as `self` is.
    pub(super) fn header(&self) -> libc::sock_fprog {
        libc::sock_fprog {
            // At most MOST_INSTRUCTIONS by construction.
            len: u16::try_from(self.instructions.len()).unwrap_or(0),
            filter: self.instructions.as_ptr().cast_mut().cast(),
        }
    }
}

fn tables(wanted: Wanted) -> impl Iterator<Item = &'static [Closed]> {
    let fallback = wanted.fallback.then_some(syscalls::CLOSED_IN_FALLBACK);
    let shared = wanted
        .shares_ipc
        .then_some(syscalls::CLOSED_WITHOUT_IPC_NAMESPACE);
    [syscalls::CLOSED].into_iter().chain(fallback).chain(shared)
}

fn conditions(wanted: Wanted) -> Vec<ClosedWhen> {
    let mut rules = syscalls::closed_when();
    if wanted.fallback {
        rules.extend(syscalls::closed_when_in_fallback());
    }
    if matches!(wanted.sockets, Sockets::Pairs { .. }) {
        rules.extend(syscalls::nameless_pairs_only());
    }
    rules.retain(|rule| rule.stays(wanted.open));
    rules
}

fn context(default: ScmpAction) -> Result<ScmpFilterContext, Error> {
    let setting = |syscall: &str| {
        let syscall = syscall.to_owned();
        move |source| Error::SeccompRule { syscall, source }
    };
    let mut filter = ScmpFilterContext::new(default).map_err(setting("(default action)"))?;
    // Calls of an architecture that is not listed, x32 among them, do not exist.
    filter
        .set_act_badarch(ScmpAction::Errno(libc::ENOSYS))
        .map_err(setting("(other architectures)"))?;
    let second = if cfg!(target_arch = "x86_64") {
        Some(ScmpArch::X86)
    } else if cfg!(target_arch = "aarch64") {
        Some(ScmpArch::Arm)
    } else {
        None
    };
    if let Some(architecture) = second {
        filter
            .add_arch(architecture)
            .map_err(setting("(32-bit calls)"))?;
    }
    Ok(filter)
}

/// Adds one rule; false if libseccomp has no name for it and its number has to be used.
fn close(filter: &mut ScmpFilterContext, rule: &Closed) -> Result<bool, Error> {
    let Ok(syscall) = ScmpSyscall::from_name(rule.name) else {
        return match rule.number {
            Some(_) => Ok(false),
            None => Err(Error::UnknownSyscall {
                syscall: rule.name.to_owned(),
            }),
        };
    };
    filter
        .add_rule(ScmpAction::Errno(rule.errno), syscall)
        .map_err(|source| refused(rule.name, source))?;
    Ok(true)
}

fn close_when(filter: &mut ScmpFilterContext, rule: &ClosedWhen) -> Result<(), Error> {
    let (operation, value) = match rule.refused {
        Argument::Masked { mask, value } => (ScmpCompareOp::MaskedEqual(mask), value),
        Argument::AllBut(value) => (ScmpCompareOp::NotEqual, value),
    };
    let compare = ScmpArgCompare::new(rule.argument, operation, value);
    add_when(filter, rule.name, rule.errno, compare)
}

fn add(filter: &mut ScmpFilterContext, name: &'static str, errno: i32) -> Result<(), Error> {
    let syscall = ScmpSyscall::from_name(name).map_err(|source| refused(name, source))?;
    filter
        .add_rule(ScmpAction::Errno(errno), syscall)
        .map_err(|source| refused(name, source))?;
    Ok(())
}

fn add_when(
    filter: &mut ScmpFilterContext,
    name: &'static str,
    errno: i32,
    compare: ScmpArgCompare,
) -> Result<(), Error> {
    let syscall = ScmpSyscall::from_name(name).map_err(|source| refused(name, source))?;
    filter
        .add_rule_conditional(ScmpAction::Errno(errno), syscall, &[compare])
        .map_err(|source| refused(name, source))?;
    Ok(())
}

fn refused(name: &str, source: libseccomp::error::SeccompError) -> Error {
    Error::SeccompRule {
        syscall: name.to_owned(),
        source,
    }
}

/// `if number == n: return answer`, and `newer` for all numbers that are newer than the table.
fn prelude(rules: &[(Option<u32>, u32)], newer: u32) -> Vec<Instruction> {
    let step = |code, if_true, if_false, value| Instruction {
        code,
        if_true,
        if_false,
        value,
    };
    // The number is the first word of `struct seccomp_data`.
    let mut program = vec![step(LOAD_WORD, 0, 0, 0)];
    for &(number, answer) in rules {
        let number = number.unwrap_or(syscalls::FIRST_UNKNOWN);
        program.push(step(JUMP_EQUAL, 0, 1, number));
        program.push(step(RETURN, 0, 0, answer));
    }
    program.push(step(JUMP_GREATER_EQUAL, 0, 2, syscalls::FIRST_UNKNOWN));
    program.push(step(JUMP_GREATER_EQUAL, 1, 0, syscalls::FIRST_PRIVATE));
    program.push(step(RETURN, 0, 0, newer));
    program
}

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA)
}

/// libseccomp before 2.6 writes a program to a descriptor only.
fn export(filter: &ScmpFilterContext) -> Result<Vec<Instruction>, Error> {
    let failed = |source: io::Error| Error::SeccompExport { source };
    let memory = memfd_create(c"ringfence-seccomp", MFdFlags::MFD_CLOEXEC)
        .map_err(|errno| failed(errno.into()))?;
    let mut memory = File::from(memory);
    filter
        .export_bpf(&memory)
        .map_err(|source| refused("(export)", source))?;
    let mut bytes = Vec::new();
    memory.rewind().map_err(failed)?;
    memory.read_to_end(&mut bytes).map_err(failed)?;
    let (instructions, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || instructions.is_empty() {
        return Err(failed(io::ErrorKind::InvalidData.into()));
    }
    Ok(instructions.iter().map(decode).collect())
}

fn decode(bytes: &[u8; 8]) -> Instruction {
    let [a, b, if_true, if_false, value @ ..] = *bytes;
    Instruction {
        code: u16::from_ne_bytes([a, b]),
        if_true,
        if_false,
        value: u32::from_ne_bytes(value),
    }
}

#[cfg(test)]
mod tests;
