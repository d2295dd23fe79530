//! One fence's policy as the kernel half reads it: one value of one map, replaced as a whole.

use crate::automaton::DEAD;

/// Denials are enforced.
pub const MODE_ENFORCE: u8 = 0;
/// What would be denied is allowed and reported.
pub const MODE_AUDIT: u8 = 1;
/// The section does not apply.
pub const MODE_OFF: u8 = 2;

/// Words of the automaton in the smallest of the three table sizes (64 KiB).
pub const SMALL_WORDS: usize = 1 << 13;
/// Words in the middle size (1 MiB).
pub const MEDIUM_WORDS: usize = 1 << 17;
/// Words in the largest size (16 MiB). A profile that needs more is refused.
pub const LARGE_WORDS: usize = 1 << 21;

/// What precedes the automaton's words.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// State in which every path starts.
    pub start: u32,
    /// Mode of the file section: `MODE_*`.
    pub files_mode: u8,
    /// Mode of the network section: [`MODE_ENFORCE`] or [`MODE_OFF`].
    pub network_mode: u8,
    /// Zero.
    pub reserved: [u8; 58],
    /// Byte to class.
    pub classes: [u8; 256],
}

/// A policy with room for `WORDS` words, a power of two so that an index can be masked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table<const WORDS: usize> {
    /// Modes, start state and byte classes.
    pub header: Header,
    /// The automaton, see [`crate::automaton`].
    pub words: [u64; WORDS],
}

impl Header {
    /// A policy that allows nothing.
    pub const DENY_ALL: Self = Self {
        start: DEAD,
        files_mode: MODE_ENFORCE,
        network_mode: MODE_ENFORCE,
        reserved: [0; 58],
        classes: [0; 256],
    };
}

/// What a task carries: which fence it is in, and where that fence's table is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Identifier of the fence; never 0.
    pub fence: u32,
    /// Which of the three table sizes its policy has: 0, 1 or 2.
    pub size_class: u32,
}

/// Counters of one fence, summed by the kernel half.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Verdicts that denied.
    pub denied: u64,
    /// Verdicts that would have denied but for audit mode.
    pub audited: u64,
    /// Events that found no room in the ring buffer.
    pub lost: u64,
    /// Denials for an error of the fence itself (no scratch slot, no table, a failed read).
    pub errors: u64,
    /// Tasks in the fence now.
    pub tasks: u64,
}

const _: () = assert!(size_of::<Header>() == 320);
const _: () = assert!(size_of::<Table<SMALL_WORDS>>() == 320 + 65_536);
const _: () = assert!(size_of::<Label>() == 8);
const _: () = assert!(size_of::<Counters>() == 40);
