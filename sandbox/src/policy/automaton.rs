//! An automaton as user space holds it: the words of [`ringfence_abi::automaton`] and questions to them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ringfence_abi::{automaton, rights};

/// Most pairs of states that a comparison looks at: some seconds.
const MOST_PAIRS: usize = 1 << 22;

/// A compiled set of rules: about paths, or about the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    /// State in which every path starts.
    pub start: u32,
    /// Byte to class.
    pub classes: [u8; 256],
    /// State and entry words.
    pub words: Vec<u64>,
}

impl Default for Automaton {
    fn default() -> Self {
        Self::deny_all()
    }
}

impl Automaton {
    /// An automaton that allows nothing.
    #[must_use]
    pub fn deny_all() -> Self {
        Self {
            start: automaton::DEAD,
            classes: [0; 256],
            words: automaton::sinks().to_vec(),
        }
    }

    /// Checks that no step of a state, whether a path leads there or not, leaves the words, and that sinks are what the kernel half takes
    /// them for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        let words = &self.words;
        if !words.starts_with(&automaton::sinks()) {
            return Err("its sinks are not those of every automaton");
        }
        let classes = usize::from(self.classes.iter().copied().max().unwrap_or(0));
        // Where each state leads, reached or not: by its default, and by the entries that name it.
        let mut farthest = 0;
        let mut leads_to = |state: u32| {
            let word = words.get(state as usize);
            let word = *word.ok_or("a state lies outside the table")?;
            farthest = farthest.max(state as usize);
            match automaton::is_state(word) {
                true => Ok(()),
                false => Err("an entry is taken for a state"),
            }
        };
        leads_to(self.start)?;
        leads_to(automaton::DEAD)?;
        // Nothing leads out of a sink but by an entry that names it.
        for &word in words.iter().skip(automaton::SINKS as usize) {
            if automaton::is_state(word) {
                leads_to(automaton::default(word))?;
                continue;
            }
            let (next, state) = automaton::halves(word);
            let owner = words.get(state as usize);
            if owner.is_some_and(|&owner| automaton::is_state(owner)) {
                leads_to(next)?;
            }
        }
        match words.len().checked_sub(classes + 1) {
            Some(last) if farthest < last => Ok(()),
            _ => Err("an entry lies outside the table"),
        }
    }

    /// The rights of `path`, an absolute path without a trailing slash (`/` itself apart).
    #[must_use]
    pub fn rights(&self, path: &[u8]) -> u8 {
        self.rights_of(self.state(path))
    }

    /// The number of the program that an exec of `path` enters; 0 is none.
    #[must_use]
    pub fn program(&self, path: &[u8]) -> u8 {
        rights::program(self.accept(self.state(path)))
    }

    /// The state after `bytes`; equal states allow the same to every continuation.
    #[must_use]
    pub fn state(&self, bytes: &[u8]) -> u32 {
        automaton::walk(&self.words, &self.classes, self.start, bytes)
    }

    /// The rights of a path that ends in `state`.
    #[must_use]
    pub fn rights_of(&self, state: u32) -> u8 {
        self.accept(state) & rights::ALL
    }

    /// Rights and program of a path that ends in `state`, as the kernel reads them.
    #[must_use]
    pub fn accept(&self, state: u32) -> u8 {
        automaton::rights_of(&self.words, state)
    }

    /// The rights that `path` or some path below it has.
    #[must_use]
    pub fn below(&self, path: &[u8]) -> u8 {
        let path = if path == b"/" { b"" } else { path };
        let inside = self.step(self.state(path), b"/");
        let alphabet = alphabet(1, |byte| (self.classes[usize::from(byte)], 0));
        let mut rights = self.rights(path);
        let mut found = Found::among(self.words.len());
        // Outside of the words nothing follows.
        let mut add = |state| found.add(state) == Some(true);
        let mut open: Vec<u32> = [inside].into_iter().filter(|&state| add(state)).collect();
        while let Some(state) = open.pop() {
            rights |= self.rights_of(state);
            let next = alphabet.iter().map(|byte| self.step(state, &[*byte]));
            open.extend(next.filter(|&next| add(next)));
        }
        rights
    }

    /// What paths can be accepted with: the rights and program of every state that one leads to, each once.
    #[must_use]
    pub fn accepts(&self) -> BTreeSet<u8> {
        let mut accepts = BTreeSet::new();
        let alphabet = alphabet(1, |byte| (self.classes[usize::from(byte)], 0));
        let mut seen = HashSet::from([self.start]);
        let mut open = vec![self.start];
        while let Some(state) = open.pop() {
            accepts.insert(self.accept(state));
            let next = alphabet.iter().map(|byte| self.step(state, &[*byte]));
            open.extend(next.filter(|&next| seen.insert(next)));
        }
        accepts
    }

    /// How the rights that this gives differ from those that `other` gives, over all paths. Two that are too large to be
    /// compared differ in every right.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Difference {
        // NUL is in no path.
        self.difference_over(other, 1)
    }

    /// The same over all questions about the network, in which NUL ends a name.
    #[must_use]
    pub fn network_difference(&self, other: &Self) -> Difference {
        self.difference_over(other, 0)
    }

    fn difference_over(&self, other: &Self, first_byte: u8) -> Difference {
        let mut difference = Difference::default();
        let classes = |byte: u8| {
            let byte = usize::from(byte);
            (self.classes[byte], other.classes[byte])
        };
        let alphabet = alphabet(first_byte, classes);
        let start = (self.start, other.start);
        let mut seen = HashSet::from([start]);
        let mut open = vec![start];
        while let Some((ours, theirs)) = open.pop() {
            let (here, there) = (self.rights_of(ours), other.rights_of(theirs));
            difference.more |= here & !there;
            difference.less |= there & !here;
            if seen.len() > MOST_PAIRS {
                return Difference {
                    more: rights::ALL,
                    less: rights::ALL,
                };
            }
            for &byte in &alphabet {
                let next = (self.step(ours, &[byte]), other.step(theirs, &[byte]));
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        difference
    }

    /// Whether something that follows `state` within `bytes` more of them is accepted with one of `bits`.
    #[must_use]
    pub fn leads_to(&self, state: u32, bits: u8, bytes: usize) -> bool {
        let alphabet = alphabet(0, |byte| (self.classes[usize::from(byte)], 0));
        let mut states = BTreeSet::from([state]);
        for _ in 0..bytes {
            if states.iter().any(|&state| self.accept(state) & bits != 0) {
                return true;
            }
            let from = |&state: &u32| alphabet.iter().map(move |&byte| self.step(state, &[byte]));
            states = states.iter().flat_map(from).collect();
        }
        states.iter().any(|&state| self.accept(state) & bits != 0)
    }

    /// Whether `state`, or one that it leads to, accepts with one of these bits.
    #[must_use]
    pub fn leads_anywhere_to(&self, state: u32, bits: u8) -> bool {
        let alphabet = alphabet(0, |byte| (self.classes[usize::from(byte)], 0));
        let mut seen = HashSet::from([state]);
        let mut open = vec![state];
        while let Some(state) = open.pop() {
            if self.accept(state) & bits != 0 {
                return true;
            }
            let next = alphabet.iter().map(|byte| self.step(state, &[*byte]));
            open.extend(next.filter(|&next| seen.insert(next)));
        }
        false
    }

    /// The state after `bytes`, from `state`.
    #[must_use]
    pub fn step(&self, state: u32, bytes: &[u8]) -> u32 {
        automaton::walk(&self.words, &self.classes, state, bytes)
    }
}

/// How the rights of one automaton differ from those of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rights that it gives to some path and the other does not.
    pub more: u8,
    /// Rights that the other gives to some path and it does not.
    pub less: u8,
}

/// States of one automaton that were found.
struct Found(Vec<bool>);

impl Found {
    fn among(words: usize) -> Self {
        Self(vec![false; words])
    }

    /// Whether it was not found before; `None` outside of the words.
    fn add(&mut self, state: u32) -> Option<bool> {
        let known = self.0.get_mut(state as usize)?;
        Some(!std::mem::replace(known, true))
    }
}

/// One byte of each class, from `first` on.
pub(super) fn alphabet(first: u8, class: impl Fn(u8) -> (u8, u8)) -> Vec<u8> {
    let by_class: BTreeMap<_, _> = (first..=255).map(|byte| (class(byte), byte)).collect();
    by_class.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_whose_states_lead_out_of_it_is_refused() {
        let good = Automaton::deny_all();
        assert!(good.check().is_ok());
        let refused = |change: &dyn Fn(&mut Automaton)| {
            let mut automaton = good.clone();
            change(&mut automaton);
            assert!(automaton.check().is_err());
        };
        // The last state's entry would be behind the words.
        refused(&|automaton| automaton.start = 255);
        refused(&|automaton| automaton.start = 256);
        refused(&|automaton| {
            automaton.words.extend([automaton::state_word(258, 0), 0]);
            automaton.start = 256;
        });
    }

    #[test]
    fn one_whose_sinks_or_states_are_something_else_is_refused() {
        for word in [automaton::state_word(0, 7), automaton::state_word(5, 0), 0] {
            let mut automaton = Automaton::deny_all();
            automaton.words[0] = word;
            assert!(automaton.check().is_err());
        }
        let mut automaton = Automaton::deny_all();
        let entry = automaton::entry_word(256, 0);
        automaton.start = 256;
        automaton.words.extend([automaton::state_word(0, 0), entry]);
        assert!(automaton.check().is_ok());
        automaton.start = 257;
        automaton.words.push(0);
        assert!(automaton.check().is_err());
    }
}
