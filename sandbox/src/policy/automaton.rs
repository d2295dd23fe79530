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

    /// The state after `bytes`, from `state`.
    #[must_use]
    pub fn step(&self, state: u32, bytes: &[u8]) -> u32 {
        automaton::walk(&self.words, &self.classes, state, bytes)
    }
}
