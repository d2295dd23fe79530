//! One recorded act on its way to user space: a fixed [`Act`], then its path, then for rename and link the other path.
//!
//! An act is told once; how often it was done is the value of its [`Seen`] in the map of that name.

use crate::{
    limits::{RECORDINGS, SYSTEM_CALLS},
    network::Resolver,
};

/// Not an act: tells the path of the program that other records name by [`Seen::program`].
pub const PROGRAM: u16 = 0xffff;

/// The object is a directory.
pub const DIRECTORY: u8 = 1;
/// The path is a directory that the kernel named, and below it the name that the program passed: links and `..` in it are
/// not resolved.
pub const PASSED: u8 = 2;
/// The act follows a symbolic link in the last name.
pub const FOLLOWED: u8 = 4;
/// The object has no name any more, or never had one.
pub const NAMELESS: u8 = 8;
/// The name that was passed leads through `/proc` by a number; the kernel names what is below `/proc/self` so as well. Known where system
/// calls are recorded.
pub const BY_NUMBER: u8 = 16;

/// What makes an act different from others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Hash of the path.
    pub path: u64,
    /// Hash of the other path; 0 where there is none.
    pub other: u64,
    /// Hash of the path of the program that acted.
    pub program: u64,
    /// What of the operation, as a number: [`crate::event::Header::detail`].
    pub detail: u32,
    /// [`crate::event::operation`], or [`PROGRAM`].
    pub operation: u16,
    /// Rights that the act needs, [`crate::rights`].
    pub needed: u8,
    /// [`DIRECTORY`], [`PASSED`], [`FOLLOWED`], [`NAMELESS`], [`BY_NUMBER`].
    pub flags: u8,
}

/// The fixed part of a record. `path_bytes` bytes of the path and `other_bytes` bytes of the other path follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Act {
    /// What makes it different.
    pub seen: Seen,
    /// Nanoseconds since boot.
    pub time: u64,
    /// The process, in the initial pid namespace.
    pub process: u32,
    /// Bytes of the path.
    pub path_bytes: u16,
    /// Bytes of the other path.
    pub other_bytes: u16,
}

/// What a recording counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that found no room in the ring buffer.
    pub lost: u64,
    /// Acts told again because the set of those that were told is full.
    pub again: u64,
    /// Acts whose path could not be read.
    pub unread: u64,
    /// System calls of programs for another instruction set, whose numbers and arguments are others.
    pub foreign: u64,
    /// Tasks that found no room among those that are recorded one by one.
    pub unfollowed: u64,
    /// Capabilities that were used, bit `n` for the one numbered `n`.
    pub capabilities: u64,
    /// System calls that were made, bit `n % 64` of word `n / 64`.
    pub made: [u64; SYSTEM_CALLS / 64],
    /// Those that succeeded at least once.
    pub succeeded: [u64; SYSTEM_CALLS / 64],
}

/// One recording, but for its acts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Its number, by which its other maps are found.
    pub number: u32,
    /// Not 0 once the command itself has begun.
    pub begun: u32,
    /// Where its name queries go; port 0 if they are left alone.
    pub resolver: Resolver,
    /// A number that no other recording has had, and not 0.
    pub token: u64,
    /// What is only counted.
    pub tally: Tally,
}

/// How the recordings that stand know their tasks.
///
/// The user half writes it, under its lock. A program reads the first eight bytes at once, then `cgroup`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// [`BY_ONE`] and its like together; 0 where none stands.
    pub by: u32,
    /// The recording of `cgroup`.
    pub number: u32,
    /// The cgroup that is not looked up, by its id.
    pub cgroup: u64,
}

/// Some recording knows its tasks by their cgroup, which has to be looked up.
pub const BY_CGROUP: u32 = 1;
/// Some recording knows its tasks one by one.
pub const BY_TASK: u32 = 2;
/// Some recording takes tasks of a cgroup in, one by one, each at its exec.
pub const BY_EXEC: u32 = 4;
/// A recording, the first that came, knows its tasks by the cgroup that [`Known::cgroup`] says.
pub const BY_ONE: u32 = 8;

/// Beside the number of a recording in the map of cgroups: its tasks are taken in at their exec. In the map of tasks: this one is, by an
/// exec that has not succeeded yet.
pub const AT_EXEC: u32 = 1 << 31;

const _: () = assert!(RECORDINGS < AT_EXEC);
const _: () = assert!(size_of::<Known>() == 16);
const _: () = assert!(size_of::<Seen>() == 32);
const _: () = assert!(size_of::<Act>() == 48);
const _: () = assert!(size_of::<Tally>() == 48 + 2 * SYSTEM_CALLS / 8);
const _: () = assert!(size_of::<Recording>() == 40 + size_of::<Tally>());
