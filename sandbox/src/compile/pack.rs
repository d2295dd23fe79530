//! Rows to the kernel's table, see [`ringfence_abi::automaton`].
//!
//! Behind the words of the sinks come all other states, each with its entries, in each other's gaps; and as many words follow the
//! last as there are classes, so that every state may be followed by every class.

use ringfence_abi::automaton::{DEAD, SINKS, entry_index, entry_word, sinks, state_word};
use ringfence_abi::policy::LARGE_WORDS;

use super::determinise::{Automaton, Row};
use crate::policy;

/// An entry of no state.
const UNUSED: u64 = entry_word(u32::MAX, DEAD);
/// Places that are tried for a state before it is put at the end.
const MOST_TRIES: usize = 512;
/// Where it took more tries than this, the gaps that were tried are left alone by states with as many entries.
const MANY_TRIES: usize = 32;

/// The table of `automaton`, or the number of words that it would have at least.
pub(super) fn pack(automaton: &Automaton) -> Result<policy::Automaton, usize> {
    let (classes, lasts) = classes(&automaton.states);
    let least = SINKS as usize + automaton.states.len();
    if least > LARGE_WORDS {
        return Err(least);
    }
    let plans = automaton.states.iter().enumerate();
    let mut plans: Vec<Plan> = plans
        .map(|(state, row)| Plan::new(state, row, &lasts))
        .collect();
    // Rows with many entries find their place more easily while there is room.
    plans.sort_by_key(|plan| std::cmp::Reverse(plan.entries.len()));

    let mut room = Room::default();
    let mut names = vec![DEAD; plans.len()];
    for plan in &plans {
        let accept = automaton.states[plan.state].accept;
        names[plan.state] = match plan.is_sink() {
            true => u32::from(accept),
            false => narrow(SINKS as usize + room.place(&plan.entries)),
        };
    }
    let length = SINKS as usize + room.free.len() + lasts.len();
    if length > LARGE_WORDS {
        return Err(length);
    }
    let mut words = sinks().to_vec();
    words.resize(length, UNUSED);
    for plan in plans.iter().filter(|plan| !plan.is_sink()) {
        let name = names[plan.state];
        let accept = automaton.states[plan.state].accept;
        words[name as usize] = state_word(names[plan.default], accept);
        for &(class, target) in &plan.entries {
            // What fits the table has room in an index.
            if let Ok(index) = usize::try_from(entry_index(name, class)) {
                words[index] = entry_word(name, names[target]);
            }
        }
    }
    Ok(policy::Automaton {
        start: names[automaton.start as usize],
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
    entries: Vec<(u8, usize)>,
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
                (from..to)
                    .filter_map(move |class| Some((u8::try_from(class).ok()?, target as usize)))
            })
            .collect();
        Self {
            state,
            default: default as usize,
            entries,
        }
    }

    /// Whether all bytes lead back to the state.
    fn is_sink(&self) -> bool {
        self.entries.is_empty() && self.default == self.state
    }
}

/// The words behind the sinks' that are free.
#[derive(Default)]
struct Room {
    /// For each word the next that may be free, itself if it is: a forest that shortens as it is asked.
    free: Vec<usize>,
    /// Where states with `entries` entries are tried first.
    first: usize,
    entries: usize,
}

impl Room {
    /// The place of a state's word, from which its entries lie as far as their classes say.
    fn place(&mut self, entries: &[(u8, usize)]) -> usize {
        if self.entries != entries.len() {
            self.entries = entries.len();
            self.first = 0;
        }
        let own = std::iter::once(0);
        let taken = own.chain(entries.iter().map(|&(class, _)| 1 + usize::from(class)));
        let mut place = self.next_free(self.first);
        let mut tries = 1;
        while !taken.clone().all(|word| self.is_free(place + word)) {
            if tries == MOST_TRIES {
                place = self.free.len();
                break;
            }
            place = self.next_free(place + 1);
            tries += 1;
        }
        if tries > MANY_TRIES {
            self.first = place;
        }
        for word in taken {
            self.take(place + word);
        }
        place
    }

    fn is_free(&self, word: usize) -> bool {
        self.free.get(word).is_none_or(|&free| free == word)
    }

    fn take(&mut self, word: usize) {
        while self.free.len() <= word {
            self.free.push(self.free.len());
        }
        self.free[word] = word + 1;
    }

    /// The first free word from `from` on.
    fn next_free(&mut self, from: usize) -> usize {
        let mut found = from;
        while let Some(&next) = self.free.get(found) {
            if next == found {
                break;
            }
            found = next;
        }
        let mut at = from;
        while at < found && at < self.free.len() {
            at = std::mem::replace(&mut self.free[at], found);
        }
        found
    }
}

/// A word's index, which has 21 bits once the table fits; one that does not fit is refused as a whole.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
