//! What passes between a fence and each of its peers, for who asks: programs of their own on the cgroup, which judge nothing.
//!
//! They stand behind those that judge, and see a packet after them (kernel/bpf/cgroup.c, `compute_effective_progs`). What is
//! counted is what the protocol carries, as the sockets send and get it: what is sent again counts again.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    cty::c_void,
    helpers::generated::bpf_sk_storage_get,
    programs::SkBuffContext,
};
use ringfence_abi::{
    network::{TCP, Traffic, TrafficKey},
    policy::Label,
};

use crate::{
    atomic,
    cgroup::fence,
    greeting,
    maps::{OPENED, TRAFFIC},
    packets::{self, Packet, Way},
};

/// A connection that was opened from inside, beside its socket.
#[repr(C)]
pub struct Opened {
    /// One more than the number of the first byte: what opens a connection may be sent several times.
    first: u64,
}

/// Counts a packet. It passes, as far as this program goes.
#[inline(always)]
pub fn count(context: &SkBuffContext, way: Way) -> i32 {
    if let Some(label) = fence()
        && let Ok(packet) = packets::packet(context, way)
        && !packets::is_to_resolver(label, &packet.peer)
    {
        add(context, label, way, &packet);
    }
    packets::PASS
}

#[inline(always)]
fn add(context: &SkBuffContext, label: Label, way: Way, packet: &Packet) {
    let mut key = TrafficKey {
        fence: label.fence,
        address: packet.peer.address,
        port: packet.peer.port,
        protocol: packet.peer.protocol,
        came: 0,
    };
    let mut connections = 0;
    if packet.peer.protocol == TCP {
        let Some(sock) = packets::socket(context.skb.skb) else {
            return;
        };
        // A greeting that is held back has not left.
        if way == Way::Out && !packet.opens && greeting::is_expected(sock) {
            return;
        }
        if way == Way::Out && packet.opens {
            connections = u64::from(is_first(sock, packet.sequence));
        } else if storage(sock, 0).is_null() {
            // By the port that somebody came to: those that they come from are many.
            key.came = 1;
            key.port = packet.own_port;
            connections = u64::from(way == Way::Out && packet.accepts);
        }
    }
    let bytes = u64::from(context.skb.len().wrapping_sub(packet.data));
    let (sent, received) = if way == Way::Out { (bytes, 0) } else { (0, bytes) };
    if more(&key, connections, sent, received) {
        return;
    }
    let first = Traffic { connections, sent, received };
    if TRAFFIC.insert(&key, first, u64::from(BPF_NOEXIST)).is_ok()
        || more(&key, connections, sent, received)
    {
        return;
    }
    // What found no room is counted together.
    more(&TrafficKey::rest(label.fence), connections, sent, received);
}

/// Whether this opens a connection that has not been counted.
#[inline(always)]
fn is_first(sock: *mut bpf_sock, sequence: u32) -> bool {
    let opened = storage(sock, u64::from(BPF_SK_STORAGE_GET_F_CREATE));
    if opened.is_null() {
        return true;
    }
    let first = u64::from(sequence) + 1;
    // SAFETY: the value lives as long as the program runs.
    unsafe {
        let is_first = (*opened).first != first;
        (*opened).first = first;
        is_first
    }
}

#[inline(always)]
fn storage(sock: *mut bpf_sock, flags: u64) -> *mut Opened {
    // SAFETY: a socket of the verifier's.
    unsafe {
        let map = (&raw const OPENED).cast_mut().cast::<c_void>();
        bpf_sk_storage_get(map, sock.cast(), core::ptr::null_mut(), flags).cast::<Opened>()
    }
}

/// Adds to what is there; `false` if nothing is.
#[inline(always)]
fn more(key: &TrafficKey, connections: u64, sent: u64, received: u64) -> bool {
    let Some(traffic) = TRAFFIC.get_ptr_mut(key) else {
        return false;
    };
    let base = traffic.cast::<u8>();
    // SAFETY: fields of a map value, aligned.
    unsafe {
        atomic::add(base.add(offset_of!(Traffic, connections)).cast(), connections);
        atomic::add(base.add(offset_of!(Traffic, sent)).cast(), sent);
        atomic::add(base.add(offset_of!(Traffic, received)).cast(), received);
    }
    true
}
