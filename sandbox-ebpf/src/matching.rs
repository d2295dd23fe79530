//! Running the automata of a policy over a path or a name in a slot.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_loop};
use ringfence_abi::{
    automaton,
    policy::{Label, Table},
    rights,
};

use crate::{
    outcome::Outcome,
    scratch::{PATH_END, Path},
    steps::{self, FAILED, Part},
    table::by_size,
    walk::bounded,
};

/// Bytes of one round of the loop, one below a power of two. A round costs little; the verifier follows each byte, for each size of a
/// table.
const BYTES_A_ROUND: u64 = 15;
const ROUNDS: u32 = (PATH_END as u64).div_ceil(BYTES_A_ROUND) as u32;

/// What the automaton says of a path.
#[derive(Clone, Copy)]
pub struct Answer {
    /// State after the path and a slash: what lies below a directory of that name.
    pub below: u32,
    /// Rights of the path.
    pub granted: u8,
    /// Number of the program that an exec of the path enters.
    pub program: u8,
    /// Mode of the file section.
    pub mode: u8,
}

impl Answer {
    /// An answer in one register: its lowest byte is the reason for having none, which is never 0.
    #[inline(always)]
    fn packed(answer: Result<Self, Outcome>) -> u64 {
        match answer {
            Ok(Self { below, granted, program, mode }) => {
                u64::from(below) << 32 | u64::from(granted) << 24 | u64::from(program) << 16 | u64::from(mode) << 8
            }
            Err(Outcome(cause)) => u64::from(cause),
        }
    }

    #[inline(always)]
    fn unpacked(answer: u64) -> Result<Self, Outcome> {
        match answer as u8 {
            0 => Ok(Self {
                below: (answer >> 32) as u32,
                granted: (answer >> 24) as u8,
                program: (answer >> 16) as u8,
                mode: (answer >> 8) as u8,
            }),
            cause => Err(Outcome(cause)),
        }
    }
}

/// Matches a path that [`crate::walk`] has built against the policy of a fence.
#[inline(always)]
pub fn rights(path: *mut Path, label: Label) -> Result<Answer, Outcome> {
    rights_in(path, label.table(), u32::from(label.size_class))
}

/// The same by the table of a policy and its size.
#[inline(always)]
pub fn rights_in(path: *mut Path, table: u32, size_class: u32) -> Result<Answer, Outcome> {
    Answer::unpacked(match_path(path, table, size_class))
}

/// [`rights`], with label and answer in registers.
///
/// VERIFIER: a global function (kernel/bpf/verifier.c, `do_check_subprogs`) is looked at once, whoever calls it and however often.
/// So it looks at the pointer itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_path(path: *mut Path, table: u32, size_class: u32) -> u64 {
    if path.is_null() {
        return Answer::packed(Err(Outcome::INTERNAL));
    }
    Answer::packed(by_size!(table, size_class, in_table(path)))
}

struct Context<const WORDS: usize> {
    path: *mut Path,
    table: *const Table<WORDS>,
    base: u64,
}

#[inline(always)]
fn in_table<const WORDS: usize>(
    path: *mut Path,
    table: Option<*mut Table<WORDS>>,
) -> Result<Answer, Outcome> {
    let table = table.ok_or(Outcome::INTERNAL)?;
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        let state = from_the_start(path, table)?;
        let accept = steps::accepted(table, Part::FILES, state);
        Ok(Answer {
            below: steps::advance(table, Part::FILES, state, u64::from(b'/')),
            granted: accept & rights::ALL,
            program: rights::program(accept),
            mode: (*table).header.files_mode,
        })
    }
}

/// The state that the whole of `path` leads to in the automaton of the files.
///
/// # Safety
/// `path` and `table` are map values.
#[inline(always)]
pub unsafe fn from_the_start<const WORDS: usize>(
    path: *mut Path,
    table: *const Table<WORDS>,
) -> Result<u32, Outcome> {
    // SAFETY: by contract.
    unsafe {
        let position = core::ptr::read_volatile(&raw const (*path).start);
        core::ptr::write_volatile(&raw mut (*path).position, position);
        core::ptr::write_volatile(&raw mut (*path).state, (*table).header.start);
        to_the_end(path, table, Part::FILES)
    }
}

/// Runs from where `path` says to its end; returns the state.
///
/// # Safety
/// `path` and `table` are map values.
#[inline(always)]
unsafe fn to_the_end<const WORDS: usize>(
    path: *mut Path,
    table: *const Table<WORDS>,
    part: Part,
) -> Result<u32, Outcome> {
    let mut context = Context { path, table, base: part.base };
    // The files' part is a constant in a callback of its own: most of what is matched is theirs, and each byte takes fewer instructions.
    let callback = match part.classes {
        0 => round::<WORDS> as *const (),
        _ => round_of_network::<WORDS> as *const (),
    };
    // SAFETY: by contract; the callback gets the address of a value on this frame's stack.
    unsafe {
        bpf_loop(
            ROUNDS,
            callback as *mut c_void,
            (&raw mut context).cast::<c_void>(),
            0,
        );
        if core::ptr::read_volatile(&raw const (*path).position) as usize != PATH_END {
            return Err(Outcome::INTERNAL);
        }
        Ok(core::ptr::read_volatile(&raw const (*path).state))
    }
}

/// What the network's automaton says of a Unix socket's path or abstract name, or of a host's name, port and all, which
/// stands in `path` from its start to [`PATH_END`]: accepted with what of `ringfence_abi::network`. `kind` is the first byte
/// of the question.
#[inline(always)]
pub fn text(path: *mut Path, label: Label, kind: u8) -> Result<u8, Outcome> {
    match match_text(path, label.table(), u32::from(label.size_class), u32::from(kind)) {
        // Lossless: what a state accepts with is a byte.
        accepted @ 0..FAILED => Ok(accepted as u8),
        _ => Err(Outcome::INTERNAL),
    }
}

/// [`text`], with what it answers in a register; [`FAILED`] for an error.
///
/// VERIFIER: a global function, as [`match_path`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_text(path: *mut Path, table: u32, size_class: u32, kind: u32) -> u32 {
    if path.is_null() {
        return FAILED;
    }
    by_size!(table, size_class, text_in(path, kind))
}

#[inline(always)]
fn text_in<const WORDS: usize>(
    path: *mut Path,
    kind: u32,
    table: Option<*mut Table<WORDS>>,
) -> u32 {
    let Some(table) = table else {
        return FAILED;
    };
    let table: *const Table<WORDS> = table;
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        let part = steps::network(table);
        let start = core::ptr::read_volatile(&raw const (*table).header.network_start);
        let state = steps::advance(table, part, start, u64::from(kind));
        let position = core::ptr::read_volatile(&raw const (*path).start);
        core::ptr::write_volatile(&raw mut (*path).position, position);
        core::ptr::write_volatile(&raw mut (*path).state, state);
        match to_the_end(path, table, part) {
            Ok(state) => u32::from(steps::accepted(table, part, state)),
            Err(_) => FAILED,
        }
    }
}

/// Up to [`BYTES_A_ROUND`] bytes in the automaton of the files; returns 1 at the end of the path, or in a state that nothing leads out of.
extern "C" fn round<const WORDS: usize>(
    _index: u64,
    context: *mut Context<WORDS>,
) -> i64 {
    // SAFETY: `context` is the one that `in_table` passed, and both pointers are map values.
    unsafe {
        let path = (*context).path;
        let table = (*context).table;
        let position = u64::from(core::ptr::read_volatile(&raw const (*path).position));
        let mut state = core::ptr::read_volatile(&raw const (*path).state);
        let left = PATH_END as u64 - position;
        // Opaque, or LLVM asks for both at each byte.
        let count = bounded!(if left < BYTES_A_ROUND { left } else { BYTES_A_ROUND }, BYTES_A_ROUND);
        let at = bounded!(position, PATH_END as u64 - 1);
        let bytes = (&raw const (*path).bytes).cast::<u8>().add(at as usize);
        let mut index = 0;
        while index < count {
            state = steps::advance(table, Part::FILES, state, u64::from(bytes.add(index as usize).read()));
            if automaton::is_sink(state) {
                return end(path, state);
            }
            index += 1;
        }
        if left == count {
            return end(path, state);
        }
        core::ptr::write_volatile(&raw mut (*path).state, state);
        core::ptr::write_volatile(&raw mut (*path).position, (position + count) as u32);
        0
    }
}

/// The same in the automaton of the network, to the end of the path only.
///
/// VERIFIER: "BPF program is too large" on Linux 6.1, where more is asked behind the match than of a file, and the loop ends in several
/// ways.
extern "C" fn round_of_network<const WORDS: usize>(
    _index: u64,
    context: *mut Context<WORDS>,
) -> i64 {
    // SAFETY: as in `round`.
    unsafe {
        let path = (*context).path;
        let table = (*context).table;
        let part = Part::network((*context).base);
        let mut position = u64::from(core::ptr::read_volatile(&raw const (*path).position));
        let mut state = core::ptr::read_volatile(&raw const (*path).state);
        let mut left = BYTES_A_ROUND;
        while left > 0 && position < PATH_END as u64 {
            let at = bounded!(position, PATH_END as u64 - 1);
            let byte = (&raw const (*path).bytes).cast::<u8>().add(at as usize).read();
            state = steps::advance(table, part, state, u64::from(byte));
            position += 1;
            left -= 1;
        }
        core::ptr::write_volatile(&raw mut (*path).state, state);
        core::ptr::write_volatile(&raw mut (*path).position, position as u32);
        i64::from(position >= PATH_END as u64)
    }
}

/// The path leads to this state, and no byte of it counts any more.
///
/// # Safety
/// `path` is a map value.
#[inline(always)]
unsafe fn end(path: *mut Path, state: u32) -> i64 {
    // SAFETY: by contract.
    unsafe {
        core::ptr::write_volatile(&raw mut (*path).state, state);
        core::ptr::write_volatile(&raw mut (*path).position, PATH_END as u32);
    }
    1
}
