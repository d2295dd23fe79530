//! One act as the kernel half tells it, before its path is resolved and its count is known.

use ringfence_abi::record::Seen;

/// One act, told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What makes it different from others.
    pub seen: Seen,
    /// Nanoseconds since boot.
    pub time: u64,
    /// The process that did it first.
    pub process: u32,
    /// The path; empty where there is none.
    pub path: Vec<u8>,
    /// The other path; empty where there is none.
    pub other: Vec<u8>,
}

/// What the kernel half only counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that found no room.
    pub lost: u64,
    /// Acts whose path could not be read.
    pub unread: u64,
    /// System calls of programs for another instruction set.
    pub foreign: u64,
    /// Tasks of those that are recorded one by one that found no room.
    pub unfollowed: u64,
    /// Runs of the recording programs that the kernel has left out.
    pub missed: u64,
    /// Runs that the kernel has left out of the programs which only list system calls, beside those that record.
    pub unlisted: u64,
    /// Capabilities that were used, bit `n` for the one numbered `n`.
    pub capabilities: u64,
    /// Numbers of the system calls that were made.
    pub made: Vec<u32>,
    /// Numbers of those that succeeded at least once.
    pub succeeded: Vec<u32>,
}
