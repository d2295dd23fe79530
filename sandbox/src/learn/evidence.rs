//! Why a rule is there: in which runs it was needed, how often, and by which programs.

use std::collections::{BTreeMap, BTreeSet};

/// The evidence of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How often, by the name of the run.
    pub runs: BTreeMap<String, u64>,
    /// Short names of the programs.
    pub programs: BTreeSet<String>,
}

impl Evidence {
    /// Adds that of another need of the same run or runs: counts add up.
    pub fn add(&mut self, other: &Self) {
        for (run, count) in &other.runs {
            let sum = self.runs.entry(run.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.programs.extend(other.programs.iter().cloned());
    }

    /// Joins that of the same rule in another profile. The same run twice counts once, so that joining is idempotent.
    pub fn join(&mut self, other: &Self) {
        for (run, count) in &other.runs {
            let most = self.runs.entry(run.clone()).or_default();
            *most = (*most).max(*count);
        }
        self.programs.extend(other.programs.iter().cloned());
    }

    /// How often, in all runs.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.runs
            .values()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }
}
