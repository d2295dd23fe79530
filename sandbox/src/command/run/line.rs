//! An event as a line of JSON: in the file of events, and for those who follow.

use std::net::IpAddr;

use serde::Serialize;

use super::summary;
use crate::event::{Cause, Event, Peer, Program, Source};

/// The line. Bytes of paths that are not UTF-8 are replaced, and given as numbers beside it.
#[derive(Serialize)]
pub(in crate::command) struct Line<'a> {
    time_ns: u64,
    verdict: &'static str,
    operation: &'static str,
    cause: Cause,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<&'a [u8]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<PeerLine<'a>>,
    needed: Vec<&'static str>,
    granted: Vec<&'static str>,
    user: u32,
    programs: &'a [Program],
    source: Source,
}

/// A peer, and the names that led there.
#[derive(Serialize)]
struct PeerLine<'a> {
    address: IpAddr,
    port: u16,
    protocol: u8,
    names: &'a [String],
}

impl<'a> Line<'a> {
    /// `names` are those that led to the event's peer.
    pub(in crate::command) fn of(event: &'a Event, names: &'a [String]) -> Self {
        let path = String::from_utf8_lossy(&event.path).into_owned();
        let other = event.other.as_ref();
        Self {
            time_ns: event.time,
            verdict: if event.denied { "deny" } else { "audit" },
            operation: event.operation_name(),
            cause: event.cause,
            path_bytes: path.contains('\u{fffd}').then_some(event.path.as_slice()),
            path,
            other: other.map(|other| String::from_utf8_lossy(other).into_owned()),
            peer: event.peer.map(|peer| PeerLine::of(&peer, names)),
            needed: summary::right_names(event.needed),
            granted: summary::right_names(event.granted),
            user: event.user,
            programs: &event.chain,
            source: event.source,
        }
    }
}

impl<'a> PeerLine<'a> {
    fn of(peer: &Peer, names: &'a [String]) -> Self {
        Self {
            address: peer.address,
            port: peer.port,
            protocol: peer.protocol,
            names,
        }
    }
}
