//! Patterns to a deterministic automaton, not yet minimised: the powerset construction over the library's NFA, with
//! sparse rows.
//!
//! The library's own determiniser fills a dense row for each state; ten thousand rules have some hundred thousand
//! states, most of which go on with one byte. What `/**` adds is no part of the NFA but a set of rights that a state
//! carries along: once a directory is granted, the rules about that right below it do not count any more. The same goes
//! for programs, of which the one with the lowest rank holds.

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

/// One state: what it accepts, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// Rights, and above them a program: [`rights::program`]. [`determinise`] gives its rank.
    pub(super) accept: u8,
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

/// What a pattern says of the paths that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Mark {
    /// They have a right, or none at all.
    Right(Right),
    /// An exec of them enters the program of this rank, from 1 to [`rights::PROGRAMS`].
    Program(u8),
    /// They are accepted with these bits, of those that rights have, and with those of other patterns.
    Answer(u8),
}

/// What a pattern of the NFA grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Group {
    mark: Mark,
    /// At the end of the pattern a subtree begins.
    subtree: bool,
    /// The patterns begin with `**`, which they share.
    anywhere: bool,
    /// The rest has no special characters: the library makes a trie of it.
    literal: bool,
}

/// All that marks have said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Said {
    /// Rights, or [`DENY`].
    rights: u8,
    /// The lowest rank; 0 is none.
    rank: u8,
}

impl Said {
    const fn nothing(self) -> bool {
        self.rights == 0 && self.rank == 0
    }

    const fn denies(self) -> bool {
        self.rights & DENY != 0
    }

    const fn and(self, mark: Mark) -> Self {
        match mark {
            Mark::Right(Right::Deny) => Self {
                rights: self.rights | DENY,
                ..self
            },
            Mark::Right(right) => Self {
                rights: self.rights | right.bits(),
                ..self
            },
            Mark::Answer(bits) => Self {
                rights: self.rights | bits,
                ..self
            },
            Mark::Program(rank) if self.rank == 0 || rank < self.rank => Self { rank, ..self },
            Mark::Program(_) => self,
        }
    }
}

/// What a state accepts: rights, and a program above them, as [`rights::program`] reads it.
pub(super) const fn accept(rights: u8, program: u8) -> u8 {
    rights & rights::ALL | program << rights::ALL.count_ones()
}

/// The automaton of all `rules`.
pub(super) fn determinise<'a>(
    rules: impl Iterator<Item = (Mark, &'a Glob)>,
) -> Result<Automaton, GivenUp> {
    let mut groups: std::collections::BTreeMap<Group, Vec<Hir>> = std::collections::BTreeMap::new();
    for (mark, glob) in rules {
        let (group, hir) = grouped(mark, glob);
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
    of_groups(&groups, &patterns)
}

/// The automaton of whole `expressions`.
pub(super) fn determinise_expressions(expressions: Vec<(Mark, Hir)>) -> Result<Automaton, GivenUp> {
    let whole = |(mark, hir)| {
        let group = Group {
            mark,
            subtree: false,
            anywhere: false,
            literal: false,
        };
        (group, hir)
    };
    let (groups, patterns): (Vec<_>, Vec<_>) = expressions.into_iter().map(whole).unzip();
    of_groups(&groups, &patterns)
}

fn of_groups(groups: &[Group], patterns: &[Hir]) -> Result<Automaton, GivenUp> {
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None),
        )
        .build_many_from_hir(patterns)
        .map_err(|cause| GivenUp::Library(Box::new(cause)))?;
    Builder::new(&nfa, groups).run()
}

fn grouped(mark: Mark, glob: &Glob) -> (Group, Hir) {
    let anywhere = glob.components.first() == Some(&Component::Any);
    let group = Group {
        mark,
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

/// What a state stands for: positions in the NFA, a part of [`Builder::positions`], and what holds from here on.
#[derive(Clone, Copy, Debug)]
struct Key {
    start: usize,
    end: usize,
    granted: Said,
}

struct Builder<'a> {
    nfa: &'a NFA,
    groups: &'a [Group],
    /// Group of each position.
    owner: Vec<u16>,
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
            accept: 0,
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
                granted: Said::default(),
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
        let start = self.state(&[self.nfa.start_anchored()], Said::default());
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
    fn state(&mut self, targets: &[StateID], granted: Said) -> u32 {
        if granted.denies() {
            return 0;
        }
        self.close(targets, granted);
        let allows = |position: &u32| {
            let group = self.groups[usize::from(self.owner[*position as usize])];
            group.mark != Mark::Right(Right::Deny)
        };
        if granted.nothing() && !self.closed.iter().any(allows) {
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
            accept: 0,
            steps: Box::default(),
        });
        self.known.insert(hash, state);
        self.open.push(state);
        state
    }

    /// Fills `closed` with the positions that are reached without a byte and matter, sorted.
    fn close(&mut self, targets: &[StateID], granted: Said) {
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
                    if granted.and(group.mark) != granted {
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
                    here = here.and(group.mark);
                    if group.subtree {
                        below = below.and(group.mark);
                    }
                }
                _ => {}
            }
        }
        Row {
            accept: if here.denies() {
                0
            } else {
                accept(here.rights, here.rank)
            },
            steps: self.row_steps(&ranges, key.granted, below),
        }
    }

    fn row_steps(
        &mut self,
        ranges: &[(u8, u8, StateID)],
        granted: Said,
        below: Said,
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
fn owners(nfa: &NFA, groups: usize) -> Vec<u16> {
    let mut owner = vec![0; nfa.states().len()];
    let mut seen = vec![false; nfa.states().len()];
    // At most eight for each right and each program, and some hundreds of ports and prefixes in rules about the network.
    for group in 0..u16::try_from(groups).unwrap_or(u16::MAX) {
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
