//! What lies ahead of each state of an automaton, for all states at once: a walk asks for most of them.

use ringfence_abi::automaton::DEAD;
use ringfence_abi::limits::NAME_BYTES;
use ringfence_abi::rights::ALL;

use crate::policy::Automaton;

/// Most states that are looked at to find names.
const MOST_STATES: usize = 512;

/// The automaton with, for each state that a path leads to, the rights that lie ahead.
pub(super) struct Reach<'a> {
    automaton: &'a Automaton,
    /// The bytes of each class; NUL is in no path.
    alphabet: Vec<Vec<u8>>,
    /// By state, its place among `states`; [`UNKNOWN`] if no path leads to it.
    numbers: Vec<usize>,
    states: Vec<State>,
}

const UNKNOWN: usize = usize::MAX;

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
        let class = |byte: &u8| automaton.classes[usize::from(*byte)];
        let mut bytes: Vec<u8> = (1..=255).collect();
        bytes.sort_by_key(class);
        // The slash on its own: it is in no name.
        let alphabet = bytes
            .chunk_by(|one, other| class(one) == class(other) && *one != b'/' && *other != b'/');
        let mut reach = Self {
            automaton,
            alphabet: alphabet.map(<[u8]>::to_vec).collect(),
            numbers: vec![UNKNOWN; automaton.words.len()],
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
        let number = self.numbers.get(state as usize);
        let found = number.and_then(|&number| self.states.get(number));
        found.map_or(Ahead { all: 0, any: 0 }, |found| found.ahead)
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
        let mut found = 1;
        while let Some((state, name)) = open.pop() {
            if name.len() > NAME_BYTES {
                return None;
            }
            if !name.is_empty() && is_one(state) {
                names.push(name.clone());
            }
            // A class is asked about once, and a pattern, which has many bytes in one, given up before they are spelled.
            for class in self.alphabet.iter().filter(|class| class[0] != b'/') {
                let next = self.step(state, &class[..1]);
                if !may_lead(next) {
                    continue;
                }
                found += class.len();
                if found > MOST_STATES {
                    return None;
                }
                open.extend(
                    class
                        .iter()
                        .map(|&byte| (next, [&name[..], &[byte]].concat())),
                );
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
            for class in &self.alphabet {
                successors.push(self.automaton.step(found[number], &class[..1]));
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
        // From a state outside the words nothing goes on, as from the dead one.
        let index = if (state as usize) < self.numbers.len() {
            state as usize
        } else {
            DEAD as usize
        };
        if self.numbers[index] == UNKNOWN {
            self.numbers[index] = self.states.len();
            self.states.push(State {
                rights: self.automaton.rights_of(state) & ALL,
                ahead: Ahead { all: ALL, any: 0 },
                successors: Vec::new(),
            });
        }
        self.numbers[index]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use ringfence_abi::rights::READ;

    use super::super::rules::{automaton, file};
    use super::*;

    /// The names after `/d/` that lead to a right.
    fn names(files: &[String]) -> Option<BTreeSet<Vec<u8>>> {
        let rules: Vec<_> = files.iter().map(|path| file(path, READ)).collect();
        let automaton = automaton(&rules);
        let reach = Reach::new(&automaton);
        let leads = |state| reach.rights(state) | reach.ahead(state).any != 0;
        let is_one = |state| {
            let deeper = reach.step(state, b"/");
            reach.rights(state) | reach.rights(deeper) | reach.ahead(deeper).any != 0
        };
        let names = reach.names(automaton.state(b"/d/"), is_one, leads)?;
        Some(names.into_iter().collect())
    }

    fn paths(names: &[&str]) -> Vec<String> {
        let path = |name: &&str| Path::new("/d").join(name).display().to_string();
        names.iter().map(path).collect()
    }

    #[test]
    fn the_names_of_literal_rules_are_spelled() {
        let found = names(&paths(&["a", "ab", "b/c", "x y"])).unwrap();
        let expected = [&b"a"[..], b"ab", b"b", b"x y"];
        assert_eq!(found, expected.map(<[u8]>::to_vec).into());
    }

    #[test]
    fn more_than_a_few_names_are_not_spelled() {
        let many = |count| (0..count).map(|number| format!("/d/{number:03}")).collect();
        let few: Vec<_> = many(100);
        assert_eq!(names(&few).unwrap().len(), 100);
        let many: Vec<_> = many(600);
        assert_eq!(names(&many), None);
    }

    #[test]
    fn a_pattern_is_no_list_of_names() {
        let mut automaton = automaton(&[file("/d/a", READ)]);
        let state = automaton.state(b"/d/");
        // Whatever follows leads back to where it came from.
        automaton.words[state as usize] = ringfence_abi::automaton::state_word(
            u32::try_from(automaton.words.len()).unwrap(),
            state,
            READ,
        );
        automaton.words.extend([0; 256]);
        let reach = Reach::new(&automaton);
        assert_eq!(reach.names(state, |_| true, |_| true), None);
    }
}
