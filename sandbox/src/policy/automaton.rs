//! The file automaton as user space holds it: the words of [`ringfence_abi::automaton`] and questions to them.

use ringfence_abi::{automaton, rights};

/// A compiled set of path rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    /// State in which every path starts.
    pub start: u32,
    /// Byte to class.
    pub classes: [u8; 256],
    /// State and entry words.
    pub words: Vec<u64>,
}

/// What a directory's descendants may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subtree {
    /// Every path below has exactly these rights ([`rights`]).
    Uniform(u8),
    /// Paths below differ, or might.
    Mixed,
}

impl Automaton {
    /// An automaton that allows nothing.
    #[must_use]
    pub fn deny_all() -> Self {
        Self {
            start: automaton::DEAD,
            classes: [0; 256],
            words: vec![automaton::state_word(0, automaton::DEAD, 0), 0],
        }
    }

    /// The rights of `path`, an absolute path without a trailing slash (`/` itself apart).
    #[must_use]
    pub fn rights(&self, path: &[u8]) -> u8 {
        automaton::rights_of(&self.words, self.state(path))
    }

    /// The state after `bytes`; equal states allow the same to every continuation.
    #[must_use]
    pub fn state(&self, bytes: &[u8]) -> u32 {
        automaton::walk(&self.words, &self.classes, self.start, bytes)
    }

    /// What the descendants of `directory` may be used for; `/` or a path without a trailing slash.
    #[must_use]
    pub fn subtree(&self, directory: &[u8]) -> Subtree {
        let mut state = self.state(directory);
        if directory != b"/" {
            state = automaton::walk(&self.words, &self.classes, state, b"/");
        }
        self.continuations(state)
    }

    /// The rights of a path that ends in `state`.
    #[must_use]
    pub fn rights_of(&self, state: u32) -> u8 {
        automaton::rights_of(&self.words, state)
    }

    /// The state after `bytes`, from `state`.
    #[must_use]
    pub fn step(&self, state: u32, bytes: &[u8]) -> u32 {
        automaton::walk(&self.words, &self.classes, state, bytes)
    }

    /// Whether all non-empty continuations of `state` have the same rights.
    fn continuations(&self, state: u32) -> Subtree {
        let mut seen = std::collections::HashSet::new();
        let mut open = self.successors(state);
        let mut answer = None;
        while let Some(state) = open.pop() {
            if !seen.insert(state) {
                continue;
            }
            let here = automaton::rights_of(&self.words, state) & rights::ALL;
            if *answer.get_or_insert(here) != here {
                return Subtree::Mixed;
            }
            open.extend(self.successors(state));
        }
        Subtree::Uniform(answer.unwrap_or(0))
    }

    /// The states that one byte leads to, without duplicates of a class.
    fn successors(&self, state: u32) -> Vec<u32> {
        let mut classes = [false; 256];
        let mut successors = Vec::new();
        // NUL is in no path.
        for byte in 1..=255u8 {
            let class = self.classes[usize::from(byte)];
            if !std::mem::replace(&mut classes[usize::from(class)], true) {
                successors.push(automaton::walk(&self.words, &self.classes, state, &[byte]));
            }
        }
        successors
    }
}
