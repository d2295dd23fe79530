//! What a fence may ask at most: a name can carry data out, to whoever serves the names below an allowed one.

use std::collections::HashSet;
use std::time::Instant;

use crate::profile::NamePattern;

/// Queries a second that are answered over a longer time.
const QUERIES_A_SECOND: f64 = 100.0;
/// Queries that are answered at once after a quiet time.
const BURST: f64 = 500.0;
/// Different names under one wildcard, over the whole run.
pub(super) const NAMES_PER_WILDCARD: usize = 1_000;

/// What is left.
pub(super) struct Budget {
    queries: f64,
    counted: Instant,
    wildcards: Vec<(NamePattern, HashSet<String>)>,
}

impl Budget {
    pub(super) fn new(wildcards: Vec<NamePattern>, now: Instant) -> Self {
        Self {
            queries: BURST,
            counted: now,
            wildcards: wildcards
                .into_iter()
                .map(|pattern| (pattern, HashSet::new()))
                .collect(),
        }
    }

    /// Takes one query, if one is left.
    pub(super) fn take_query(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.queries = (self.queries + passed * QUERIES_A_SECOND).min(BURST);
        let some_left = self.queries >= 1.0;
        if some_left {
            self.queries -= 1.0;
        }
        some_left
    }

    /// Takes `name` from every wildcard that covers it.
    ///
    /// # Errors
    ///
    /// The wildcard that is used up.
    pub(super) fn take_name(&mut self, name: &str) -> Result<(), String> {
        for (pattern, names) in &mut self.wildcards {
            if names.contains(name) || !pattern.covers(name) {
                continue;
            }
            if names.len() == NAMES_PER_WILDCARD {
                return Err(pattern.text());
            }
            names.insert(name.to_owned());
        }
        Ok(())
    }
}
