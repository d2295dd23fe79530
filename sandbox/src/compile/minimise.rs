//! The smallest automaton that answers the same: its states are equal exactly if everything that may follow is.
//!
//! The kernel compares states to judge a rename, so that "nearly minimal" is not enough, and Hopcroft's algorithm wants dense
//! rows. Almost all states of path rules lie on no cycle; so the strongly connected components are taken from the far
//! end (R. E. Tarjan, 1972), and a state alone is looked up by its row in a table, as for words of a dictionary
//! (D. Revuz, 1992). A component with a cycle is refined by itself (E. F. Moore, 1956) and then compared with components
//! before it. That is complete: a state on a cycle can only equal another on a cycle, and if one state of a component
//! equals one further on, so do all that it reaches, the whole component.

use rustc_hash::FxHashMap;

use super::determinise::{Automaton, GivenUp, MOST_STEPS, Row};

/// Marks a step that stays in the component; the rest is a block's number.
const INSIDE: u32 = 1 << 31;
const NONE: u32 = u32::MAX;
/// What mapping and looking up one row counts for in [`MOST_STEPS`].
const STEPS_PER_ROW: u64 = 32;

/// Returns the minimised `automaton`. Its state 0 still is the one that allows nothing whatever follows.
///
/// Refining takes the square of a component's length at worst, so that it has the same bound of steps as the powerset
/// construction.
pub(super) fn minimise(automaton: &Automaton) -> Result<Automaton, GivenUp> {
    let mut minimiser = Minimiser {
        automaton,
        class: vec![NONE; automaton.states.len()],
        rows: Vec::new(),
        by_row: FxHashMap::default(),
        cyclic_by_target: FxHashMap::default(),
        steps: 0,
    };
    // The dead state first, which makes it class 0.
    minimiser.component(&[0])?;
    for component in components(&automaton.states) {
        if component != [0] {
            minimiser.component(&component)?;
        }
    }
    let start = minimiser.class[automaton.start as usize];
    Ok(reachable(start, &minimiser.rows))
}

struct Minimiser<'a> {
    automaton: &'a Automaton,
    /// Class of each state that is done.
    class: Vec<u32>,
    /// Rows of the classes: steps are to classes.
    rows: Vec<Row>,
    by_row: FxHashMap<Row, u32>,
    /// Classes on a cycle by each class that they step to and what they accept.
    cyclic_by_target: FxHashMap<(u32, u8), Vec<u32>>,
    steps: u64,
}

impl Minimiser<'_> {
    fn component(&mut self, members: &[u32]) -> Result<(), GivenUp> {
        let states = &self.automaton.states;
        if let [state] = *members {
            let row = &states[state as usize];
            if row.steps.iter().all(|&(_, target)| target != state) {
                let row = mapped(row, |target| self.class[target as usize]);
                self.class[state as usize] = self.intern(row);
                return Ok(());
            }
        }
        let (blocks, block_rows) = self.refine(members)?;
        let classes = self
            .equal_component(&block_rows)
            .unwrap_or_else(|| self.add_component(&block_rows));
        for (&state, block) in members.iter().zip(blocks) {
            self.class[state as usize] = classes[block as usize];
        }
        Ok(())
    }

    fn intern(&mut self, row: Row) -> u32 {
        if let Some(&class) = self.by_row.get(&row) {
            return class;
        }
        let class = index(self.rows.len());
        self.rows.push(row.clone());
        self.by_row.insert(row, class);
        class
    }

    /// Blocks of `members` that answer the same, and a row for each: steps are to classes, or to blocks with [`INSIDE`].
    fn refine(&mut self, members: &[u32]) -> Result<(Vec<u32>, Vec<Row>), GivenUp> {
        let position: FxHashMap<u32, usize> = members
            .iter()
            .enumerate()
            .map(|(position, &state)| (state, position))
            .collect();
        let mut blocks = vec![0; members.len()];
        let mut count = 0;
        loop {
            let mut known: FxHashMap<(u32, Row), u32> = FxHashMap::default();
            let mut rows = Vec::new();
            let mut refined = Vec::with_capacity(members.len());
            for (&state, &block) in members.iter().zip(&blocks) {
                let row = mapped(
                    &self.automaton.states[state as usize],
                    |target| match position.get(&target) {
                        Some(&position) => INSIDE | blocks[position],
                        None => self.class[target as usize],
                    },
                );
                let next = index(known.len());
                refined.push(*known.entry((block, row.clone())).or_insert_with(|| {
                    rows.push(row);
                    next
                }));
            }
            if rows.len() == count {
                // Refining does not change the partition, only perhaps its numbers: these rows speak of the old ones.
                let mut renamed = vec![0; count];
                for (&old, &new) in blocks.iter().zip(&refined) {
                    renamed[old as usize] = new;
                }
                let rename = |target: u32| match target & INSIDE {
                    0 => target,
                    _ => INSIDE | renamed[(target & !INSIDE) as usize],
                };
                let rows = rows.iter().map(|row| mapped(row, rename)).collect();
                return Ok((refined, rows));
            }
            count = rows.len();
            blocks = refined;
            self.steps += members.len() as u64 * STEPS_PER_ROW;
            if self.steps > MOST_STEPS {
                return Err(GivenUp::Bounds {
                    states: self.automaton.states.len(),
                    steps: self.steps,
                });
            }
        }
    }

    /// The classes that the blocks equal, if the component equals an earlier one.
    fn equal_component(&self, rows: &[Row]) -> Option<Vec<u32>> {
        let steps = rows
            .iter()
            .enumerate()
            .flat_map(|(block, row)| row.steps.iter().map(move |&(_, target)| (block, target)));
        let candidates = |(block, target): (usize, u32)| {
            let key = (target, rows[block].accept);
            let classes = self
                .cyclic_by_target
                .get(&key)
                .map_or(&[][..], Vec::as_slice);
            (block, classes)
        };
        // What equals a block steps to the same classes outside. Without any, the component is closed.
        let (block, classes) = steps
            .filter(|&(_, target)| target & INSIDE == 0)
            .map(candidates)
            .min_by_key(|(_, classes)| classes.len())
            .unwrap_or_else(|| candidates((0, NONE)));
        classes
            .iter()
            .find_map(|&class| self.simulate(rows, block, class))
    }

    /// The class of each block if `block` equals `class`.
    fn simulate(&self, rows: &[Row], block: usize, class: u32) -> Option<Vec<u32>> {
        let mut classes = vec![NONE; rows.len()];
        classes[block] = class;
        let mut open = vec![block];
        while let Some(block) = open.pop() {
            let theirs = &self.rows[classes[block] as usize];
            let ours = &rows[block];
            if ours.accept != theirs.accept {
                return None;
            }
            for (our_target, their_target) in aligned(&ours.steps, &theirs.steps) {
                if our_target & INSIDE == 0 {
                    if our_target != their_target {
                        return None;
                    }
                    continue;
                }
                let inner = (our_target & !INSIDE) as usize;
                if classes[inner] == NONE {
                    classes[inner] = their_target;
                    open.push(inner);
                } else if classes[inner] != their_target {
                    return None;
                }
            }
        }
        Some(classes)
    }

    fn add_component(&mut self, rows: &[Row]) -> Vec<u32> {
        let first = index(self.rows.len());
        let classes: Vec<u32> = (first..first + index(rows.len())).collect();
        let is_closed = rows
            .iter()
            .all(|row| row.steps.iter().all(|&(_, target)| target & INSIDE != 0));
        for (row, &class) in rows.iter().zip(&classes) {
            let row = mapped(row, |target| match target & INSIDE {
                0 => target,
                _ => first + (target & !INSIDE),
            });
            let mut targets: Vec<u32> = row.steps.iter().map(|&(_, target)| target).collect();
            if is_closed {
                targets.push(NONE);
            }
            targets.sort_unstable();
            targets.dedup();
            for target in targets {
                let key = (target, row.accept);
                self.cyclic_by_target.entry(key).or_default().push(class);
            }
            self.rows.push(row.clone());
            self.by_row.insert(row, class);
        }
        classes
    }
}

/// `row` with its targets renamed, and neighbours joined that now are equal.
fn mapped(row: &Row, rename: impl Fn(u32) -> u32) -> Row {
    let mut steps: Vec<(u8, u32)> = Vec::with_capacity(row.steps.len());
    for &(last, target) in &row.steps {
        let target = rename(target);
        match steps.last_mut() {
            Some((before, same)) if *same == target => *before = last,
            _ => steps.push((last, target)),
        }
    }
    Row {
        accept: row.accept,
        steps: steps.into_boxed_slice(),
    }
}

/// Pairs of targets that some byte leads to in both rows.
fn aligned<'a>(
    ours: &'a [(u8, u32)],
    theirs: &'a [(u8, u32)],
) -> impl Iterator<Item = (u32, u32)> + 'a {
    let (mut our, mut their) = (0, 0);
    std::iter::from_fn(move || {
        let (&(our_last, our_target), &(their_last, their_target)) =
            (ours.get(our)?, theirs.get(their)?);
        our += usize::from(our_last <= their_last);
        their += usize::from(their_last <= our_last);
        Some((our_target, their_target))
    })
}

/// Strongly connected components, each before those that lead to it. Iterative: paths have thousands of bytes.
fn components(states: &[Row]) -> Vec<Vec<u32>> {
    let mut order = vec![0u32; states.len()];
    let mut low = vec![0u32; states.len()];
    let mut is_stacked = vec![false; states.len()];
    let mut stack = Vec::new();
    let mut components = Vec::new();
    let mut next_order = 1;
    for root in 0..index(states.len()) {
        if order[root as usize] != 0 {
            continue;
        }
        let mut calls: Vec<(u32, usize)> = vec![(root, 0)];
        while let Some((state, step)) = calls.pop() {
            let at = state as usize;
            if step == 0 {
                order[at] = next_order;
                low[at] = next_order;
                next_order += 1;
                stack.push(state);
                is_stacked[at] = true;
            }
            if let Some(&(_, target)) = states[at].steps.get(step) {
                calls.push((state, step + 1));
                let to = target as usize;
                if order[to] == 0 {
                    calls.push((target, 0));
                } else if is_stacked[to] {
                    low[at] = low[at].min(order[to]);
                }
                continue;
            }
            if let Some(&(caller, _)) = calls.last() {
                low[caller as usize] = low[caller as usize].min(low[at]);
            }
            if low[at] == order[at] {
                let mut component = Vec::new();
                while let Some(member) = stack.pop() {
                    is_stacked[member as usize] = false;
                    component.push(member);
                    if member == state {
                        break;
                    }
                }
                components.push(component);
            }
        }
    }
    components
}

/// What can be reached from `start`, and the dead state.
fn reachable(start: u32, rows: &[Row]) -> Automaton {
    let mut name = vec![NONE; rows.len()];
    name[0] = 0;
    let mut kept = vec![0];
    let mut done = 0;
    if start != 0 {
        name[start as usize] = 1;
        kept.push(start);
    }
    while let Some(&class) = kept.get(done) {
        done += 1;
        for &(_, target) in &rows[class as usize].steps {
            if name[target as usize] == NONE {
                name[target as usize] = index(kept.len());
                kept.push(target);
            }
        }
    }
    Automaton {
        start: name[start as usize],
        states: kept
            .iter()
            .map(|&class| mapped(&rows[class as usize], |target| name[target as usize]))
            .collect(),
    }
}

/// States are far fewer than 2^31: [`super::determinise::MOST_STATES`].
fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE)
}
