//! What lies ahead of each state of an automaton, for all states at once: a walk asks for most of them.

use std::ops::Range;

use ringfence_abi::automaton::{self as abi, DEAD};
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
    /// Steps of all states, by [`State::steps`].
    steps: Vec<Step>,
}

const UNKNOWN: usize = usize::MAX;

struct State {
    /// As the automaton numbers it.
    state: u32,
    rights: u8,
    ahead: Ahead,
    /// The steps that lead elsewhere than all others, by their classes.
    steps: Range<usize>,
    /// The place among the states to which all others lead, if there are any.
    others: Option<usize>,
}

/// What follows a state by the bytes of one class.
#[derive(Clone, Copy)]
struct Step {
    /// Its place in the alphabet.
    class: usize,
    /// Its place among the states.
    to: usize,
    /// The state as the automaton numbers it.
    state: u32,
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
            steps: Vec::new(),
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
        self.known(state)
            .map_or(Ahead { all: 0, any: 0 }, |found| found.ahead)
    }

    fn known(&self, state: u32) -> Option<&State> {
        self.states.get(*self.numbers.get(state as usize)?)
    }

    /// The names of directory entries after `from` whose state `is_one`; only states that `may_lead` to one are followed.
    /// `None` if that is more than a few.
    pub(super) fn names(
        &self,
        from: u32,
        is_one: impl Fn(u32) -> bool,
        may_lead: impl Fn(u32) -> bool,
    ) -> Option<Vec<Vec<u8>>> {
        self.names_beginning(|_| true, from, is_one, may_lead)
    }

    /// The same of names whose first byte is one for which `begins` holds.
    pub(super) fn names_beginning(
        &self,
        begins: impl Fn(u8) -> bool,
        from: u32,
        is_one: impl Fn(u32) -> bool,
        may_lead: impl Fn(u32) -> bool,
    ) -> Option<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let mut name = Vec::new();
        // States with the last byte that led there, and the length of the name before it.
        let mut open = vec![(from, 0, None)];
        let mut found = 1;
        while let Some((state, length, byte)) = open.pop() {
            name.truncate(length);
            name.extend(byte);
            if name.len() > NAME_BYTES {
                return None;
            }
            if !name.is_empty() && is_one(state) {
                names.push(name.clone());
            }
            let mut follow = |class: &[u8], next| {
                let bytes = class.iter().copied();
                let bytes = bytes.filter(|&byte| !name.is_empty() || begins(byte));
                let before = open.len();
                open.extend(bytes.map(|byte| (next, name.len(), Some(byte))));
                found += open.len() - before;
                found <= MOST_STATES
            };
            let Some(known) = self.known(state) else {
                continue;
            };
            let steps = &self.steps[known.steps.clone()];
            // A pattern, which has many bytes in one class, is given up before they are spelled.
            let others = known.others.map(|others| self.states[others].state);
            if let Some(next) = others.filter(|&next| may_lead(next)) {
                let mut own = steps.iter().map(|step| step.class).peekable();
                for (class, bytes) in self.alphabet.iter().enumerate() {
                    let is_own = own.next_if_eq(&class).is_some();
                    if !is_own && bytes[0] != b'/' && !follow(bytes, next) {
                        return None;
                    }
                }
            }
            for step in steps {
                let bytes = &self.alphabet[step.class];
                if bytes[0] != b'/' && may_lead(step.state) && !follow(bytes, step.state) {
                    return None;
                }
            }
        }
        Some(names)
    }

    /// Finds every state, in the order in which a depth-first search comes upon them.
    fn explore(&mut self) {
        let automaton = self.automaton;
        let class = |bytes: &Vec<u8>| usize::from(automaton.classes[usize::from(bytes[0])]);
        let classes: Vec<_> = self.alphabet.iter().map(class).collect();
        let mut open = vec![self.number(automaton.start)];
        while let Some(number) = open.pop() {
            let row = Row::of(automaton, self.states[number].state);
            let first = self.steps.len();
            let mut others = None;
            for (class, &at) in classes.iter().enumerate() {
                let (state, is_own) = row.step(at);
                if !is_own && others.is_some() {
                    continue;
                }
                let known = self.states.len();
                let to = self.number(state);
                if to == known {
                    open.push(to);
                }
                match is_own {
                    true => self.steps.push(Step { class, to, state }),
                    false => others = Some(to),
                }
            }
            self.states[number].steps = first..self.steps.len();
            self.states[number].others = others;
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
                state,
                rights: self.automaton.rights_of(state) & ALL,
                ahead: Ahead { all: ALL, any: 0 },
                steps: 0..0,
                others: None,
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
                let state = &self.states[number];
                let own = self.steps[state.steps.clone()].iter().map(|step| step.to);
                let mut ahead = Ahead { all: ALL, any: 0 };
                for next in own.chain(state.others) {
                    let next = &self.states[next];
                    ahead.all &= next.rights & next.ahead.all;
                    ahead.any |= next.rights | next.ahead.any;
                }
                changed |= ahead != state.ahead;
                self.states[number].ahead = ahead;
            }
        }
    }
}

/// The entries that a state's steps may have.
struct Row<'a> {
    state: u32,
    default: u32,
    entries: &'a [u64],
}

impl<'a> Row<'a> {
    fn of(automaton: &'a Automaton, state: u32) -> Self {
        let words = &automaton.words;
        let word = words.get(state as usize);
        let first = usize::try_from(abi::entry_index(state, 0)).ok();
        Self {
            state,
            default: word.map_or(DEAD, |&word| abi::default(word)),
            entries: first.and_then(|first| words.get(first..)).unwrap_or(&[]),
        }
    }

    /// The state after a byte of this class, and whether it has an entry of its own: without one all bytes lead to the same.
    fn step(&self, class: usize) -> (u32, bool) {
        // As the walk has it, nothing goes on outside of the words.
        let Some(&entry) = self.entries.get(class) else {
            return (DEAD, true);
        };
        let next = abi::entered(self.state, abi::halves(entry)).unwrap_or(self.default);
        (next, next != self.default)
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
        let place = state as usize;
        automaton.words[place] = ringfence_abi::automaton::state_word(state, READ);
        automaton.words[place + 1..=place + 256].fill(0);
        let reach = Reach::new(&automaton);
        assert_eq!(reach.names(state, |_| true, |_| true), None);
    }
}
