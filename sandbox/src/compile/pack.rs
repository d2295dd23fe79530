//! Rows to the kernel's table, see [`ringfence_abi::automaton`].
//!
//! Words 0 to 255 are the dead state and its entries, then come all other states, then all entries. So no state's base
//! leads to a state's word, which could be taken for an entry; and as many words follow the last base as there are
//! classes.

use ringfence_abi::automaton::{DEAD, entry_word, state_word};
use ringfence_abi::policy::LARGE_WORDS;

use super::determinise::{Automaton, Row};
use crate::policy;

/// An entry of no state.
const UNUSED: u64 = entry_word(u32::MAX, DEAD);
/// Words before the first state but the dead one: its entries, none of which is used.
const FIRST_STATE: usize = 256;
/// Places that are tried for a state with several entries before it is put at the end.
const MOST_TRIES: usize = 512;

/// The table of `automaton`, or the number of words that it would have at least.
pub(super) fn pack(automaton: &Automaton) -> Result<policy::Automaton, usize> {
    let (classes, lasts) = classes(&automaton.states);
    let first_entry = FIRST_STATE + automaton.states.len() - 1;
    if first_entry > LARGE_WORDS {
        return Err(first_entry);
    }
    let mut plans: Vec<Plan> = automaton
        .states
        .iter()
        .enumerate()
        .map(|(state, row)| Plan::new(state, row, &lasts))
        .collect();
    // Rows with many entries find their place more easily while there is room.
    plans.sort_by_key(|plan| std::cmp::Reverse(plan.entries.len()));

    let mut words = vec![UNUSED; first_entry];
    words[0] = state_word(0, DEAD, 0);
    let mut entries = Entries::new(first_entry);
    for plan in plans {
        // The dead state goes nowhere: no entries, and base 0 by the table's definition.
        if plan.state == 0 {
            continue;
        }
        let check = word_index(plan.state);
        let base = entries.place(&plan.entries, check);
        let accept = automaton.states[plan.state].accept;
        words[check as usize] = state_word(narrow(base), word_index(plan.default), accept);
    }
    words.extend(entries.words);
    // Every base may be followed by every class.
    words.extend(std::iter::repeat_n(UNUSED, lasts.len()));
    if words.len() > LARGE_WORDS {
        return Err(words.len());
    }
    Ok(policy::Automaton {
        start: word_index(automaton.start as usize),
        classes,
        words,
    })
}

/// Class of each byte, and the last byte of each class: bytes that no row tells apart are one class.
fn classes(states: &[Row]) -> ([u8; 256], Vec<u8>) {
    let mut is_last = [false; 256];
    for row in states {
        for &(last, _) in &row.steps {
            is_last[usize::from(last)] = true;
        }
    }
    let lasts: Vec<u8> = (0..=255u8)
        .filter(|&byte| is_last[usize::from(byte)])
        .collect();
    let mut classes = [0; 256];
    let mut class = 0u8;
    for byte in 0..=255u8 {
        classes[usize::from(byte)] = class;
        // At most 256 classes: the last byte of the last one is 255.
        class = if is_last[usize::from(byte)] {
            class.wrapping_add(1)
        } else {
            class
        };
    }
    (classes, lasts)
}

/// A state's default and its entries by class.
struct Plan {
    state: usize,
    default: usize,
    entries: Vec<(u8, u32)>,
}

impl Plan {
    fn new(state: usize, row: &Row, lasts: &[u8]) -> Self {
        let mut spans: Vec<(u32, usize, usize)> = Vec::with_capacity(row.steps.len());
        let mut class = 0;
        for &(last, target) in &row.steps {
            let end = lasts.partition_point(|&byte| byte <= last);
            spans.push((target, class, end));
            class = end;
        }
        let share = |&(target, ..): &(u32, usize, usize)| -> usize {
            let same = spans.iter().filter(|(other, ..)| *other == target);
            same.map(|(_, from, to)| to - from).sum()
        };
        let default = spans.iter().max_by_key(|span| share(span));
        let default = default.map_or(0, |&(target, ..)| target);
        let entries = spans
            .iter()
            .filter(|(target, ..)| *target != default)
            .flat_map(|&(target, from, to)| {
                (from..to).filter_map(move |class| Some((u8::try_from(class).ok()?, target)))
            })
            .map(|(class, target)| (class, word_index(target as usize)))
            .collect();
        Self {
            state,
            default: default as usize,
            entries,
        }
    }
}

/// The entries' words, and which of them are free.
struct Entries {
    /// Index of the first in the table.
    first: usize,
    words: Vec<u64>,
    /// For each word the next that may be free, itself if it is: a forest that shortens as it is asked.
    free: Vec<usize>,
}

impl Entries {
    fn new(first: usize) -> Self {
        Self {
            first,
            words: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Puts `entries` of the state `check` where they fit, and returns the base.
    fn place(&mut self, entries: &[(u8, u32)], check: u32) -> usize {
        let Some(&(first_class, _)) = entries.first() else {
            return self.first;
        };
        let first_class = usize::from(first_class);
        let mut slot = self.next_free(first_class);
        for _ in 0..MOST_TRIES {
            let base = slot - first_class;
            if entries
                .iter()
                .all(|&(class, _)| self.is_free(base + usize::from(class)))
            {
                break;
            }
            slot = self.next_free(slot + 1);
        }
        let mut base = slot - first_class;
        if !entries
            .iter()
            .all(|&(class, _)| self.is_free(base + usize::from(class)))
        {
            base = self.words.len();
        }
        for &(class, next) in entries {
            let slot = base + usize::from(class);
            self.grow(slot);
            self.words[slot] = entry_word(check, next);
            self.free[slot] = slot + 1;
        }
        self.first + base
    }

    fn is_free(&self, slot: usize) -> bool {
        self.free.get(slot).is_none_or(|&free| free == slot)
    }

    /// The first free word from `slot` on.
    fn next_free(&mut self, slot: usize) -> usize {
        let mut found = slot;
        while let Some(&next) = self.free.get(found) {
            if next == found {
                break;
            }
            found = next;
        }
        let mut at = slot;
        while at < found && at < self.free.len() {
            at = std::mem::replace(&mut self.free[at], found);
        }
        found
    }

    fn grow(&mut self, slot: usize) {
        while self.words.len() <= slot {
            self.free.push(self.words.len());
            self.words.push(UNUSED);
        }
    }
}

/// Where in the table a state is.
fn word_index(state: usize) -> u32 {
    if state == 0 {
        DEAD
    } else {
        narrow(FIRST_STATE + state - 1)
    }
}

/// A word's index, which has 21 bits once the table fits; one that does not fit is refused as a whole.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
