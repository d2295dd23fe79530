//! When acts were first seen, as bars by kind.

use serde::Serialize;

use super::tree;
use crate::trace::Record;

/// Slots of the line.
const SLOTS: usize = 120;

/// The whole line.
#[derive(Serialize)]
pub(super) struct Line {
    slots: usize,
    bars: Vec<Bar>,
    /// Acts of the highest slot.
    highest: usize,
    /// The time that all slots take.
    span: String,
}

/// What is seen of one kind in one slot; the kinds stand one on another.
#[derive(Serialize)]
struct Bar {
    at: usize,
    /// Of 100, from the top.
    top: usize,
    /// Of 100.
    height: usize,
    class: &'static str,
    acts: usize,
    after: String,
}

/// The line of `records`.
pub(super) fn line(records: &[Record]) -> Line {
    let times = || records.iter().map(|record| record.first);
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let slot = (last - first) / SLOTS as u64 + 1;
    let mut acts = vec![[0; tree::CLASSES.len()]; SLOTS];
    for record in records {
        let at = usize::try_from((record.first - first) / slot).unwrap_or(SLOTS - 1);
        let class = tree::class(record);
        let of = tree::CLASSES
            .iter()
            .position(|one| *one == class)
            .unwrap_or(0);
        acts[at.min(SLOTS - 1)][of] += 1;
    }
    let highest = acts.iter().map(|of| of.iter().sum()).max().unwrap_or(0);
    let part = |acts: usize| (acts * 100).div_ceil(highest.max(1));
    let mut bars = Vec::new();
    for (at, of) in acts.iter().enumerate() {
        let mut below = 0;
        for (class, &acts) in tree::CLASSES.iter().zip(of) {
            let (from, to) = (part(below), part(below + acts));
            below += acts;
            if acts > 0 {
                bars.push(Bar {
                    at,
                    top: 100 - to,
                    height: to - from,
                    class,
                    acts,
                    after: seconds(slot * at as u64),
                });
            }
        }
    }
    Line {
        slots: SLOTS,
        bars,
        highest,
        span: seconds(last - first),
    }
}

fn seconds(nanoseconds: u64) -> String {
    format!(
        "{}.{:03} s",
        nanoseconds / 1_000_000_000,
        nanoseconds / 1_000_000 % 1000
    )
}
