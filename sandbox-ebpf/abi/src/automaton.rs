//! The automaton that answers "what may this path be used for": its words, and the step that both halves run.
//!
//! All file rules of a profile are compiled to one minimised automaton over bytes, laid out as one array of 64-bit
//! words. A state is named by the index of its word, behind which its transition entries lie, each as far as its class of
//! bytes says; the rows of states lie in each other's gaps (row displacement: R. E. Tarjan and A. C. Yao, "Storing a
//! sparse table", CACM 22(11), 1979):
//!
//! ```text
//! state word   default (bits 0..32) | what it accepts with (bits 32..40) | 1 (bit 63)
//! entry word   next (bits 0..32) | check (bits 32..64)
//! step         entry = words[state + 1 + class]; next if check == state, else the default in words[state]
//! ```
//!
//! The first states are sinks, which nothing leads out of: state `n` accepts with `n`, whatever follows. So a walk may end in
//! the first of them. State 0 is the dead one, from which no right can be reached. States of a minimised
//! automaton are equal exactly if they allow the same to every continuation, which is what rename and link ask.

/// The dead state: nothing that follows can be allowed.
pub const DEAD: u32 = 0;
/// How many sinks there are: one for each byte that a state can accept with.
pub const SINKS: u32 = 256;
/// Marks a state's word. No state is so large that an entry could have this in its check.
const STATE: u64 = 1 << 63;
/// Where `accept` and `check` begin.
const SHIFT: u32 = 32;

/// Builds a state word: `default` is the state that all bytes without an entry lead to.
#[must_use]
pub const fn state_word(default: u32, accept: u8) -> u64 {
    default as u64 | (accept as u64) << SHIFT | STATE
}

/// Builds an entry word: from the state whose word index is `check`, go to `next`.
#[must_use]
pub const fn entry_word(check: u32, next: u32) -> u64 {
    next as u64 | (check as u64) << SHIFT
}

/// The words of the sinks, with which every table begins.
#[must_use]
pub const fn sinks() -> [u64; SINKS as usize] {
    let mut words = [0; SINKS as usize];
    let mut state = 0;
    while state < SINKS {
        words[state as usize] = state_word(state, (state & 0xff) as u8);
        state += 1;
    }
    words
}

/// Whether nothing leads out of `state`.
#[inline(always)]
#[must_use]
pub const fn is_sink(state: u32) -> bool {
    state < SINKS
}

/// Whether a word is a state's.
#[must_use]
pub const fn is_state(word: u64) -> bool {
    word & STATE != 0
}

/// The rights that a state word carries.
#[inline(always)]
#[must_use]
pub const fn rights(state_word: u64) -> u8 {
    ((state_word >> SHIFT) & 0xff) as u8
}

/// The state that a state word's default leads to.
#[must_use]
pub const fn default(state_word: u64) -> u32 {
    halves(state_word).0
}

/// The low and the high half of a word, each of which the kernel half loads by itself.
#[must_use]
pub const fn halves(word: u64) -> (u32, u32) {
    ((word & 0xffff_ffff) as u32, (word >> SHIFT) as u32)
}

/// The word index of the entry that decides the step from `state` on a byte of `class`.
#[inline(always)]
#[must_use]
pub const fn entry_index(state: u32, class: u8) -> u64 {
    state as u64 + 1 + class as u64
}

/// Where the entry at [`entry_index`], in its halves, leads from `state`, if it belongs to it.
#[inline(always)]
#[must_use]
pub const fn entered(state: u32, (next, check): (u32, u32)) -> Option<u32> {
    if check == state { Some(next) } else { None }
}

/// Walks `bytes` from `state` and returns the state reached: what the kernel half does, on a slice.
///
/// A word index outside `words` leads to [`DEAD`].
#[must_use]
pub fn walk(words: &[u64], classes: &[u8; 256], mut state: u32, bytes: &[u8]) -> u32 {
    let word = |index: u64| {
        usize::try_from(index)
            .ok()
            .and_then(|index| words.get(index))
    };
    for &byte in bytes {
        let Some(&entry) = word(entry_index(state, classes[byte as usize])) else {
            return DEAD;
        };
        state = match entered(state, halves(entry)) {
            Some(next) => next,
            None => word(u64::from(state)).map_or(DEAD, |&word| default(word)),
        };
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
        let word = state_word(0x0123_4567, READ | WRITE);
        assert_eq!(rights(word), READ | WRITE);
        assert_eq!(default(word), 0x0123_4567);
        assert_eq!(entered(9, halves(entry_word(9, 77))), Some(77));
        assert_eq!(entered(9, halves(entry_word(8, 77))), None);
        assert_eq!(entry_index(9, 7), 17);
    }

    #[test]
    fn a_state_is_no_entry_of_any_state() {
        let word = state_word(77, u8::MAX);
        assert!(is_state(word));
        assert!(!is_state(entry_word(9, 77)));
        for state in (0..1 << 21).step_by(37) {
            assert_eq!(entered(state, halves(word)), None);
        }
    }

    #[test]
    fn nothing_leads_out_of_a_sink() {
        let mut classes = [0; 256];
        for (class, byte) in classes.iter_mut().zip(0..=u8::MAX) {
            *class = byte;
        }
        let mut words = [entry_word(u32::MAX, DEAD); 600];
        words[..256].copy_from_slice(&sinks());
        for state in 0..SINKS {
            assert!(is_sink(state));
            assert_eq!(walk(&words, &classes, state, b"\0/x\xff"), state);
            assert_eq!(u32::from(rights_of(&words, state)), state);
        }
        assert!(!is_sink(SINKS));
    }

    #[test]
    fn a_walk_out_of_the_table_is_dead() {
        let classes = [0u8; 256];
        assert_eq!(walk(&[], &classes, 5, b"/x"), DEAD);
        assert_eq!(walk(&[state_word(99, 0)], &classes, 0, b"/"), DEAD);
        assert_eq!(rights_of(&[], 3), 0);
    }
}
