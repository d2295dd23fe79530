//! Running the automaton over a path: the step of `ringfence_abi::automaton` on a policy in a map.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_loop};
use ringfence_abi::{
    automaton,
    policy::{Header, LARGE_WORDS, Label, MEDIUM_WORDS, MODE_ENFORCE, NO_TABLE, SMALL_WORDS, Table},
    rights,
    surface::Surfaces,
};

use crate::{
    maps::{TABLES_LARGE, TABLES_MEDIUM, TABLES_SMALL},
    outcome::Outcome,
    scratch::{PATH_END, Path},
    walk::bounded,
};

/// Bytes of one round of the loop: enough for most paths, so that most need one round.
const BYTES_A_ROUND: usize = 64;
const ROUNDS: u32 = (PATH_END / BYTES_A_ROUND) as u32;

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

/// Matches a path that [`crate::walk`] has built against the policy of a fence.
#[inline(always)]
pub fn rights(path: *mut Path, label: Label) -> Result<Answer, Outcome> {
    let table = label.table();
    // SAFETY (three times): an inner map is replaced as a whole and freed after a grace period.
    match label.size_class {
        0 => in_table::<SMALL_WORDS>(path, unsafe { TABLES_SMALL.get_value(&table, &only()) }),
        1 => in_table::<MEDIUM_WORDS>(path, unsafe { TABLES_MEDIUM.get_value(&table, &only()) }),
        _ => in_table::<LARGE_WORDS>(path, unsafe { TABLES_LARGE.get_value(&table, &only()) }),
    }
}

/// The key of a table's only element. On the stack: a constant could be merged with a global of the same initial value,
/// and the loader changes globals.
#[inline(always)]
fn only() -> u32 {
    core::hint::black_box(0)
}

struct Context<const WORDS: usize> {
    path: *mut Path,
    table: *const Table<WORDS>,
}

#[inline(always)]
fn in_table<const WORDS: usize>(
    path: *mut Path,
    table: Option<&Table<WORDS>>,
) -> Result<Answer, Outcome> {
    let table: *const Table<WORDS> = table.ok_or(Outcome::INTERNAL)?;
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        let start = core::ptr::read_volatile(&raw const (*path).start);
        core::ptr::write_volatile(&raw mut (*path).position, start);
        core::ptr::write_volatile(&raw mut (*path).state, (*table).header.start);
        let mut context = Context { path, table };
        bpf_loop(
            ROUNDS,
            round::<WORDS> as *const () as *mut c_void,
            (&raw mut context).cast::<c_void>(),
            0,
        );
        let position = core::ptr::read_volatile(&raw const (*path).position);
        if position as usize != PATH_END {
            return Err(Outcome::INTERNAL);
        }
        let state = core::ptr::read_volatile(&raw const (*path).state);
        let accept = automaton::rights(word(table, u64::from(state)));
        Ok(Answer {
            below: advance(table, state, b'/'),
            granted: accept & rights::ALL,
            program: rights::program(accept),
            mode: (*table).header.files_mode,
        })
    }
}

/// Up to [`BYTES_A_ROUND`] bytes; returns 1 at the end of the path.
extern "C" fn round<const WORDS: usize>(_index: u64, context: *mut Context<WORDS>) -> i64 {
    // SAFETY: `context` is the one that `in_table` passed, and both pointers are map values.
    unsafe {
        let path = (*context).path;
        let table = (*context).table;
        let mut position = u64::from(core::ptr::read_volatile(&raw const (*path).position));
        let mut state = core::ptr::read_volatile(&raw const (*path).state);
        let mut left = BYTES_A_ROUND;
        while left > 0 && position < PATH_END as u64 {
            let at = bounded(position, PATH_END as u64 - 1);
            let byte = (&raw const (*path).bytes).cast::<u8>().add(at as usize).read();
            state = advance(table, state, byte);
            position += 1;
            left -= 1;
        }
        core::ptr::write_volatile(&raw mut (*path).state, state);
        core::ptr::write_volatile(&raw mut (*path).position, position as u32);
        i64::from(position >= PATH_END as u64)
    }
}

/// One step.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn advance<const WORDS: usize>(table: *const Table<WORDS>, state: u32, byte: u8) -> u32 {
    // SAFETY: `table` is a map value, and a byte cannot leave an array of 256.
    let class = unsafe {
        (&raw const (*table).header.classes)
            .cast::<u8>()
            .add(byte as usize)
            .read()
    };
    // SAFETY: as above.
    let state_word = unsafe { word(table, u64::from(state)) };
    // SAFETY: as above.
    let entry = unsafe { word(table, automaton::entry_index(state_word, class)) };
    automaton::next(state, state_word, entry)
}

/// A word of the table. The loader has checked that no index of a valid state leaves it.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn word<const WORDS: usize>(table: *const Table<WORDS>, index: u64) -> u64 {
    let offset = bounded(index * 8, (WORDS as u64 - 1) * 8);
    // SAFETY: the offset is a multiple of eight below the array's size.
    unsafe {
        (&raw const (*table).words)
            .cast::<u8>()
            .add(offset as usize)
            .cast::<u64>()
            .read()
    }
}

/// The mode of a policy's file section; enforce if the policy cannot be found.
#[inline(always)]
pub fn mode(label: Label) -> u8 {
    with_header(label, |header| header.files_mode).unwrap_or(MODE_ENFORCE)
}

/// The mode of a policy's network section; enforce if the policy cannot be found.
#[inline(always)]
pub fn network_mode(label: Label) -> u8 {
    with_header(label, |header| header.network_mode).unwrap_or(MODE_ENFORCE)
}

/// The open surfaces; none if the policy cannot be found.
#[inline(always)]
pub fn surfaces(label: Label) -> Surfaces {
    Surfaces(with_header(label, |header| header.surfaces.0).unwrap_or(0))
}

/// The capabilities that may be used; none if the policy cannot be found.
#[inline(always)]
pub fn capabilities(label: Label) -> u64 {
    with_header(label, |header| header.capabilities).unwrap_or(0)
}

/// The size class of a program's table; `NO_TABLE` if there is none.
#[inline(always)]
pub fn size_class_of(label: Label, program: u8) -> u8 {
    let index = bounded(u64::from(program), rights::PROGRAMS as u64);
    with_header(label, |header| {
        let classes = (&raw const header.programs).cast::<u8>();
        // SAFETY: the index is at most that of the array's last element.
        unsafe { classes.add(index as usize).read() }
    })
    .unwrap_or(NO_TABLE)
}

/// What `part` takes from the header of the policy in force.
#[inline(always)]
fn with_header<T>(label: Label, part: impl Fn(&Header) -> T) -> Option<T> {
    let table = label.table();
    // SAFETY (three times): an inner map is replaced as a whole and freed after a grace period.
    match label.size_class {
        0 => unsafe { TABLES_SMALL.get_value(&table, &only()) }.map(|table| part(&table.header)),
        1 => unsafe { TABLES_MEDIUM.get_value(&table, &only()) }.map(|table| part(&table.header)),
        _ => unsafe { TABLES_LARGE.get_value(&table, &only()) }.map(|table| part(&table.header)),
    }
}
