//! Automata for policies that are made by hand.

use ringfence::policy::Automaton;
use ringfence_abi::automaton;

/// An automaton in which each prefix gives all that begins with it an accept byte; the longest one decides. Classes are
/// bytes; state `n` has word `n`, and its entries in the `n`th block of 256 words after the states.
pub(crate) fn prefixes<Prefix: AsRef<[u8]>>(rules: &[(Prefix, u8)]) -> Automaton {
    // A trie: node 0 is dead, 1 the root. A node that ends a prefix, and what hangs below it, accepts.
    let mut edges: Vec<Vec<(u8, usize)>> = vec![Vec::new(), Vec::new()];
    let mut accepts: Vec<Option<u8>> = vec![Some(0), None];
    for (prefix, accept) in rules {
        let mut node = 1;
        for &byte in prefix.as_ref() {
            node = match edges[node].iter().find(|(label, _)| *label == byte) {
                Some(&(_, next)) => next,
                None => {
                    edges.push(Vec::new());
                    accepts.push(None);
                    let next = edges.len() - 1;
                    edges[node].push((byte, next));
                    next
                }
            };
        }
        accepts[node] = Some(*accept);
    }
    // One state more for each accept byte: what goes on below a prefix and leaves the trie.
    let count = edges.len();
    let mut states = Vec::new();
    let mut tails: Vec<u8> = Vec::new();
    // Parents come before their children, so that what is inherited is known.
    let mut inherited = vec![0u8; count];
    for node in 0..count {
        let accept = accepts[node].unwrap_or(inherited[node]);
        for &(_, next) in &edges[node] {
            inherited[next] = accept;
        }
        let known = tails.iter().position(|&known| known == accept);
        let default = match known {
            _ if accept == 0 => 0,
            Some(at) => count + at,
            None => {
                tails.push(accept);
                count + tails.len() - 1
            }
        };
        states.push(State {
            edges: edges[node].clone(),
            accept,
            default,
        });
    }
    for (number, &accept) in tails.iter().enumerate() {
        states.push(State {
            edges: Vec::new(),
            accept,
            default: count + number,
        });
    }
    lay_out(&states)
}

/// One state: where single bytes lead, where all others do, and what it accepts.
struct State {
    edges: Vec<(u8, usize)>,
    default: usize,
    accept: u8,
}

fn lay_out(states: &[State]) -> Automaton {
    let number = |state: usize| u32::try_from(state).expect("a small automaton");
    let total = states.len();
    let nowhere = automaton::entry_word(u32::MAX, automaton::DEAD);
    let mut words = vec![nowhere; total + total * 256];
    for (state, found) in states.iter().enumerate() {
        let base = total + state * 256;
        words[state] = automaton::state_word(number(base), number(found.default), found.accept);
        for &(byte, next) in &found.edges {
            words[base + usize::from(byte)] = automaton::entry_word(number(state), number(next));
        }
    }
    let mut classes = [0; 256];
    for (class, byte) in classes.iter_mut().zip(0..=u8::MAX) {
        *class = byte;
    }
    Automaton {
        start: 1,
        classes,
        words,
    }
}
