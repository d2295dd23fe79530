//! The name in a TLS greeting (server name indication, RFC 6066): an address that many names share is not open for all of
//! them because one of them led there.
//!
//! A connection is looked at if no rule about addresses opens its peer, only a name that led there. What it begins with has
//! to lie in one packet, up to the end of the name: what does not is held back, and TCP sends it again together with what
//! was written since. Packets leave in the size of what was written, before they are cut to that of the wire
//! (net/ipv4/ip_output.c, `ip_finish_output`).
//!
//! What a client says is the client's word: a server that many names share may give it another one's content all the same.
//! Encrypted greetings say the name that stands outside of the encryption.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, __sk_buff, bpf_sock},
    cty::c_void,
    helpers::generated::{
        bpf_get_socket_uid, bpf_loop, bpf_sk_storage_get, bpf_skb_load_bytes,
    },
};
use ringfence_abi::{
    event::{Ancestor, cause, operation},
    greeting::{self as reader, Extension, Extensions, found},
    network::{
        ALLOW, DENY, NAME, NAME_BYTES, Peer, SNI_IF_PRESENT, SNI_OFF, SNI_REQUIRED,
        TCP, greeting, port_question,
    },
    policy::{Label, MODE_AUDIT, MODE_OFF, NO_TABLE},
    rights::PROGRAMS,
};

use crate::{
    identity,
    maps::GREETINGS,
    matching, peers,
    report::{self, Finding, Span},
    scratch::{PATH_END, Path, Slot},
    table, verdict,
    walk::bounded,
};

/// What is expected of a connection, beside its socket.
#[repr(C)]
pub struct Expected {
    /// `SNI_REQUIRED` or `SNI_IF_PRESENT` until the first bytes have passed, then `SNI_OFF`; or [`STOPPED`].
    state: u32,
    /// Whose rules are asked: the number of the program that opened the connection, 0 at large, or [`EVERY`].
    whose: u32,
    /// The number of the packet that opened it.
    sequence: u32,
    /// Who opened the connection: packets may leave while anybody runs.
    by: Ancestor,
}

/// Those of every program, where it is not known which one opens a connection: without hooks, and where the kernel itself does
/// (MPTCP).
const EVERY: u32 = u32::MAX;

/// It began with something that it must not, and nothing of it leaves any more.
const STOPPED: u32 = 3;

/// Whether and how the connection that is being opened is to be looked at. Every packet that opens one says so anew: a
/// socket can connect again. `false` if it cannot be kept.
#[inline(always)]
pub fn expect(label: Label, peer: &Peer, sock: *mut bpf_sock, sequence: u32) -> bool {
    let whose = opener(label, sock, sequence);
    let mut search = Search { label, peer: *peer, whose, sni: NOT_OPENED };
    for_each_policy(openness, (&raw mut search).cast::<c_void>());
    let is_expected = search.sni == u32::from(SNI_REQUIRED) || search.sni == u32::from(SNI_IF_PRESENT);
    // Whose it is has to be known when this packet is sent again.
    let is_kept = is_expected || table::program_count(label) != 0;
    let flags = if is_kept { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
    let expected = storage(sock, flags);
    if expected.is_null() {
        return !is_expected;
    }
    // SAFETY: the value lives as long as the program runs.
    unsafe {
        (*expected).state = if is_expected { search.sni } else { u32::from(SNI_OFF) };
        (*expected).whose = whose;
        if (*expected).sequence != sequence || (*expected).by.pid == 0 {
            (*expected).sequence = sequence;
            (*expected).by = report::myself();
        }
    }
    true
}

/// Whose rules the packet is asked about that opens a connection. It leaves while who opens the connection runs (net/ipv4/tcp_output.c,
/// `tcp_connect`), but when it is sent again: then it is whose it was.
#[inline(always)]
fn opener(label: Label, sock: *mut bpf_sock, sequence: u32) -> u32 {
    let expected = storage(sock, 0);
    // SAFETY: the value lives as long as the program runs.
    if !expected.is_null() && unsafe { (*expected).sequence == sequence && (*expected).by.pid != 0 } {
        return unsafe { (*expected).whose };
    }
    match identity::current() {
        Some(own) if own.fence == label.fence => u32::from(own.program),
        _ => EVERY,
    }
}

/// The label of a task whose rules these are; that at large if they are everybody's, or cannot be found.
#[inline(always)]
fn label_of(label: Label, whose: u32) -> Label {
    if whose == EVERY {
        return label;
    }
    let own = policy(label, u64::from(whose));
    if own.fence == 0 { label } else { own }
}

/// Whether something is expected of what this socket sends.
#[inline(always)]
pub fn is_expected(sock: *mut bpf_sock) -> bool {
    let expected = storage(sock, 0);
    // SAFETY: the value lives as long as the program runs.
    !expected.is_null() && unsafe { (*expected).state } != u32::from(SNI_OFF)
}

#[inline(always)]
fn storage(sock: *mut bpf_sock, flags: u64) -> *mut Expected {
    // SAFETY: a socket of the verifier's.
    unsafe {
        let map = (&raw const GREETINGS).cast_mut().cast::<c_void>();
        bpf_sk_storage_get(map, sock.cast(), core::ptr::null_mut(), flags).cast::<Expected>()
    }
}

/// Asks `callback` of the policy at large (0) and of those of the programs, by number, until it returns 1. What carries no
/// task is asked about in this way.
#[inline(always)]
fn for_each_policy<T>(callback: extern "C" fn(u64, *mut T) -> i64, context: *mut c_void) {
    // SAFETY: the callback gets the address of a value on the caller's stack.
    unsafe {
        bpf_loop(u32::from(PROGRAMS) + 1, callback as *const () as *mut c_void, context, 0);
    }
}

/// The label of a task under that policy; fence 0 if there is none.
#[inline(always)]
fn policy(label: Label, number: u64) -> Label {
    let program = number as u8;
    if program == 0 {
        return label;
    }
    let size_class = table::size_class_of(label, program);
    let fence = if size_class == NO_TABLE { 0 } else { label.fence };
    Label { fence, program, size_class, ..label }
}

/// Whether the rules of that number are not asked, where those are that `whose` says.
#[inline(always)]
fn is_anothers(whose: u32, number: u64) -> bool {
    whose != EVERY && u64::from(whose) != number
}

/// What [`openness`] looks for.
struct Search {
    label: Label,
    peer: Peer,
    /// As in [`Expected`].
    whose: u32,
    /// `SNI_*`, the loosest found; [`NOT_OPENED`] before any.
    sni: u32,
}

/// No name opens the peer. A name's state is never that.
const NOT_OPENED: u32 = u32::MAX;

/// How one of the policies opens a peer; returns 1 at the first that does not look at greetings.
extern "C" fn openness(number: u64, search: *mut Search) -> i64 {
    // SAFETY: `search` is the one that `expect` passed.
    let search = unsafe { &mut *search };
    if is_anothers(search.whose, number) {
        return 0;
    }
    let label = policy(search.label, number);
    if label.fence == 0 {
        return 1;
    }
    let peer = &search.peer;
    let mut sni = u32::from(SNI_OFF);
    if table::network_mode(label) != MODE_OFF {
        let accept = peers::by_rule(label, peer);
        if accept != u32::from(ALLOW) {
            if accept != 0 || !peers::by_name(label, peer) {
                return 0;
            }
            sni = u32::from(table::sni(label));
        }
    }
    if search.sni == NOT_OPENED || sni > search.sni {
        search.sni = sni;
    }
    i64::from(sni == u32::from(SNI_OFF))
}

/// Where the reading of a greeting stands. In memory and not in registers, so that the verifier does not follow each value.
#[repr(C)]
pub struct Reading {
    /// Where what is read next begins in the packet.
    at: u32,
    /// Where the packet ends.
    end: u32,
    /// Where the greeting ends, if it is as long as it says.
    last: u32,
    /// One of [`found`].
    found: u32,
    /// Bytes of the name.
    length: u32,
    reserved: u32,
}

/// Whether what a connection carries may leave, or leaves under audit. `data` is where it begins.
#[inline(always)]
pub fn passes(
    label: Label,
    peer: &Peer,
    skb: *mut __sk_buff,
    sock: *mut bpf_sock,
    data: u32,
    is_urgent: bool,
) -> bool {
    let expected = storage(sock, 0);
    if expected.is_null() {
        return true;
    }
    // SAFETY: the value lives as long as the program runs; a field of the context.
    let (state, whose, end) = unsafe {
        let state = core::ptr::read_volatile(&raw const (*expected).state);
        (state, core::ptr::read_volatile(&raw const (*expected).whose), (*skb).len)
    };
    if state == u32::from(SNI_OFF) || data >= end {
        return true;
    }
    let is_audited = table::network_mode(label_of(label, whose)) == MODE_AUDIT;
    if state == STOPPED || is_urgent {
        return is_audited;
    }
    verdict::with_slot(label, |slot| {
        // SAFETY: `slot` is a map value.
        let (reading, name) = unsafe { (&raw mut (*slot).reading, &raw mut (*slot).other) };
        read(skb, reading, data, end);
        // SAFETY: as above.
        let found = unsafe { core::ptr::read_volatile(&raw const (*reading).found) };
        let asked = Asked { label, whose, name, is_allowed: 0 };
        let matter = judge(asked, peer, skb, reading, found, state);
        // Under audit nothing is held back, and what comes behind it would tell nothing.
        let matter = if matter == HELD && is_audited { greeting::UNREADABLE } else { matter };
        if matter == HELD {
            return verdict::DENY;
        }
        let denied = !is_audited;
        let is_stopped = matter != FINE && denied;
        // SAFETY: the value lives as long as the program runs.
        unsafe {
            let state = if is_stopped { STOPPED } else { u32::from(SNI_OFF) };
            core::ptr::write_volatile(&raw mut (*expected).state, state);
        }
        if matter != FINE {
            tell(slot, label_of(label, whose), peer, skb, expected, matter, denied);
        }
        if is_stopped { verdict::DENY } else { verdict::ALLOW }
    }) == verdict::ALLOW
        || is_audited
}

/// Nothing is the matter.
const FINE: u32 = 0;
/// The packet has to wait for what comes behind it.
const HELD: u32 = u32::MAX;

/// What is the matter with what was found: [`FINE`], [`HELD`] or one of [`greeting`].
#[inline(always)]
fn judge(
    mut asked: Asked,
    peer: &Peer,
    skb: *mut __sk_buff,
    reading: *const Reading,
    found: u32,
    state: u32,
) -> u32 {
    let is_required = state == u32::from(SNI_REQUIRED);
    match found {
        found::PART => HELD,
        found::NOT_TLS if is_required => greeting::NOT_TLS,
        found::NAMELESS if is_required => greeting::NAMELESS,
        found::NOT_TLS | found::NAMELESS => FINE,
        found::NAME => {
            if !take_name(skb, reading, asked.name, peer.port) {
                return greeting::UNREADABLE;
            }
            for_each_policy(allows, (&raw mut asked).cast::<c_void>());
            if asked.is_allowed != 0 { FINE } else { greeting::NAME }
        }
        _ => greeting::UNREADABLE,
    }
}

/// Reads what a packet carries from `data` to `end`.
#[inline(always)]
fn read(skb: *mut __sk_buff, reading: *mut Reading, data: u32, end: u32) {
    // SAFETY: a map value.
    unsafe {
        core::ptr::write_volatile(&raw mut (*reading).end, end);
        match reader::head(&Carried(skb), data, end) {
            Ok(extensions) => {
                core::ptr::write_volatile(&raw mut (*reading).at, extensions.at);
                core::ptr::write_volatile(&raw mut (*reading).last, extensions.last);
                core::ptr::write_volatile(&raw mut (*reading).found, found::OTHER);
            }
            Err(found) => {
                core::ptr::write_volatile(&raw mut (*reading).found, found);
                return;
            }
        }
        let mut context = Context { skb, reading };
        bpf_loop(
            reader::EXTENSIONS,
            extension as *const () as *mut c_void,
            (&raw mut context).cast::<c_void>(),
            0,
        );
        if core::ptr::read_volatile(&raw const (*reading).found) == found::OTHER {
            core::ptr::write_volatile(&raw mut (*reading).found, found::UNREADABLE);
        }
    }
}

struct Context {
    skb: *mut __sk_buff,
    reading: *mut Reading,
}

/// One extension; returns 1 at the end or at the name.
extern "C" fn extension(_index: u64, context: *mut Context) -> i64 {
    // SAFETY: `context` is the one that `read` passed, and its pointers are the program's context and a map value.
    unsafe {
        let (skb, reading) = ((*context).skb, (*context).reading);
        let extensions = Extensions {
            at: core::ptr::read_volatile(&raw const (*reading).at),
            last: core::ptr::read_volatile(&raw const (*reading).last),
        };
        let end = core::ptr::read_volatile(&raw const (*reading).end);
        let found = match reader::extension(&Carried(skb), extensions, end) {
            Ok(Extension::Other { next }) => {
                core::ptr::write_volatile(&raw mut (*reading).at, next);
                return 0;
            }
            Ok(Extension::Name { at, length }) => {
                core::ptr::write_volatile(&raw mut (*reading).at, at);
                core::ptr::write_volatile(&raw mut (*reading).length, length);
                found::NAME
            }
            Err(found) => found,
        };
        core::ptr::write_volatile(&raw mut (*reading).found, found);
        1
    }
}

/// Puts the name that was found where it is matched: with what follows it in the question, at the end of `name`.
#[inline(always)]
fn take_name(skb: *mut __sk_buff, reading: *const Reading, name: *mut Path, port: u16) -> bool {
    const TAIL: usize = 4;
    // SAFETY: map values; the offsets are below the buffer's size.
    unsafe {
        let length = bounded!(
            u64::from(core::ptr::read_volatile(&raw const (*reading).length)).wrapping_sub(1),
            NAME_BYTES as u64,
        );
        let length = length as u32 + 1;
        let at = core::ptr::read_volatile(&raw const (*reading).at);
        let start = PATH_END as u32 - TAIL as u32 - length;
        let bytes = (&raw mut (*name).bytes).cast::<u8>();
        let target = bytes.add(bounded!(u64::from(start), PATH_END as u64 - 1) as usize);
        if bpf_skb_load_bytes(skb.cast(), at, target.cast::<c_void>(), length) != 0 {
            return false;
        }
        core::ptr::write_volatile(&raw mut (*name).start, start);
        core::ptr::write_volatile(&raw mut (*name).position, start);
        let [protocol, high, low] = port_question(TCP, port);
        let tail = bytes.add(PATH_END - TAIL);
        tail.write(0);
        tail.add(1).write(protocol);
        tail.add(2).write(high);
        tail.add(3).write(low);
        let mut context = Lowering { name };
        bpf_loop(
            length,
            lower as *const () as *mut c_void,
            (&raw mut context).cast::<c_void>(),
            0,
        );
    }
    true
}

struct Lowering {
    name: *mut Path,
}

/// Turns one letter to its lower case: names are the same in both.
extern "C" fn lower(index: u64, context: *mut Lowering) -> i64 {
    // SAFETY: `context` is the one that `take_name` passed, its pointer a map value, and the offset below the buffer's size.
    unsafe {
        let name = (*context).name;
        let start = u64::from(core::ptr::read_volatile(&raw const (*name).start));
        let at = bounded!(start + index, PATH_END as u64 - 1);
        let byte = (&raw mut (*name).bytes).cast::<u8>().add(at as usize);
        let letter = byte.read();
        if letter.is_ascii_uppercase() {
            byte.write(letter | 0x20);
        }
    }
    0
}

/// What [`allows`] looks for.
struct Asked {
    label: Label,
    /// As in [`Expected`].
    whose: u32,
    name: *mut Path,
    is_allowed: u32,
}

/// Whether one of the policies allows the name and port; returns 1 at the first that does.
extern "C" fn allows(number: u64, asked: *mut Asked) -> i64 {
    // SAFETY: `asked` is the one that `judge` passed.
    let asked = unsafe { &mut *asked };
    if is_anothers(asked.whose, number) {
        return 0;
    }
    let label = policy(asked.label, number);
    if label.fence == 0 {
        return 1;
    }
    if table::network_mode(label) == MODE_OFF {
        return 0;
    }
    // What cannot be asked allows nothing.
    let accept = matching::text(asked.name, label, NAME).unwrap_or(0);
    if accept & (ALLOW | DENY) == ALLOW {
        asked.is_allowed = 1;
        return 1;
    }
    0
}

/// Tells what is the matter.
#[inline(always)]
fn tell(
    slot: *mut Slot,
    label: Label,
    peer: &Peer,
    skb: *mut __sk_buff,
    expected: *const Expected,
    matter: u32,
    denied: bool,
) {
    let mut other = Span::NONE;
    // SAFETY: map values, the first of which begins at a multiple of four; the program's context.
    let user = unsafe {
        (&raw mut (*slot).path.bytes).cast::<Peer>().write(*peer);
        if matter == greeting::NAME {
            let start = core::ptr::read_volatile(&raw const (*slot).other.start);
            let length = core::ptr::read_volatile(&raw const (*slot).reading.length);
            other = Span::of(start, length);
        }
        bpf_get_socket_uid(skb)
    };
    let finding = Finding {
        denied,
        detail: matter,
        path: Span::first(size_of::<Peer>() as u32),
        other,
        ..Finding::new(operation::GREET, cause::RULE)
    };
    // SAFETY: the value lives as long as the program runs.
    report::send_of(slot, label, finding, user, unsafe { &(*expected).by });
}

/// A packet that carries what is read.
struct Carried(*mut __sk_buff);

impl reader::Packet for Carried {
    #[inline(always)]
    fn load<const BYTES: usize>(&self, at: u32) -> Option<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        // SAFETY: the program's context, and as many bytes on this frame's stack.
        let failed = unsafe {
            bpf_skb_load_bytes(self.0.cast(), at, bytes.as_mut_ptr().cast::<c_void>(), BYTES as u32)
        };
        (failed == 0).then_some(bytes)
    }
}
