//! A policy automaton from literal paths and whole trees, for tests: the obvious slow way, without patterns.

use ringfence::policy::Automaton;
use ringfence_abi::automaton::{DEAD, SINKS, entry_word, sinks, state_word};
use ringfence_abi::rights::ALL;

/// One rule.
pub(crate) struct Rule {
    path: String,
    rights: u8,
    tree: bool,
    deny: bool,
    drawn: bool,
}

/// Rights of one path.
pub(crate) fn file(path: impl AsRef<std::path::Path>, rights: u8) -> Rule {
    Rule {
        path: path.as_ref().to_str().unwrap().to_owned(),
        rights,
        tree: false,
        deny: false,
        drawn: false,
    }
}

/// Rights of a directory and of everything below it.
pub(crate) fn tree(path: impl AsRef<std::path::Path>, rights: u8) -> Rule {
    Rule {
        tree: true,
        ..file(path, rights)
    }
}

/// Rights of all whose paths begin like this, as by a pattern.
pub(crate) fn drawn(path: impl AsRef<std::path::Path>, rights: u8) -> Rule {
    Rule {
        drawn: true,
        ..file(path, rights)
    }
}

/// Takes every right from a directory and from everything below it.
pub(crate) fn deny(path: impl AsRef<std::path::Path>) -> Rule {
    Rule {
        deny: true,
        ..tree(path, ALL)
    }
}

/// Words per state: its own, and an entry for each byte.
const STRIDE: usize = 257;

/// Builds the automaton.
pub(crate) fn automaton(rules: &[Rule]) -> Automaton {
    let mut prefixes = std::collections::BTreeSet::from([String::new()]);
    for rule in rules {
        let whole = format!("{}/", rule.path.trim_end_matches('/'));
        for end in 1..=whole.len() {
            prefixes.insert(whole[..end].to_owned());
        }
    }
    let prefixes: Vec<String> = prefixes.into_iter().collect();
    let index = |position: usize| SINKS + u32::try_from(STRIDE * position).unwrap();
    let mut words = sinks().to_vec();
    words.resize(index(prefixes.len()) as usize, entry_word(u32::MAX, DEAD));
    let mut classes = [0; 256];
    for (byte, class) in classes.iter_mut().enumerate() {
        *class = u8::try_from(byte).unwrap();
    }
    for (position, prefix) in prefixes.iter().enumerate() {
        let at = index(position);
        // Anything below a tree: the sink of its rights.
        let default = u32::from(inside(rules, prefix));
        words[at as usize] = state_word(default, exactly(rules, prefix));
        for byte in 0..=255u8 {
            let mut next = prefix.clone().into_bytes();
            next.push(byte);
            let next = String::from_utf8(next).ok();
            let found = next.and_then(|next| prefixes.binary_search(&next).ok());
            if let Some(found) = found {
                words[at as usize + 1 + usize::from(byte)] = entry_word(at, index(found));
            }
        }
    }
    Automaton {
        start: index(0),
        classes,
        words,
    }
}

/// The rights of a path.
fn exactly(rules: &[Rule], path: &str) -> u8 {
    decide(rules, |rule| {
        let root = rule.path.trim_end_matches('/');
        path == rule.path
            || rule.drawn && path.starts_with(&rule.path)
            || rule.tree && path.len() > root.len() + 1 && path.starts_with(&format!("{root}/"))
    })
}

/// The rights of anything that goes on from `prefix` in a way that no rule spells out.
fn inside(rules: &[Rule], prefix: &str) -> u8 {
    decide(rules, |rule| {
        rule.drawn && prefix.starts_with(&rule.path)
            || rule.tree && prefix.starts_with(&format!("{}/", rule.path.trim_end_matches('/')))
    })
}

fn decide(rules: &[Rule], applies: impl Fn(&Rule) -> bool) -> u8 {
    let mut rights = 0;
    for rule in rules.iter().filter(|rule| applies(rule)) {
        if rule.deny {
            return 0;
        }
        rights |= rule.rights;
    }
    rights
}
