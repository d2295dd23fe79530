//! Automata for policies that are made by hand.

use ringfence::policy::Automaton;
use ringfence_abi::automaton;

/// Words of a state: its own, and an entry for each byte.
const STRIDE: usize = 257;

/// An automaton in which each prefix gives all that begins with it an accept byte; the longest one decides. Classes are
/// bytes; behind the sinks each state has [`STRIDE`] words.
pub(crate) fn prefixes<Prefix: AsRef<[u8]>>(rules: &[(Prefix, u8)]) -> Automaton {
    // A trie, node 0 its root. A node that ends a prefix, and what hangs below it, accepts.
    let mut edges: Vec<Vec<(u8, usize)>> = vec![Vec::new()];
    let mut accepts: Vec<Option<u8>> = vec![None];
    for (prefix, accept) in rules {
        let mut node = 0;
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
    lay_out(&edges, &accepts)
}

fn lay_out(edges: &[Vec<(u8, usize)>], accepts: &[Option<u8>]) -> Automaton {
    let mut words = automaton::sinks().to_vec();
    let place = |node: usize| automaton::sinks().len() + node * STRIDE;
    let number = |node: usize| u32::try_from(place(node)).expect("a small automaton");
    words.resize(
        place(edges.len()),
        automaton::entry_word(u32::MAX, automaton::DEAD),
    );
    // Parents come before their children, so that what is inherited is known.
    let mut inherited = vec![0; edges.len()];
    for (node, edges) in edges.iter().enumerate() {
        let accept = accepts[node].unwrap_or(inherited[node]);
        // What leaves the trie ends in the sink of what it has come to.
        words[place(node)] = automaton::state_word(u32::from(accept), accept);
        for &(byte, next) in edges {
            inherited[next] = accept;
            words[place(node) + 1 + usize::from(byte)] =
                automaton::entry_word(number(node), number(next));
        }
    }
    let mut classes = [0; 256];
    for (class, byte) in classes.iter_mut().zip(0..=u8::MAX) {
        *class = byte;
    }
    Automaton {
        start: number(0),
        classes,
        words,
    }
}
