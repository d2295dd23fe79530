//! Steps in the automata of a table, by `ringfence_abi::automaton`: from a state by a byte to the next, and what a state accepts with.

use ringfence_abi::{
    automaton,
    policy::{LARGE_WORDS, MEDIUM_WORDS, SMALL_WORDS, Table},
};

use crate::walk::bounded;

/// The policy could not be found: the bit above those that a state accepts with.
///
/// VERIFIER: "R2 !read_ok" where a `Result` leaves one branch without its value.
pub const FAILED: u32 = 1 << 8;

/// Which of the two automata, and where it is.
#[derive(Clone, Copy)]
pub struct Part {
    /// Where its classes begin behind those of the files.
    pub classes: u64,
    /// Index of its first word.
    pub base: u64,
}

impl Part {
    /// The automaton of the files.
    pub const FILES: Self = Self { classes: 0, base: 0 };

    /// The automaton of the network, whose words begin at `base`.
    #[inline(always)]
    pub fn network(base: u64) -> Self {
        Self { classes: 256, base }
    }
}

/// The automaton of the network.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
pub unsafe fn network<const WORDS: usize>(table: *const Table<WORDS>) -> Part {
    // SAFETY: by contract.
    let base = unsafe { core::ptr::read_volatile(&raw const (*table).header.network_base) };
    Part::network(u64::from(base))
}

/// The state after a few bytes of a word, the lowest first.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
pub unsafe fn through<const WORDS: usize>(
    table: *const Table<WORDS>,
    part: Part,
    state: u32,
    word: u64,
    bytes: u32,
) -> u32 {
    let mut state = state;
    let mut index = 0;
    while index < bytes {
        // SAFETY: by contract.
        state = unsafe { advance(table, part, state, word >> (index * 8)) };
        index += 1;
    }
    state
}

/// Where the number of bytes stands beside the state that they are matched from.
pub const LEFT: u32 = 32;

/// The state of the files' automaton after as many bytes of three words, the lowest of each first, as `from` says beside the state that
/// they are matched from; or the sink that they end in.
#[inline(always)]
pub fn through_words<const WORDS: usize>(
    table: *const Table<WORDS>,
    from: u64,
    first: u64,
    second: u64,
    third: u64,
) -> u64 {
    match WORDS {
        SMALL_WORDS => through_words_small(table.cast(), from, first, second, third),
        MEDIUM_WORDS => through_words_medium(table.cast(), from, first, second, third),
        _ => through_words_large(table.cast(), from, first, second, third),
    }
}

/// One for each size of a table.
///
/// VERIFIER: global functions, as `matching::match_path`.
macro_rules! through_words {
    ($($name:ident in $words:ident),*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(table: *const Table<$words>, from: u64, first: u64, second: u64, third: u64) -> u64 {
                if table.is_null() {
                    return u64::from(automaton::DEAD);
                }
                // SAFETY: `table` is a table, by the verifier's own account.
                u64::from(unsafe { through_each(table, from, [first, second, third]) })
            }
        )*
    };
}

through_words!(
    through_words_small in SMALL_WORDS,
    through_words_medium in MEDIUM_WORDS,
    through_words_large in LARGE_WORDS
);

/// # Safety
/// `table` is a table.
#[inline(always)]
unsafe fn through_each<const WORDS: usize>(
    table: *const Table<WORDS>,
    from: u64,
    words: [u64; 3],
) -> u32 {
    let [mut word, mut second, third] = words;
    let mut left = from >> LEFT;
    let mut state = from as u32;
    let mut at = 0;
    while at < words.len() {
        // Opaque, or LLVM makes eight numbers of this one, to have each byte's at hand.
        left = bounded!(left, 31);
        let mut index = 0;
        while index < 8 {
            if automaton::is_sink(state) || index == left {
                return state;
            }
            // SAFETY: by contract.
            state = unsafe { advance(table, Part::FILES, state, word) };
            word >>= 8;
            index += 1;
        }
        (word, second) = (second, third);
        left = left.wrapping_sub(8);
        at += 1;
    }
    state
}

/// One step: by the lowest byte of `byte`.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
pub unsafe fn advance<const WORDS: usize>(
    table: *const Table<WORDS>,
    part: Part,
    state: u32,
    byte: u64,
) -> u32 {
    let byte = bounded!(byte, 255);
    // SAFETY: `table` is a map value, and a byte is below the length of either array; the classes of the network lie behind those
    // of the files.
    let class = unsafe {
        (&raw const (*table).header.classes)
            .cast::<u8>()
            .add(part.classes as usize)
            .add(byte as usize)
            .read()
    };
    let name = part.base + u64::from(state);
    // SAFETY: as above.
    let entry = unsafe { halves_at::<WORDS, 1>(table, name + u64::from(class)) };
    match automaton::entered(state, entry) {
        Some(next) => next,
        // SAFETY: as above.
        None => unsafe { halves_at::<WORDS, 0>(table, name) }.0,
    }
}

/// What a state of an automaton accepts with.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
pub unsafe fn accepted<const WORDS: usize>(table: *const Table<WORDS>, part: Part, state: u32) -> u8 {
    // SAFETY: by contract.
    let (default, accept) = unsafe { halves_at::<WORDS, 0>(table, part.base + u64::from(state)) };
    automaton::rights(u64::from(accept) << 32 | u64::from(default))
}

/// The halves of the word that lies `BEHIND` words, none or one, behind one of the table: as part of the load this takes no
/// instruction, nor does a half take one to be told from the other. The loader has checked that no index of a valid state leaves the
/// table.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn halves_at<const WORDS: usize, const BEHIND: usize>(
    table: *const Table<WORDS>,
    index: u64,
) -> (u32, u32) {
    const { assert!(BEHIND <= 1) };
    let offset = bounded!(index * 8, (WORDS as u64 - 1) * 8);
    // SAFETY: the offset is a multiple of eight below the array's size, and the array is followed by one word.
    unsafe {
        let word = (&raw const (*table).words)
            .cast::<u8>()
            .add(offset as usize)
            .cast::<u64>()
            .add(BEHIND)
            .cast::<u32>();
        (word.read(), word.add(1).read())
    }
}
