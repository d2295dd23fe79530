//! What lies ahead of each state of an automaton, for all states at once: a walk asks for most of them.

use std::collections::HashMap;

use ringfence_abi::limits::NAME_BYTES;
use ringfence_abi::rights::ALL;

use crate::policy::Automaton;

/// Most states that are looked at to find names.
const MOST_STATES: usize = 512;

/// The automaton with, for each state that a path leads to, the rights that lie ahead.
pub(super) struct Reach<'a> {
    automaton: &'a Automaton,
    /// One byte of each class; none of NUL alone, which is in no path.
    alphabet: Vec<u8>,
    numbers: HashMap<u32, usize>,
    states: Vec<State>,
}

struct State {
    rights: u8,
    ahead: Ahead,
    successors: Vec<usize>,
}

/// Rights of the paths that go on from a state by one byte or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Those that every one has.
    pub(super) all: u8,
    /// Those that some one has.
    pub(super) any: u8,
}

impl<'a> Reach<'a> {
    pub(super) fn new(automaton: &'a Automaton) -> Self {
        let mut alphabet: Vec<u8> = (1..=255).collect();
        alphabet.sort_by_key(|&byte| automaton.classes[usize::from(byte)]);
        alphabet.dedup_by_key(|byte| automaton.classes[usize::from(*byte)]);
        let mut reach = Self {
            automaton,
            alphabet,
            numbers: HashMap::new(),
            states: Vec::new(),
        };
        reach.explore();
        reach.settle();
        reach
    }

    /// The state after `bytes`, from `state`.
    pub(super) fn step(&self, state: u32, bytes: &[u8]) -> u32 {
        self.automaton.step(state, bytes)
    }

    /// The rights of a path that ends in `state`.
    pub(super) fn rights(&self, state: u32) -> u8 {
        self.automaton.rights_of(state) & ALL
    }

    /// The rights ahead of `state`, which a path leads to.
    pub(super) fn ahead(&self, state: u32) -> Ahead {
        match self.numbers.get(&state) {
            Some(&number) => self.states[number].ahead,
            None => Ahead { all: 0, any: 0 },
        }
    }

    /// The names of directory entries after `from` whose state `is_one`; only states that `may_lead` to one are followed.
    /// `None` if that is more than a few.
    pub(super) fn names(
        &self,
        from: u32,
        is_one: impl Fn(u32) -> bool,
        may_lead: impl Fn(u32) -> bool,
    ) -> Option<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let mut open = vec![(from, Vec::new())];
        let mut seen = 0;
        while let Some((state, name)) = open.pop() {
            seen += 1;
            if seen > MOST_STATES || name.len() > NAME_BYTES {
                return None;
            }
            if !name.is_empty() && is_one(state) {
                names.push(name.clone());
            }
            for byte in (1..=255).filter(|&byte| byte != b'/') {
                let next = self.step(state, &[byte]);
                if may_lead(next) {
                    let mut name = name.clone();
                    name.push(byte);
                    open.push((next, name));
                }
            }
        }
        Some(names)
    }

    /// Finds every state, in the order in which a depth-first search comes upon them.
    fn explore(&mut self) {
        let start = self.automaton.start;
        let mut open = vec![self.number(start)];
        let mut found = vec![start];
        while let Some(number) = open.pop() {
            let mut successors = Vec::new();
            for &byte in &self.alphabet {
                successors.push(self.automaton.step(found[number], &[byte]));
            }
            successors.sort_unstable();
            successors.dedup();
            for next in successors {
                let known = self.states.len();
                let next_number = self.number(next);
                if next_number == known {
                    found.push(next);
                    open.push(next_number);
                }
                self.states[number].successors.push(next_number);
            }
        }
    }

    fn number(&mut self, state: u32) -> usize {
        let next = self.states.len();
        let number = *self.numbers.entry(state).or_insert(next);
        if number == next {
            self.states.push(State {
                rights: self.automaton.rights_of(state) & ALL,
                ahead: Ahead { all: ALL, any: 0 },
                successors: Vec::new(),
            });
        }
        number
    }

    /// Lets rights flow back until nothing changes. Backwards, so that a tree of rules settles in one pass.
    fn settle(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for number in (0..self.states.len()).rev() {
                let mut ahead = Ahead { all: ALL, any: 0 };
                for &next in &self.states[number].successors {
                    let next = &self.states[next];
                    ahead.all &= next.rights & next.ahead.all;
                    ahead.any |= next.rights | next.ahead.any;
                }
                changed |= ahead != self.states[number].ahead;
                self.states[number].ahead = ahead;
            }
        }
    }
}
