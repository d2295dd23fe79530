//! Running the automata of a policy in a map, by the step of `ringfence_abi::automaton`: over a path or a name in a slot,
//! or over the few bytes of a question about an address.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_loop};
use ringfence_abi::{
    automaton,
    network::{ADDRESS_QUESTION, Grant, SNI_REQUIRED, STATES},
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

/// Which of the two automata, and where it is.
#[derive(Clone, Copy)]
struct Part {
    /// Where its classes begin behind those of the files.
    classes: u64,
    /// Index of its first word.
    base: u64,
}

/// The automaton of the files.
const FILES: Part = Part { classes: 0, base: 0 };

/// The automaton of the network.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn network<const WORDS: usize>(table: *const Table<WORDS>) -> Part {
    // SAFETY: by contract.
    let base = unsafe { core::ptr::read_volatile(&raw const (*table).header.network_base) };
    Part { classes: 256, base: u64::from(base) }
}

struct Context<const WORDS: usize> {
    path: *mut Path,
    table: *const Table<WORDS>,
    part: Part,
}

#[inline(always)]
fn in_table<const WORDS: usize>(
    path: *mut Path,
    table: Option<&Table<WORDS>>,
) -> Result<Answer, Outcome> {
    let table: *const Table<WORDS> = table.ok_or(Outcome::INTERNAL)?;
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        let position = core::ptr::read_volatile(&raw const (*path).start);
        core::ptr::write_volatile(&raw mut (*path).position, position);
        core::ptr::write_volatile(&raw mut (*path).state, (*table).header.start);
        let state = to_the_end(path, table, FILES)?;
        let accept = automaton::rights(word(table, u64::from(state)));
        Ok(Answer {
            below: advance(table, FILES, state, b'/'),
            granted: accept & rights::ALL,
            program: rights::program(accept),
            mode: (*table).header.files_mode,
        })
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
    let mut context = Context { path, table, part };
    // The files' part is a constant in a callback of its own: most of what is matched is theirs, and each byte takes fewer instructions.
    let callback = match part.classes {
        0 => round::<WORDS, true> as *const (),
        _ => round::<WORDS, false> as *const (),
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
    let table = label.table();
    // SAFETY (three times): an inner map is replaced as a whole and freed after a grace period.
    match label.size_class {
        0 => text_in::<SMALL_WORDS>(path, kind, unsafe { TABLES_SMALL.get_value(&table, &only()) }),
        1 => text_in::<MEDIUM_WORDS>(path, kind, unsafe { TABLES_MEDIUM.get_value(&table, &only()) }),
        _ => text_in::<LARGE_WORDS>(path, kind, unsafe { TABLES_LARGE.get_value(&table, &only()) }),
    }
}

#[inline(always)]
fn text_in<const WORDS: usize>(
    path: *mut Path,
    kind: u8,
    table: Option<&Table<WORDS>>,
) -> Result<u8, Outcome> {
    let table: *const Table<WORDS> = table.ok_or(Outcome::INTERNAL)?;
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        let part = network(table);
        let start = core::ptr::read_volatile(&raw const (*table).header.network_start);
        let state = advance(table, part, start, kind);
        let position = core::ptr::read_volatile(&raw const (*path).start);
        core::ptr::write_volatile(&raw mut (*path).position, position);
        core::ptr::write_volatile(&raw mut (*path).state, state);
        let state = to_the_end(path, table, part)?;
        Ok(accepted(table, part, state))
    }
}

/// The policy could not be found: the bit above those that a state accepts with.
///
/// VERIFIER: "R2 !read_ok" where a `Result` leaves one branch without its value.
pub const FAILED: u32 = 1 << 8;

/// What the network's automaton says of an address: accepted with what of `ringfence_abi::network`, or [`FAILED`].
#[inline(always)]
pub fn address(label: Label, question: &[u8; ADDRESS_QUESTION]) -> u32 {
    let table = label.table();
    // SAFETY (three times): an inner map is replaced as a whole and freed after a grace period.
    match label.size_class {
        0 => address_in::<SMALL_WORDS>(question, unsafe { TABLES_SMALL.get_value(&table, &only()) }),
        1 => address_in::<MEDIUM_WORDS>(question, unsafe { TABLES_MEDIUM.get_value(&table, &only()) }),
        _ => address_in::<LARGE_WORDS>(question, unsafe { TABLES_LARGE.get_value(&table, &only()) }),
    }
}

#[inline(always)]
fn address_in<const WORDS: usize>(
    question: &[u8; ADDRESS_QUESTION],
    table: Option<&Table<WORDS>>,
) -> u32 {
    let Some(table) = table else {
        return FAILED;
    };
    let table: *const Table<WORDS> = table;
    // SAFETY: `table` is a map value.
    unsafe {
        let part = network(table);
        let start = core::ptr::read_volatile(&raw const (*table).header.network_start);
        let state = through(table, part, start, question);
        u32::from(accepted(table, part, state))
    }
}

/// Whether one of the states that names have led to goes on to accept this protocol and port; not if the policy cannot be
/// found.
#[inline(always)]
pub fn granted(label: Label, grant: *const Grant, question: &[u8; 3]) -> bool {
    let table = label.table();
    // SAFETY (three times): an inner map is replaced as a whole and freed after a grace period.
    match label.size_class {
        0 => granted_in::<SMALL_WORDS>(grant, question, unsafe {
            TABLES_SMALL.get_value(&table, &only())
        }),
        1 => granted_in::<MEDIUM_WORDS>(grant, question, unsafe {
            TABLES_MEDIUM.get_value(&table, &only())
        }),
        _ => granted_in::<LARGE_WORDS>(grant, question, unsafe {
            TABLES_LARGE.get_value(&table, &only())
        }),
    }
}

#[inline(always)]
fn granted_in<const WORDS: usize>(
    grant: *const Grant,
    question: &[u8; 3],
    table: Option<&Table<WORDS>>,
) -> bool {
    let Some(table) = table else {
        return false;
    };
    let table: *const Table<WORDS> = table;
    let mut index = 0;
    while index < STATES {
        // SAFETY: `grant` and `table` are map values, and the index is below the array's length.
        unsafe {
            let states = (&raw const (*grant).states).cast::<u32>();
            let state = core::ptr::read_volatile(states.add(index));
            if state != automaton::DEAD {
                let part = network(table);
                let state = through(table, part, state, question);
                if accepted(table, part, state) & ringfence_abi::network::ALLOW != 0 {
                    return true;
                }
            }
        }
        index += 1;
    }
    false
}

/// The state after a few bytes.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn through<const WORDS: usize, const BYTES: usize>(
    table: *const Table<WORDS>,
    part: Part,
    state: u32,
    bytes: &[u8; BYTES],
) -> u32 {
    let mut state = state;
    let mut index = 0;
    while index < BYTES {
        // SAFETY: by contract.
        state = unsafe { advance(table, part, state, bytes[index]) };
        index += 1;
    }
    state
}

/// What a state of the network's automaton accepts with.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn accepted<const WORDS: usize>(
    table: *const Table<WORDS>,
    part: Part,
    state: u32,
) -> u8 {
    // SAFETY: by contract.
    automaton::rights(unsafe { word(table, part.base + u64::from(state)) })
}

/// Up to [`BYTES_A_ROUND`] bytes; returns 1 at the end of the path.
extern "C" fn round<const WORDS: usize, const OF_FILES: bool>(
    _index: u64,
    context: *mut Context<WORDS>,
) -> i64 {
    // SAFETY: `context` is the one that `in_table` passed, and both pointers are map values.
    unsafe {
        let path = (*context).path;
        let table = (*context).table;
        let part = if OF_FILES { FILES } else { (*context).part };
        let mut position = u64::from(core::ptr::read_volatile(&raw const (*path).position));
        let mut state = core::ptr::read_volatile(&raw const (*path).state);
        let mut left = BYTES_A_ROUND;
        while left > 0 && position < PATH_END as u64 {
            let at = bounded!(position, PATH_END as u64 - 1);
            let byte = (&raw const (*path).bytes).cast::<u8>().add(at as usize).read();
            state = advance(table, part, state, byte);
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
unsafe fn advance<const WORDS: usize>(
    table: *const Table<WORDS>,
    part: Part,
    state: u32,
    byte: u8,
) -> u32 {
    // The classes of the network lie behind those of the files.
    let at = bounded!(part.classes + u64::from(byte), 511);
    // SAFETY: `table` is a map value, and the index is below that of the end of both arrays.
    let class = unsafe {
        (&raw const (*table).header.classes)
            .cast::<u8>()
            .add(at as usize)
            .read()
    };
    // SAFETY: as above.
    let state_word = unsafe { word(table, part.base + u64::from(state)) };
    // SAFETY: as above.
    let entry = unsafe { word(table, part.base + automaton::entry_index(state_word, class)) };
    automaton::next(state, state_word, entry)
}

/// A word of the table. The loader has checked that no index of a valid state leaves it.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn word<const WORDS: usize>(table: *const Table<WORDS>, index: u64) -> u64 {
    let offset = bounded!(index * 8, (WORDS as u64 - 1) * 8);
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
    with_header(label, MODE_ENFORCE, |header| header.files_mode)
}

/// The mode of a policy's network section; enforce if the policy cannot be found.
#[inline(always)]
pub fn network_mode(label: Label) -> u8 {
    with_header(label, MODE_ENFORCE, |header| header.network_mode)
}

/// Whether the policy in force looks at TLS greetings: `ringfence_abi::network::SNI_*`.
#[inline(always)]
pub fn sni(label: Label) -> u8 {
    with_header(label, SNI_REQUIRED, |header| header.network_sni)
}

/// Whether the policy in force has a rule about an address or a host; not if the policy cannot be found.
#[inline(always)]
pub fn reaches(label: Label) -> bool {
    with_header(label, 0, |header| header.network_reaches) != 0
}

/// How many programs of the fence have rights of their own; none if the policy cannot be found.
#[inline(always)]
pub fn program_count(label: Label) -> u8 {
    with_header(label, 0, |header| header.program_count)
}

/// The open surfaces; none if the policy cannot be found.
#[inline(always)]
pub fn surfaces(label: Label) -> Surfaces {
    Surfaces(with_header(label, 0, |header| header.surfaces.0))
}

/// The capabilities that may be used; none if the policy cannot be found.
#[inline(always)]
pub fn capabilities(label: Label) -> u64 {
    with_header(label, 0, |header| header.capabilities)
}

/// The size class of a program's table; `NO_TABLE` if there is none.
#[inline(always)]
pub fn size_class_of(label: Label, program: u8) -> u8 {
    let index = bounded!(u64::from(program), rights::PROGRAMS as u64);
    with_header(label, NO_TABLE, |header| {
        let classes = (&raw const header.programs).cast::<u8>();
        // SAFETY: the index is at most that of the array's last element.
        unsafe { classes.add(index as usize).read() }
    })
}

/// What `part` takes from the header of the policy in force; `otherwise` if the policy cannot be found.
///
/// VERIFIER: "R2 !read_ok" where an `Option` leaves one branch without its value.
#[inline(always)]
fn with_header<T>(label: Label, otherwise: T, part: impl Fn(&Header) -> T) -> T {
    let table = label.table();
    // SAFETY (three times): an inner map is replaced as a whole and freed after a grace period.
    match label.size_class {
        0 => match unsafe { TABLES_SMALL.get_value(&table, &only()) } {
            Some(table) => part(&table.header),
            None => otherwise,
        },
        1 => match unsafe { TABLES_MEDIUM.get_value(&table, &only()) } {
            Some(table) => part(&table.header),
            None => otherwise,
        },
        _ => match unsafe { TABLES_LARGE.get_value(&table, &only()) } {
            Some(table) => part(&table.header),
            None => otherwise,
        },
    }
}
