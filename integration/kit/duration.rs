//! How long tests took: what a floor spends its time with is said at its end, so that it can be kept short.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Verdict;

/// Tests that are named.
const MOST: usize = 25;
/// Shorter ones are not worth a word.
const WORTH_A_WORD: Duration = Duration::from_secs(2);

/// What has been measured so far.
#[derive(Clone, Default)]
pub(super) struct Durations {
    all: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Durations {
    /// Runs the test of that name, and keeps how long it took.
    pub(super) fn measure(&self, name: String, test: impl FnOnce() -> Verdict) -> Verdict {
        let begun = Instant::now();
        let verdict = test();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((begun.elapsed(), name));
        verdict
    }

    /// The longest, a line each.
    pub(super) fn longest(&self) -> String {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.sort_by(|one, other| other.cmp(one));
        all.iter()
            .take_while(|(duration, _)| *duration >= WORTH_A_WORD)
            .take(MOST)
            .map(|(duration, name)| format!("  {:>6.1} s  {name}\n", duration.as_secs_f64()))
            .collect()
    }
}
