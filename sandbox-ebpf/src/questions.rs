//! Questions about addresses, in the automaton of the network: a few bytes each, which need no slot.

use core::mem::offset_of;

use ringfence_abi::{
    automaton,
    network::{self, CONNECT, Grant, Peer, STATES, is_ipv4, port_question, reached},
    policy::{Label, MODE_OFF, Table},
};

use crate::{
    steps::{self, FAILED},
    table::by_size,
};

/// What the network's automaton says of [`CONNECT`], or [`LISTEN`](network::LISTEN), to the address and by the protocol of a peer: accepted
/// with what of `ringfence_abi::network`, or [`FAILED`]. The question is `ringfence_abi::network::address_question`'s, of an address that
/// is [`reached`] where it is connected to. A policy whose network section is off allows all.
#[inline(always)]
pub fn address(label: Label, kind: u8, peer: &Peer, port: u16) -> u32 {
    let kind = u32::from(kind) << 16 | u32::from(port);
    match_address(peer, kind, label.table(), u32::from(label.size_class))
}

/// VERIFIER: a global function, as `matching::match_path`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_address(peer: *const Peer, kind: u32, table: u32, size_class: u32) -> u32 {
    // SAFETY: a peer, by the verifier's own account.
    let Some(peer) = (unsafe { peer.as_ref() }) else {
        return FAILED;
    };
    let (kind, port) = ((kind >> 16) as u8, kind as u16);
    let mut words = words(peer);
    if kind == CONNECT {
        words = reached(words);
    }
    let rest = rest(peer.protocol, port);
    by_size!(table, size_class, address_in(kind, words, rest))
}

/// The words of an address, each as it lies in memory.
#[inline(always)]
fn words(peer: &Peer) -> [u32; 4] {
    const { assert!(offset_of!(Peer, address) == 0 && align_of::<Peer>() >= align_of::<u32>()) };
    // SAFETY: the address lies first and is aligned so; every bit pattern is a value.
    unsafe { (&raw const *peer).cast::<[u32; 4]>().read() }
}

/// What follows an address or a name in a question, the lowest byte first.
#[inline(always)]
fn rest(protocol: u8, port: u16) -> u64 {
    let [protocol, high, low] = port_question(protocol, port);
    u64::from(u32::from_le_bytes([protocol, high, low, 0]))
}

/// Bytes of [`rest`].
const REST: u32 = 3;

#[inline(always)]
fn address_in<const WORDS: usize>(
    kind: u8,
    words: [u32; 4],
    rest: u64,
    table: Option<*mut Table<WORDS>>,
) -> u32 {
    let Some(table) = table else {
        return FAILED;
    };
    let table: *const Table<WORDS> = table;
    let [a, b, c, d] = words.map(|word| u64::from(word.to_le()));
    // SAFETY: `table` is a map value, and the index is below the array's length.
    unsafe {
        let header = &raw const (*table).header;
        if core::ptr::read_volatile(&raw const (*header).network_mode) == MODE_OFF {
            return u32::from(network::ALLOW);
        }
        let part = steps::network(table);
        // How a question about IPv4 begins is known.
        let state = if is_ipv4(words) {
            let by_kind = (&raw const (*header).network_ipv4).cast::<u32>();
            core::ptr::read_volatile(by_kind.add(usize::from(kind != CONNECT)))
        } else {
            let start = core::ptr::read_volatile(&raw const (*header).network_start);
            let kind = steps::advance(table, part, start, u64::from(kind));
            let half = steps::through(table, part, kind, a | b << 32, 8);
            steps::through(table, part, half, c, 4)
        };
        let address = steps::through(table, part, state, d, 4);
        u32::from(steps::accepted(table, part, steps::through(table, part, address, rest, REST)))
    }
}

/// Whether one of the states that names have led to goes on to accept this protocol and port; not if the policy cannot be
/// found.
#[inline(always)]
pub fn granted(label: Label, grant: *const Grant, protocol: u8, port: u16) -> bool {
    match_granted(grant, rest(protocol, port), label.table(), u32::from(label.size_class)) != 0
}

/// VERIFIER: a global function, as `matching::match_path`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_granted(grant: *const Grant, rest: u64, table: u32, size_class: u32) -> u32 {
    if grant.is_null() {
        return 0;
    }
    u32::from(by_size!(table, size_class, granted_in(grant, rest)))
}

#[inline(always)]
fn granted_in<const WORDS: usize>(
    grant: *const Grant,
    rest: u64,
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
                let state = steps::through(table, part, state, rest, REST);
                if steps::accepted(table, part, state) & network::ALLOW != 0 {
                    return true;
                }
            }
        }
        index += 1;
    }
    false
}
