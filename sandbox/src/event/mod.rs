//! The event: one thing that a task did or tried, with its verdict, as reports and `--events` show it.

use std::net::IpAddr;

use ringfence_abi::event as abi;
use serde::Serialize;

/// Where an event was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The hook that reached the verdict: the path is the kernel's own.
    Hook,
    /// A watcher beside the engine that saw a system call fail: the path is what the program passed.
    Syscall,
    /// The filter of system calls: the path is the name of the call.
    Filter,
}

/// Why the verdict was reached: [`abi::cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// No rule allows it, or a deny rule takes it away.
    Rule,
    /// The object lies in a detached or foreign mount.
    Foreign,
    /// The object has no path.
    Anonymous,
    /// The path is too long to be matched.
    TooLong,
    /// The path is too deep to be matched.
    TooDeep,
    /// The file has been removed.
    Unlinked,
    /// The new name allows other things than the old one.
    RightsDiffer,
    /// The fence itself failed.
    Internal,
    /// Closed to every fenced task.
    Closed,
    /// Nothing is there that could be looked at: an engine that closes the directory says otherwise.
    Absent,
    /// The profile allows it: permission bits deny it, or an engine that is stricter than the profile.
    Other,
}

/// One task of a program chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Process identifier as the host sees it.
    pub pid: u32,
    /// Short name. The task chooses it: information, never identity.
    pub name: String,
}

/// The other side of a connection, or the side that is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Address; one of IPv4 as such.
    pub address: IpAddr,
    /// Port; 0 where the protocol has none, or the kernel chooses.
    pub port: u16,
    /// Protocol, by the numbers of [`ringfence_abi::network`].
    pub protocol: u8,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since boot.
    pub time: u64,
    /// What was tried: [`abi::operation`].
    pub operation: u16,
    /// Whether it was denied; otherwise it was allowed and reported (audit).
    pub denied: bool,
    /// Why.
    pub cause: Cause,
    /// Rights that it needs, [`ringfence_abi::rights`].
    pub needed: u8,
    /// Rights that the path has.
    pub granted: u8,
    /// What of the operation, as a number: the capability, the signal, the socket's family; 0 where there is nothing to say.
    pub detail: u32,
    /// What would open it: a number of [`ringfence_abi::surface::Surfaces::numbered`], 0 if it is not about a surface.
    pub surface: u8,
    /// The program whose rights were in force, by its number; 0 for the fence at large.
    pub program: u8,
    /// The path, bytes as the kernel has them.
    pub path: Vec<u8>,
    /// The new path of a rename or link; of a watched system call, the directory that its path is relative to.
    pub other: Option<Vec<u8>>,
    /// The peer or address that it is about; its path is empty then.
    pub peer: Option<Peer>,
    /// User that acted.
    pub user: u32,
    /// Process and ancestors inside the fence, nearest first.
    pub chain: Vec<Program>,
    /// The error that a watched system call returned.
    pub error: Option<i32>,
    /// Where it was seen.
    pub source: Source,
}

impl Event {
    /// The operation's name.
    #[must_use]
    pub fn operation_name(&self) -> &'static str {
        abi::operation::name(self.operation).unwrap_or("unknown")
    }
}
