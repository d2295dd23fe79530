//! What a profile was compiled to before, put into words for a [`Memory`]: the automata of every section, and what takes long to
//! ask besides.
//!
//! The key is made of all that the compiler is given, and of the compiler: each structure is taken apart with all of its fields, so
//! that one which is added later does not compile here until it is in the key, or said to have no part in the result.

use std::hash::Hash as _;

use ringfence_abi::policy::LARGE_WORDS;

use super::bind::Bound;
use super::network::{BoundNetwork, Meaning};
use super::section::{Section, SectionNetwork};
use super::{Explainer, Glob};
use crate::policy::{Automaton, Key, KeyHasher};

/// What is compiled for one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) files: Automaton,
    pub(super) network: Automaton,
    pub(super) shows_own_tasks: bool,
}

/// What names the parts of this explainer's sections.
pub(super) fn key(explainer: &Explainer) -> Key {
    let mut hasher = KeyHasher::new(concat!("policy-", env!("RINGFENCE_COMPILER_DIGEST")));
    // The name is in messages alone.
    let Explainer {
        profile: _,
        rules,
        network,
        sections,
    } = explainer;
    rules.len().hash(&mut hasher);
    for bound in rules {
        hash_bound(bound, &mut hasher);
    }
    network.len().hash(&mut hasher);
    for BoundNetwork { rule, meaning } in network {
        rule.right.hash(&mut hasher);
        std::mem::discriminant(meaning).hash(&mut hasher);
        match meaning {
            Meaning::Peer(peer) => peer.hash(&mut hasher),
            Meaning::Socket(bound) => hash_bound(bound, &mut hasher),
            Meaning::Abstract(names) => {
                names.len().hash(&mut hasher);
                for name in names {
                    name.spelled().hash(&mut hasher);
                }
            }
        }
    }
    sections.len().hash(&mut hasher);
    for section in sections {
        let Section {
            path,
            because: _,
            parent,
            inherit,
            mode,
            network,
            kernel,
            own,
            rules,
            entries,
        } = section;
        (path, parent, inherit, mode, kernel.0).hash(&mut hasher);
        (own, rules, entries).hash(&mut hasher);
        let SectionNetwork {
            mode,
            sni,
            own,
            rules,
        } = network;
        (mode, sni, own, rules).hash(&mut hasher);
    }
    hasher.key()
}

/// What a rule says of paths, and which: where it was written, and the links that led there, are for people.
fn hash_bound(bound: &Bound, hasher: &mut KeyHasher) {
    let Bound {
        rule,
        covers,
        unfollowed: _,
    } = bound;
    rule.right.hash(hasher);
    let globs: Vec<&Glob> = covers.iter().map(|cover| &cover.glob).collect();
    globs.hash(hasher);
}

/// The parts in bytes.
pub(super) fn encode(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.push(u8::from(part.shows_own_tasks));
        for automaton in [&part.files, &part.network] {
            bytes.extend(automaton.start.to_le_bytes());
            bytes.extend(automaton.classes);
            bytes.extend((automaton.words.len() as u64).to_le_bytes());
            bytes.extend(automaton.words.iter().flat_map(|word| word.to_le_bytes()));
        }
    }
    bytes
}

/// The parts of so many sections; `None` if these bytes are not [`encode`]'s, or an automaton is none that could be walked.
pub(super) fn decode(mut bytes: &[u8], sections: usize) -> Option<Vec<Part>> {
    let mut parts = Vec::with_capacity(sections);
    for _ in 0..sections {
        let shows_own_tasks = match take::<1>(&mut bytes)? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        parts.push(Part {
            files: automaton(&mut bytes)?,
            network: automaton(&mut bytes)?,
            shows_own_tasks,
        });
    }
    bytes.is_empty().then_some(parts)
}

fn automaton(bytes: &mut &[u8]) -> Option<Automaton> {
    let start = u32::from_le_bytes(take(bytes)?);
    let classes = take(bytes)?;
    let count = usize::try_from(u64::from_le_bytes(take(bytes)?)).ok()?;
    if count > LARGE_WORDS {
        return None;
    }
    let (words, rest) = bytes.split_at_checked(count * size_of::<u64>())?;
    *bytes = rest;
    let (words, _) = words.as_chunks();
    let automaton = Automaton {
        start,
        classes,
        words: words.iter().copied().map(u64::from_le_bytes).collect(),
    };
    automaton.check().ok().map(|()| automaton)
}

fn take<const BYTES: usize>(bytes: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests;
