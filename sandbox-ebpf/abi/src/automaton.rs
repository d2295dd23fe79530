//! The automaton that answers "what may this path be used for": its words, and the step that both halves run.
//!
//! All file rules of a profile are compiled to one minimised automaton over bytes, laid out as one array of 64-bit
//! words. A state is named by the index of its word; a transition entry follows from the state's base and the byte's
//! class (row displacement: R. E. Tarjan and A. C. Yao, "Storing a sparse table", CACM 22(11), 1979):
//!
//! ```text
//! state word   base (bits 0..28) | default (bits 28..56) | rights (bits 56..64)
//! entry word   next (bits 0..32) | check (bits 32..64)
//! step         entry = words[base + class]; next if check == state, else default
//! ```
//!
//! Word 0 is the dead state: base 0, default 0, no rights; from it no right can be reached. States of a minimised
//! automaton are equal exactly if they allow the same to every continuation, which is what rename and link ask.

/// The dead state: nothing that follows can be allowed.
pub const DEAD: u32 = 0;
/// Bits of a word index inside a state word.
pub const INDEX_BITS: u32 = 28;
/// Most words of a table.
pub const MAX_WORDS: usize = 1 << INDEX_BITS;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// Builds a state word. `base` and `default` are word indices below [`MAX_WORDS`].
#[must_use]
pub const fn state_word(base: u32, default: u32, rights: u8) -> u64 {
    (base as u64 & INDEX_MASK)
        | ((default as u64 & INDEX_MASK) << INDEX_BITS)
        | ((rights as u64) << (2 * INDEX_BITS))
}

/// Builds an entry word: from the state whose word index is `check`, go to `next`.
#[must_use]
pub const fn entry_word(check: u32, next: u32) -> u64 {
    next as u64 | ((check as u64) << 32)
}

/// The rights that a state word carries.
#[inline(always)]
#[must_use]
pub const fn rights(state_word: u64) -> u8 {
    (state_word >> (2 * INDEX_BITS)) as u8
}

/// The word index of the entry that decides the step from `state_word` on a byte of `class`.
#[inline(always)]
#[must_use]
pub const fn entry_index(state_word: u64, class: u8) -> u64 {
    (state_word & INDEX_MASK) + class as u64
}

/// The next state: from `state`, whose word is `state_word`, given the entry at [`entry_index`].
#[inline(always)]
#[must_use]
pub const fn next(state: u32, state_word: u64, entry: u64) -> u32 {
    if (entry >> 32) as u32 == state {
        (entry & 0xffff_ffff) as u32
    } else {
        ((state_word >> INDEX_BITS) & INDEX_MASK) as u32
    }
}

/// Walks `bytes` from `state` and returns the state reached: what the kernel half does, on a slice.
///
/// A word index outside `words` leads to [`DEAD`].
#[must_use]
pub fn walk(words: &[u64], classes: &[u8; 256], mut state: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        let Some(&state_word) = words.get(state as usize) else {
            return DEAD;
        };
        let index = entry_index(state_word, classes[byte as usize]);
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| words.get(index));
        let Some(&entry) = entry else {
            return DEAD;
        };
        state = next(state, state_word, entry);
    }
    state
}

/// The rights that `state` carries; none for a state outside `words`.
#[must_use]
pub fn rights_of(words: &[u64], state: u32) -> u8 {
    words.get(state as usize).map_or(0, |&word| rights(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::{READ, WRITE};

    #[test]
    fn words_give_back_what_was_put_in() {
        let word = state_word(0x0abc_def1, 0x0123_4567, READ | WRITE);
        assert_eq!(rights(word), READ | WRITE);
        assert_eq!(entry_index(word, 7), 0x0abc_def1 + 7);
        assert_eq!(next(9, word, entry_word(9, 77)), 77);
        assert_eq!(next(9, word, entry_word(8, 77)), 0x0123_4567);
    }

    #[test]
    fn a_walk_out_of_the_table_is_dead() {
        let classes = [0u8; 256];
        assert_eq!(walk(&[], &classes, 5, b"/x"), DEAD);
        assert_eq!(walk(&[state_word(99, 0, 0)], &classes, 0, b"/"), DEAD);
        assert_eq!(rights_of(&[], 3), 0);
    }
}
