//! One fence's policy as the kernel half reads it: one value of one map, replaced as a whole. Two automata share its words:
//! that of the files comes first, that of the network begins at [`Header::network_base`], and each counts its words from
//! its own beginning.

use crate::{automaton::DEAD, rights::PROGRAMS, surface::Surfaces};

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
    /// Parts of the kernel that are open.
    pub surfaces: Surfaces,
    /// Capabilities that may be used where a task holds them: bit `n` is the one numbered `n`.
    pub capabilities: u64,
    /// Mode of the file section: `MODE_*`.
    pub files_mode: u8,
    /// Mode of the network section: `MODE_*`.
    pub network_mode: u8,
    /// 1 if some rule of the network section is about an address or a host, else 0: then only Unix sockets are made.
    pub network_reaches: u8,
    /// How many programs have rights of their own: of the elements of `programs` after the first, those that count.
    pub program_count: u8,
    /// State in which every question about the network starts, counted from `network_base`.
    pub network_start: u32,
    /// The states that [`crate::network::before_ipv4`] leads to, of questions of [`crate::network::CONNECT`] and of
    /// [`crate::network::LISTEN`]: two thirds of a question about an IPv4 address.
    pub network_ipv4: [u32; 2],
    /// Index of the word at which the network's automaton begins.
    pub network_base: u32,
    /// Whether the names in TLS greetings are looked at: `ringfence_abi::network::SNI_*`.
    pub network_sni: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Size class of the table of each program with rights of its own, by its number; [`NO_TABLE`] where there is none.
    pub programs: [u8; PROGRAMS as usize + 1],
    /// Byte to class, in the automaton of the files.
    pub classes: [u8; 256],
    /// Byte to class, in the automaton of the network.
    pub network_classes: [u8; 256],
    /// What the kernel half has found out about mounts. User space writes zeros, and whoever gets a new table starts anew.
    pub mounts: [MountState; MOUNT_STATES],
}

/// Mounts that a table has room for: a power of two.
pub const MOUNT_STATES: usize = 8;

/// The state that the path of a mount's root leads to, for as long as nothing has moved.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MountState {
    /// Odd while somebody writes.
    pub version: u64,
    /// Address of the `struct mount`; 0 for none.
    pub mount: u64,
    /// Address of the mount namespace that the path is one of.
    pub namespace: u64,
    /// How often names and mounts had moved.
    pub moves: u64,
    /// When it was found out, in ticks of the kernel's clock.
    pub since: u64,
    /// The state.
    pub state: u64,
    /// Zeros, which make it a power of two.
    pub reserved: [u64; 2],
}

impl MountState {
    /// Nothing is known.
    pub const NONE: Self = Self {
        version: 0,
        mount: 0,
        namespace: 0,
        moves: 0,
        since: 0,
        state: 0,
        reserved: [0; 2],
    };
}

/// No such program.
pub const NO_TABLE: u8 = 0xff;

/// A policy with room for `WORDS` words, a power of two so that an index can be masked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table<const WORDS: usize> {
    /// Modes, start state and byte classes.
    pub header: Header,
    /// The automata, see [`crate::automaton`].
    pub words: [u64; WORDS],
    /// Zero. An entry's index is masked before the 1 is added that is in it ([`crate::automaton::entry_index`]).
    pub beyond: u64,
}

impl Header {
    /// A policy that allows nothing.
    pub const DENY_ALL: Self = Self {
        start: DEAD,
        surfaces: Surfaces::NONE,
        capabilities: 0,
        files_mode: MODE_ENFORCE,
        network_mode: MODE_ENFORCE,
        network_reaches: 0,
        program_count: 0,
        network_start: DEAD,
        network_ipv4: [DEAD; 2],
        network_base: 0,
        network_sni: crate::network::SNI_REQUIRED,
        reserved: [0; 3],
        programs: [NO_TABLE; PROGRAMS as usize + 1],
        classes: [0; 256],
        network_classes: [0; 256],
        mounts: [MountState::NONE; MOUNT_STATES],
    };
}

/// What a task carries: which fence it is in, which of the fence's policies is in force, and where its table is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Identifier of the fence; 0 for an entry that counts as none.
    pub fence: u32,
    /// Number of the program whose rights are in force; 0 for the fence at large.
    pub program: u8,
    /// Which of the three table sizes its policy has: 0, 1 or 2.
    pub size_class: u8,
    /// The program whose rights apply once the exec that is under way has succeeded. Means nothing at other times.
    pub next_program: u8,
    /// The size class of that program's table.
    pub next_size_class: u8,
}

impl Label {
    /// The label of a task that enters a fence.
    #[must_use]
    pub const fn new(fence: u32, size_class: u8) -> Self {
        Self {
            fence,
            program: 0,
            size_class,
            next_program: 0,
            next_size_class: size_class,
        }
    }

    /// The key of the policy in force.
    #[inline(always)]
    #[must_use]
    pub const fn table(self) -> u32 {
        table(self.fence, self.program)
    }
}

/// The key of a policy: of a fence at large (program 0) or of one of its programs.
#[inline(always)]
#[must_use]
pub const fn table(fence: u32, program: u8) -> u32 {
    fence * (PROGRAMS as u32 + 1) + program as u32
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
    /// Packets that the net below the hooks held back.
    pub dropped: u64,
}

const _: () = assert!(size_of::<Header>() == 1096);
const _: () = assert!(size_of::<Table<SMALL_WORDS>>() == 1096 + 65_536 + 8);
const _: () = assert!(size_of::<Label>() == 8);
const _: () = assert!(size_of::<Counters>() == 48);
