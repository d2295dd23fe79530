//! Patterns to a deterministic automaton, not yet minimised: the powerset construction over the library's NFA, with
//! sparse rows.
//!
//! The library's own determiniser fills a dense row for each state; ten thousand rules have some hundred thousand
//! states, most of which go on with one byte. What `/**` adds is no part of the NFA but a set of rights that a state
//! carries along: once a directory is granted, the rules about that right below it do not count any more.

use std::hash::{Hash, Hasher};

use regex_automata::nfa::thompson::{self, BuildError, NFA, State, WhichCaptures};
use regex_automata::util::primitives::{PatternID, StateID};
use regex_syntax::hir::Hir;
use ringfence_abi::rights;
use rustc_hash::{FxHashMap, FxHasher};

use super::glob::{Component, Glob, below, components_hir};
use crate::profile::Right;

/// Most states before minimisation.
pub(super) const MOST_STATES: usize = 1 << 21;
/// Most steps: transitions looked at, about a hundred million a second.
pub(super) const MOST_STEPS: u64 = 1 << 27;
/// The bit of a deny rule beside those of [`rights`].
const DENY: u8 = 1 << 7;

/// An automaton with sparse rows. State 0 allows nothing whatever follows.
#[derive(Debug)]
pub(super) struct Automaton {
    pub(super) start: u32,
    pub(super) states: Vec<Row>,
}

/// One state: its rights, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) rights: u8,
    /// Ranges of bytes in order up to 255: the last byte of each, and the state that it leads to. No two neighbours
    /// lead to the same state.
    pub(super) steps: Box<[(u8, u32)]>,
}

/// Why there is no automaton.
#[derive(Debug)]
pub(super) enum GivenUp {
    Bounds { states: usize, steps: u64 },
    Library(Box<BuildError>),
}

/// What a pattern of the NFA grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Group {
    right: Right,
    /// At the end of the pattern a subtree begins.
    subtree: bool,
    /// The patterns begin with `**`, which they share.
    anywhere: bool,
    /// The rest has no special characters: the library makes a trie of it.
    literal: bool,
}

impl Group {
    const fn bit(self) -> u8 {
        match self.right {
            Right::Deny => DENY,
            right => right.bits(),
        }
    }
}

/// The automaton of all `rules`.
pub(super) fn determinise<'a>(
    rules: impl Iterator<Item = (Right, &'a Glob)>,
) -> Result<Automaton, GivenUp> {
    let mut groups: std::collections::BTreeMap<Group, Vec<Hir>> = std::collections::BTreeMap::new();
    for (right, glob) in rules {
        let (group, hir) = grouped(right, glob);
        groups.entry(group).or_default().push(hir);
    }
    let (groups, patterns): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .map(|(group, alternatives)| {
            let rest = Hir::alternation(alternatives);
            let hir = if group.anywhere {
                Hir::concat(vec![below(), rest])
            } else {
                rest
            };
            (group, hir)
        })
        .unzip();
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None),
        )
        .build_many_from_hir(&patterns)
        .map_err(|cause| GivenUp::Library(Box::new(cause)))?;
    Builder::new(&nfa, &groups).run()
}

fn grouped(right: Right, glob: &Glob) -> (Group, Hir) {
    let anywhere = glob.components.first() == Some(&Component::Any);
    let group = Group {
        right,
        subtree: glob.subtree,
        anywhere,
        literal: glob.components[usize::from(anywhere)..]
            .iter()
            .all(|component| component.literal().is_some()),
    };
    let hir = if anywhere {
        components_hir(&glob.components[1..])
    } else {
        glob.head()
    };
    (group, hir)
}

/// What a state stands for: positions in the NFA, a part of [`Builder::positions`], and the rights that hold from here
/// on.
#[derive(Clone, Copy, Debug)]
struct Key {
    start: usize,
    end: usize,
    granted: u8,
}

struct Builder<'a> {
    nfa: &'a NFA,
    groups: &'a [Group],
    /// Group of each position.
    owner: Vec<u8>,
    /// State by the hash of its key; what collides is one further on. States are many, and a boxed key for each lookup
    /// would take half of the time.
    known: FxHashMap<u64, u32>,
    keys: Vec<Key>,
    /// Positions of all keys.
    positions: Vec<u32>,
    open: Vec<u32>,
    states: Vec<Row>,
    steps: u64,
    // Scratch of `close`.
    closed: Vec<u32>,
    seen: Vec<u32>,
    round: u32,
    stack: Vec<StateID>,
}

impl<'a> Builder<'a> {
    fn new(nfa: &'a NFA, groups: &'a [Group]) -> Self {
        let dead = Row {
            rights: 0,
            steps: Box::new([(255, 0)]),
        };
        Self {
            nfa,
            groups,
            owner: owners(nfa, groups.len()),
            known: FxHashMap::default(),
            keys: vec![Key {
                start: 0,
                end: 0,
                granted: 0,
            }],
            positions: Vec::new(),
            open: Vec::new(),
            states: vec![dead],
            steps: 0,
            closed: Vec::new(),
            seen: vec![0; nfa.states().len()],
            round: 0,
            stack: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Automaton, GivenUp> {
        let start = self.state(&[self.nfa.start_anchored()], 0);
        while let Some(state) = self.open.pop() {
            let row = self.row(self.keys[state as usize]);
            self.states[state as usize] = row;
            if self.states.len() > MOST_STATES || self.steps > MOST_STEPS {
                return Err(GivenUp::Bounds {
                    states: self.states.len(),
                    steps: self.steps,
                });
            }
        }
        Ok(Automaton {
            start,
            states: self.states,
        })
    }

    /// The state of what is reached from `targets` without a byte.
    fn state(&mut self, targets: &[StateID], granted: u8) -> u32 {
        if granted & DENY != 0 {
            return 0;
        }
        self.close(targets, granted);
        let allows = |position: &u32| {
            self.groups[usize::from(self.owner[*position as usize])].right != Right::Deny
        };
        if granted == 0 && !self.closed.iter().any(allows) {
            return 0;
        }
        let mut hasher = FxHasher::default();
        (&self.closed, granted).hash(&mut hasher);
        let mut hash = hasher.finish();
        while let Some(&state) = self.known.get(&hash) {
            let key = self.keys[state as usize];
            if key.granted == granted && self.positions[key.start..key.end] == self.closed {
                return state;
            }
            hash = hash.wrapping_add(1);
        }
        // Bounded by MOST_STATES and one row.
        let Ok(state) = u32::try_from(self.states.len()) else {
            return 0;
        };
        let start = self.positions.len();
        self.positions.extend_from_slice(&self.closed);
        self.keys.push(Key {
            start,
            end: self.positions.len(),
            granted,
        });
        self.states.push(Row {
            rights: 0,
            steps: Box::default(),
        });
        self.known.insert(hash, state);
        self.open.push(state);
        state
    }

    /// Fills `closed` with the positions that are reached without a byte and matter, sorted.
    fn close(&mut self, targets: &[StateID], granted: u8) {
        self.round += 1;
        self.closed.clear();
        self.stack.extend_from_slice(targets);
        while let Some(id) = self.stack.pop() {
            if std::mem::replace(&mut self.seen[id.as_usize()], self.round) == self.round {
                continue;
            }
            self.steps += 1;
            match self.nfa.state(id) {
                State::Union { alternates } => self.stack.extend_from_slice(alternates),
                State::BinaryUnion { alt1, alt2 } => self.stack.extend([*alt1, *alt2]),
                State::Capture { next, .. } | State::Look { next, .. } => self.stack.push(*next),
                State::Fail => {}
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Match { .. } => {
                    let group = self.groups[usize::from(self.owner[id.as_usize()])];
                    // What is granted below a directory needs no rule below it.
                    if group.bit() & granted == 0 {
                        self.closed.push(id.as_u32());
                    }
                }
            }
        }
        self.closed.sort_unstable();
    }

    fn row(&mut self, key: Key) -> Row {
        let mut here = key.granted;
        let mut below = key.granted;
        let mut ranges: Vec<(u8, u8, StateID)> = Vec::with_capacity(key.end - key.start);
        for &position in &self.positions[key.start..key.end] {
            let id = StateID::new_unchecked(position as usize);
            match self.nfa.state(id) {
                State::ByteRange { trans } => ranges.push((trans.start, trans.end, trans.next)),
                State::Sparse(sparse) => {
                    let transitions = sparse.transitions.iter();
                    ranges.extend(transitions.map(|trans| (trans.start, trans.end, trans.next)));
                }
                State::Dense(dense) => {
                    ranges.extend(
                        (0..=255u8)
                            .filter_map(|byte| Some((byte, byte, dense.matches_byte(byte)?))),
                    );
                }
                State::Match { pattern_id } => {
                    let group = self.groups[pattern_id.as_usize()];
                    here |= group.bit();
                    below |= if group.subtree { group.bit() } else { 0 };
                }
                _ => {}
            }
        }
        Row {
            rights: if here & DENY == 0 {
                here & rights::ALL
            } else {
                0
            },
            steps: self.row_steps(&ranges, key.granted, below),
        }
    }

    fn row_steps(
        &mut self,
        ranges: &[(u8, u8, StateID)],
        granted: u8,
        below: u8,
    ) -> Box<[(u8, u32)]> {
        let mut starts = [false; 257];
        starts[0] = true;
        for &(low, high, _) in ranges {
            starts[usize::from(low)] = true;
            starts[usize::from(high) + 1] = true;
        }
        if below != granted {
            starts[usize::from(b'/')] = true;
            starts[usize::from(b'/') + 1] = true;
        }
        let mut steps: Vec<(u8, u32)> = Vec::new();
        let mut targets = Vec::new();
        for low in (0..=255u8).filter(|&byte| starts[usize::from(byte)]) {
            targets.clear();
            let through = ranges
                .iter()
                .filter(|(from, to, _)| (*from..=*to).contains(&low));
            targets.extend(through.map(|(_, _, next)| *next));
            self.steps += ranges.len() as u64;
            let granted = if low == b'/' { below } else { granted };
            let next = self.state(&targets, granted);
            let high = (low..255)
                .find(|&byte| starts[usize::from(byte) + 1])
                .unwrap_or(255);
            match steps.last_mut() {
                Some((last, before)) if *before == next => *last = high,
                _ => steps.push((high, next)),
            }
        }
        steps.into_boxed_slice()
    }
}

/// The group of each position: patterns share no position but the first unions, which never count.
fn owners(nfa: &NFA, groups: usize) -> Vec<u8> {
    let mut owner = vec![0; nfa.states().len()];
    let mut seen = vec![false; nfa.states().len()];
    // There are at most 32 groups.
    for group in 0..u8::try_from(groups).unwrap_or(u8::MAX) {
        let start = nfa.start_pattern(PatternID::new_unchecked(usize::from(group)));
        let mut stack: Vec<StateID> = start.into_iter().collect();
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.as_usize()], true) {
                continue;
            }
            owner[id.as_usize()] = group;
            match nfa.state(id) {
                State::ByteRange { trans } => stack.push(trans.next),
                State::Sparse(sparse) => {
                    stack.extend(sparse.transitions.iter().map(|trans| trans.next));
                }
                State::Dense(dense) => {
                    stack.extend((0..=255).filter_map(|byte| dense.matches_byte(byte)));
                }
                State::Union { alternates } => stack.extend_from_slice(alternates),
                State::BinaryUnion { alt1, alt2 } => stack.extend([*alt1, *alt2]),
                State::Capture { next, .. } | State::Look { next, .. } => stack.push(*next),
                State::Fail | State::Match { .. } => {}
            }
        }
    }
    owner
}
