//! What one automaton allows and another does not, with a path to show it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use ringfence_abi::rights::ALL;

use super::Automaton;

/// Most states that are looked at: some seconds.
const MOST_STATES: usize = 1 << 21;
/// Bytes that people use in paths, the likely ones first: of a class of bytes the first of these stands for it.
const LIKELY: &[u8] = b"xabcdefghijklmnopqrstuvwyz0123456789/._-ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// There is no such path.
    None,
    /// One of the shortest such paths.
    Path(Vec<u8>),
    /// The automata are too large to be compared.
    TooLarge,
}

impl Automaton {
    /// A path to which this one gives `right` and `other` does not, among those to which `within`, if there is
    /// one, gives it as well.
    #[must_use]
    pub fn witness(&self, other: &Self, right: u8, within: Option<&Self>) -> Witness {
        let alphabet = self.shared_alphabet(other, within);
        let start = (
            self.start,
            other.start,
            within.map_or(0, |within| within.start),
        );
        // How each was reached: from which, by which byte.
        let mut seen = HashMap::from([(start, None)]);
        let mut open = VecDeque::from([start]);
        while let Some(states) = open.pop_front() {
            let (own, others, inside) = states;
            let inner = within.map_or(ALL, |within| within.rights_of(inside));
            let found = self.rights_of(own) & inner & !other.rights_of(others);
            if found & right != 0 {
                return Witness::Path(path_to(states, &seen));
            }
            if seen.len() > MOST_STATES {
                return Witness::TooLarge;
            }
            for &byte in &alphabet {
                let step = |automaton: &Self, state| automaton.step(state, &[byte]);
                let inner = within.map_or(0, |within| step(within, inside));
                let next = (step(self, own), step(other, others), inner);
                seen.entry(next).or_insert_with(|| {
                    open.push_back(next);
                    Some((states, byte))
                });
            }
        }
        Witness::None
    }

    /// One byte for all that none of the three tells apart; NUL is in no path.
    fn shared_alphabet(&self, other: &Self, within: Option<&Self>) -> Vec<u8> {
        let mut by_class = BTreeMap::new();
        let likely = LIKELY.iter().copied();
        for byte in likely.chain(1..=255) {
            let class = |automaton: &Self| automaton.classes[usize::from(byte)];
            by_class
                .entry((class(self), class(other), within.map(class)))
                .or_insert(byte);
        }
        by_class.into_values().collect()
    }
}

type States = (u32, u32, u32);

fn path_to(mut states: States, seen: &HashMap<States, Option<(States, u8)>>) -> Vec<u8> {
    let mut path = Vec::new();
    while let Some(Some((before, byte))) = seen.get(&states) {
        path.push(*byte);
        states = *before;
    }
    path.reverse();
    path
}
