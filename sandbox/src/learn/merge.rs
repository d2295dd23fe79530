//! Two profiles into one: what either allows, with the evidence of both. Which comes first does not matter, nor how often.

use std::collections::BTreeMap;

use super::{Evidence, Learned, learned::Question};

/// What was written by hand says different things about one key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the profiles say different things about `{0}`: make them agree by hand")]
pub struct Conflict(pub String);

impl Learned {
    /// The profile that allows what this one or `other` does.
    ///
    /// # Errors
    /// Where single values that were written by hand differ.
    pub fn merge(mut self, other: Self) -> Result<Self, Conflict> {
        for (name, run) in other.runs {
            let known = self.runs.entry(name).or_insert_with(|| run.clone());
            *known = known.clone().max(run);
        }
        self.extends.extend(other.extends);
        join_all(&mut self.rules, other.rules);
        join_all(&mut self.peers, other.peers);
        self.nameless.extend(other.nameless);
        join_all(&mut self.capabilities, other.capabilities);
        join_all(&mut self.kernel, other.kernel);
        join_questions(&mut self.questions, other.questions, &self.rules);
        join_questions(
            &mut self.kernel_questions,
            other.kernel_questions,
            &self.kernel,
        );
        if let Some(network) = other.network {
            self.network
                .get_or_insert_with(Evidence::default)
                .join(&network);
        }
        self.system_calls = match (self.system_calls, other.system_calls) {
            (Some(mut calls), Some(more)) => {
                calls.extend(more);
                Some(calls)
            }
            _ => None,
        };
        for (rule, words) in other.words {
            let name = rule.1.clone();
            agree(self.words.entry(rule).or_default(), words)
                .map_err(|Conflict(key)| Conflict(format!("{key} of {name}")))?;
        }
        for (rule, words) in other.peer_words {
            let name = rule.1.clone();
            agree(self.peer_words.entry(rule).or_default(), words)
                .map_err(|Conflict(key)| Conflict(format!("{key} of {name}")))?;
        }
        agree(&mut self.rest, other.rest)?;
        Ok(self)
    }
}

fn join_all<K: Ord>(into: &mut BTreeMap<K, Evidence>, from: BTreeMap<K, Evidence>) {
    for (key, evidence) in from {
        into.entry(key).or_default().join(&evidence);
    }
}

/// What somebody has allowed is no question any more.
fn join_questions<K: Ord>(
    into: &mut BTreeMap<K, Question>,
    from: BTreeMap<K, Question>,
    allowed: &BTreeMap<K, Evidence>,
) {
    for (key, question) in from {
        let known = into.entry(key).or_insert_with(|| question.clone());
        known.because = known.because.clone().max(question.because);
        known.evidence.join(&question.evidence);
    }
    into.retain(|key, _| !allowed.contains_key(key));
}

/// Lists add up; of anything else both must say the same.
fn agree(
    into: &mut BTreeMap<String, toml::Value>,
    from: BTreeMap<String, toml::Value>,
) -> Result<(), Conflict> {
    for (key, value) in from {
        let Some(known) = into.get_mut(&key) else {
            into.insert(key, sorted(value));
            continue;
        };
        match (known, value) {
            (toml::Value::Array(known), toml::Value::Array(more)) => {
                known.extend(more);
                sort(known);
            }
            (known, value) if *known == value => {}
            _ => return Err(Conflict(key)),
        }
    }
    // A list is a set, whoever it came from.
    for value in into.values_mut() {
        if let toml::Value::Array(list) = value {
            sort(list);
        }
    }
    Ok(())
}

fn sorted(mut value: toml::Value) -> toml::Value {
    if let toml::Value::Array(list) = &mut value {
        sort(list);
    }
    value
}

fn sort(list: &mut Vec<toml::Value>) {
    list.sort_by_cached_key(ToString::to_string);
    list.dedup();
}
