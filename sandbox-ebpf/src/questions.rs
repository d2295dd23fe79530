//! Questions about addresses, in the automaton of the network: a few bytes each, which need no slot.

use ringfence_abi::{
    automaton,
    network::{self, ADDRESS_QUESTION, BEFORE_IPV4, CONNECT, Grant, STATES},
    policy::{Label, Table},
};

use crate::{
    steps::{self, FAILED},
    table::by_size,
};

/// What the network's automaton says of an address: accepted with what of `ringfence_abi::network`, or [`FAILED`]. Whether it
/// is one of IPv4, whose question begins in a known way, the caller finds out with less.
#[inline(always)]
pub fn address(label: Label, question: &[u8; ADDRESS_QUESTION], is_ipv4: bool) -> u32 {
    match_address(question, label.table(), u32::from(label.size_class), u32::from(is_ipv4))
}

/// VERIFIER: a global function, as `matching::match_path`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_address(
    question: *const [u8; ADDRESS_QUESTION],
    table: u32,
    size_class: u32,
    is_ipv4: u32,
) -> u32 {
    // SAFETY: a question, by the verifier's own account.
    match unsafe { question.as_ref() } {
        Some(question) => by_size!(table, size_class, address_in(question, is_ipv4)),
        None => FAILED,
    }
}

#[inline(always)]
fn address_in<const WORDS: usize>(
    question: &[u8; ADDRESS_QUESTION],
    is_ipv4: u32,
    table: Option<*mut Table<WORDS>>,
) -> u32 {
    let Some(table) = table else {
        return FAILED;
    };
    let table: *const Table<WORDS> = table;
    // SAFETY: `table` is a map value, and the index is below the array's length.
    unsafe {
        let part = steps::network(table);
        let header = &raw const (*table).header;
        let state = match question.last_chunk::<{ ADDRESS_QUESTION - BEFORE_IPV4 }>() {
            Some(rest) if is_ipv4 != 0 => {
                let by_kind = (&raw const (*header).network_ipv4).cast::<u32>();
                let kind = usize::from(question[0] != CONNECT);
                steps::through(table, part, core::ptr::read_volatile(by_kind.add(kind)), rest)
            }
            _ => steps::through(table, part, core::ptr::read_volatile(&raw const (*header).network_start), question),
        };
        u32::from(steps::accepted(table, part, state))
    }
}

/// Whether one of the states that names have led to goes on to accept this protocol and port; not if the policy cannot be
/// found.
#[inline(always)]
pub fn granted(label: Label, grant: *const Grant, question: &[u8; 3]) -> bool {
    match_granted(grant, question, label.table(), u32::from(label.size_class)) != 0
}

/// VERIFIER: a global function, as `matching::match_path`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_granted(
    grant: *const Grant,
    question: *const [u8; 3],
    table: u32,
    size_class: u32,
) -> u32 {
    if grant.is_null() {
        return 0;
    }
    // SAFETY: a question, by the verifier's own account.
    match unsafe { question.as_ref() } {
        Some(question) => u32::from(by_size!(table, size_class, granted_in(grant, question))),
        None => 0,
    }
}

#[inline(always)]
fn granted_in<const WORDS: usize>(
    grant: *const Grant,
    question: &[u8; 3],
    table: Option<*mut Table<WORDS>>,
) -> bool {
    let Some(table) = table else {
        return false;
    };
    let table: *const Table<WORDS> = table;
    let mut index = 0;
    while index < STATES {
        // SAFETY: `grant` and `table` are map values, and the index is below the array's length.
        unsafe {
            let states = (&raw const (*grant).states).cast::<u32>();
            let state = core::ptr::read_volatile(states.add(index));
            if state != automaton::DEAD {
                let part = steps::network(table);
                let state = steps::through(table, part, state, question);
                if steps::accepted(table, part, state) & network::ALLOW != 0 {
                    return true;
                }
            }
        }
        index += 1;
    }
    false
}
