//! From what was reached and bound to rules about the network: names where names led there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ringfence_abi::network::{ICMP, ICMP6, NETLINK, TCP, UDP, is_judged, socket_of_detail};

use super::{Level, evidence::Evidence, needs::evidence, ports::Ports};
use crate::{policy::reached, profile::NetworkRight, trace::Trace};

/// Port 0 of this machine by UDP: nothing is delivered there, so that sockets are made and nobody is reached.
const NOBODY: &str = "udp://127.0.0.1:0";

/// What a run needs of the network.
#[derive(Default)]
pub(super) struct Needed {
    /// Rules.
    pub(super) rules: BTreeMap<(NetworkRight, String), Evidence>,
    /// Those about an address that no name is known for.
    pub(super) nameless: BTreeSet<(NetworkRight, String)>,
    /// Why the network has to be open: sockets that no rule can be about.
    pub(super) open: Option<Evidence>,
    /// Why netlink has to be open: sockets of it beside those for routes.
    pub(super) netlink: Option<Evidence>,
}

/// Host and port as a profile writes them, each with the protocols that were used.
type Used = BTreeMap<(NetworkRight, String, String), (BTreeSet<u8>, Evidence)>;

/// What `trace` needs.
pub(super) fn needed(trace: &Trace, level: Level) -> Needed {
    let run = &trace.facts.run;
    let ports = Ports::new(trace, level);
    let mut needed = Needed::default();
    let mut used = Used::new();
    let mut sockets = Evidence::default();
    let mut nameless = BTreeSet::new();
    for record in &trace.records {
        let evidence = evidence(record, run);
        if record.what == "socket" {
            let (family, kind, protocol) = socket_of_detail(record.detail);
            let why = match is_judged(family, kind, protocol) {
                true => &mut sockets,
                false if family == NETLINK => needed.netlink.get_or_insert_default(),
                false => needed.open.get_or_insert_default(),
            };
            why.add(&evidence);
        }
        let Some(peer) = &record.peer else {
            continue;
        };
        if ![TCP, UDP, ICMP, ICMP6].contains(&peer.protocol) {
            needed
                .open
                .get_or_insert_with(Evidence::default)
                .add(&evidence);
            continue;
        }
        let mut add = |right, host: String, ports: String| {
            let (protocols, all) = used.entry((right, host, ports)).or_default();
            protocols.insert(peer.protocol);
            all.add(&evidence);
        };
        match record.what.as_str() {
            "bind" => add(
                NetworkRight::Listen,
                host(peer.address),
                ports.of_bound(peer),
            ),
            "listen" => add(
                NetworkRight::Listen,
                host(peer.address),
                ports.of_listening(peer),
            ),
            "connect" | "send" if !ports.is_answer(record, peer) => {
                let ports = ports.of_reached(peer);
                for name in &peer.names {
                    add(NetworkRight::Connect, name.clone(), ports.clone());
                }
                if peer.names.is_empty() || peer.inside {
                    let host = host(reached(peer.address));
                    let is_here = peer.address.is_loopback() || peer.address.is_unspecified();
                    if peer.names.is_empty() && !is_here {
                        nameless.insert(host.clone());
                    }
                    add(NetworkRight::Connect, host, ports);
                }
            }
            _ => {}
        }
    }
    let once = Evidence {
        runs: BTreeMap::from([(run.clone(), 1)]),
        ..Evidence::default()
    };
    let names: BTreeSet<_> = used.keys().map(|(_, host, _)| host.clone()).collect();
    // A name that was only looked up: the port that nothing is delivered at.
    for name in trace.end.names.iter().filter(|name| !names.contains(*name)) {
        let key = (NetworkRight::Connect, name.clone(), "0".to_owned());
        used.insert(key, (BTreeSet::from([UDP]), once.clone()));
    }
    for ((right, host, ports), (protocols, evidence)) in used {
        for rule in written(&host, &ports, &protocols, level) {
            if right == NetworkRight::Connect && nameless.contains(&host) {
                needed.nameless.insert((right, rule.clone()));
            }
            needed
                .rules
                .entry((right, rule))
                .or_default()
                .add(&evidence);
        }
    }
    if needed.rules.is_empty() && !sockets.runs.is_empty() {
        needed
            .rules
            .insert((NetworkRight::Connect, NOBODY.to_owned()), sockets);
    }
    needed
}

/// A rule for each of the protocols, or one without: by TCP and UDP. Beyond `--tight` that is what TCP alone becomes, as a
/// person would write it: looking a name up probes its addresses by UDP, if it has several.
fn written(host: &str, ports: &str, protocols: &BTreeSet<u8>, level: Level) -> Vec<String> {
    let has = |protocol| protocols.contains(&protocol);
    let mut rules = Vec::new();
    match (has(TCP), has(UDP)) {
        (true, true) => rules.push(format!("{host}:{ports}")),
        (true, false) if level != Level::Tight => rules.push(format!("{host}:{ports}")),
        (true, false) => rules.push(format!("tcp://{host}:{ports}")),
        (false, true) => rules.push(format!("udp://{host}:{ports}")),
        (false, false) => {}
    }
    if has(ICMP) || has(ICMP6) {
        rules.push(format!("icmp://{host}"));
    }
    rules
}

/// An address as a rule about listening writes it: any address is none.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => "0.0.0.0".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Peer, Record};
    use ringfence_abi::network::socket_detail;

    fn peer(address: &str, port: u16, protocol: u8, names: &[&str]) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            port,
            protocol,
            names: names.iter().map(|&name| name.to_owned()).collect(),
            inside: false,
        }
    }

    fn did(what: &str, peer: Peer) -> Record {
        Record {
            what: what.to_owned(),
            peer: Some(peer),
            count: 1,
            ..Record::default()
        }
    }

    fn socket(family: u32, kind: u32, protocol: u32) -> Record {
        Record {
            what: "socket".to_owned(),
            detail: socket_detail(family, kind, protocol),
            count: 1,
            ..Record::default()
        }
    }

    fn rules(records: Vec<Record>, level: Level) -> Vec<String> {
        let trace = Trace {
            records,
            ..Trace::default()
        };
        let needed = needed(&trace, level);
        assert!(needed.open.is_none());
        let rules = needed.rules.into_keys();
        rules
            .map(|(right, text)| format!("{right} {text}"))
            .collect()
    }

    #[test]
    fn a_peer_is_its_name_where_a_name_led_there_and_its_address_elsewhere() {
        let seen = || {
            vec![
                did(
                    "connect",
                    peer("192.0.2.1", 443, TCP, &["a.test", "b.test"]),
                ),
                did("connect", peer("192.0.2.2", 5432, TCP, &[])),
                did("send", peer("2001:db8::1", 53, UDP, &[])),
            ]
        };
        assert_eq!(
            rules(seen(), Level::Default),
            [
                "connect 192.0.2.2:5432",
                "connect a.test:443",
                "connect b.test:443",
                "connect udp://[2001:db8::1]:53",
            ]
        );
        assert!(rules(seen(), Level::Tight).contains(&"connect tcp://a.test:443".to_owned()));
    }

    #[test]
    fn a_datagram_to_a_port_of_the_runs_own_that_the_kernel_chose_is_one_to_any_such_port() {
        let needed_by = |calls: &[&str], address: &str, port| {
            let records = vec![did("send", peer(address, port, UDP, &[]))];
            let mut trace = Trace {
                records,
                ..Trace::default()
            };
            trace.end.system_calls = calls.iter().map(|&call| call.to_owned()).collect();
            let rules = needed(&trace, Level::Default).rules.into_keys();
            rules.map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(
            needed_by(&["bind"], "127.0.0.1", 40_000),
            ["udp://127.0.0.1:32768-60999"]
        );
        assert_eq!(
            needed_by(&["bind"], "::1", 40_000),
            ["udp://[::1]:32768-60999"]
        );
        assert_eq!(needed_by(&[], "::1", 40_000), ["udp://[::1]:40000"]);
        assert_eq!(
            needed_by(&["bind"], "127.0.0.1", 53),
            ["udp://127.0.0.1:53"]
        );
        assert_eq!(
            needed_by(&["bind"], "192.0.2.1", 40_000),
            ["udp://192.0.2.1:40000"]
        );
    }

    #[test]
    fn an_address_without_a_name_is_said_to_be_one() {
        let trace = Trace {
            records: vec![
                did("connect", peer("192.0.2.2", 5432, TCP, &[])),
                did("connect", peer("192.0.2.1", 443, TCP, &["a.test"])),
                did("connect", peer("127.0.0.1", 80, TCP, &[])),
                did("bind", peer("192.0.2.3", 80, TCP, &[])),
            ],
            ..Trace::default()
        };
        let nameless = needed(&trace, Level::Default).nameless;
        let only = (NetworkRight::Connect, "192.0.2.2:5432".to_owned());
        assert_eq!(nameless, BTreeSet::from([only]));
    }

    #[test]
    fn a_name_that_leads_inside_needs_a_rule_about_the_address_too() {
        let inside = Peer {
            inside: true,
            ..peer("10.0.0.7", 80, TCP, &["db.test"])
        };
        let rules = rules(vec![did("connect", inside)], Level::Default);
        assert_eq!(rules, ["connect 10.0.0.7:80", "connect db.test:80"]);
    }

    #[test]
    fn a_port_that_the_kernel_chose_is_another_the_next_time() {
        let seen = vec![
            did("bind", peer("0.0.0.0", 8080, TCP, &[])),
            did("listen", peer("0.0.0.0", 8080, TCP, &[])),
            did("listen", peer("127.0.0.1", 40_001, TCP, &[])),
            did("connect", peer("127.0.0.1", 40_001, TCP, &[])),
        ];
        assert_eq!(
            rules(seen, Level::Default),
            [
                "connect 127.0.0.1:32768-60999",
                "listen 0.0.0.0:8080",
                "listen 127.0.0.1:0",
            ]
        );
    }

    #[test]
    fn a_port_that_the_kernel_chose_and_that_was_handed_on_is_another_the_next_time() {
        let rules = |address: &str, port, calls: &[&str], level| {
            let mut trace = Trace {
                records: vec![
                    did("bind", peer(address, port, TCP, &[])),
                    did("listen", peer(address, port, TCP, &[])),
                    did("connect", peer("127.0.0.1", port, TCP, &["localhost"])),
                    did("connect", peer("192.0.2.1", port, TCP, &[])),
                ],
                ..Trace::default()
            };
            trace.end.system_calls = calls.iter().map(|&call| call.to_owned()).collect();
            let rules = needed(&trace, level).rules.into_keys();
            rules
                .map(|(right, text)| format!("{right} {text}"))
                .collect::<Vec<_>>()
        };
        let asks = ["bind", "getsockname"];
        for address in ["127.0.0.1", "0.0.0.0"] {
            assert_eq!(
                rules(address, 40_001, &asks, Level::Default),
                [
                    "connect 192.0.2.1:40001".to_owned(),
                    "connect localhost:32768-60999".to_owned(),
                    format!("listen {address}:32768-60999"),
                ]
            );
        }
        let fixed = |port| {
            [
                format!("connect 192.0.2.1:{port}"),
                format!("connect localhost:{port}"),
                format!("listen 127.0.0.1:{port}"),
            ]
        };
        // Nobody asked which it is, it lies elsewhere, and nobody of the run reaches it.
        let unasked = rules("127.0.0.1", 40_001, &["bind"], Level::Default);
        assert_eq!(unasked, fixed(40_001));
        assert_eq!(rules("127.0.0.1", 8080, &asks, Level::Default), fixed(8080));
        let tight = rules("127.0.0.1", 40_001, &asks, Level::Tight);
        assert!(tight.contains(&"listen tcp://127.0.0.1:40001".to_owned()));
        let mut unreached = Trace {
            records: vec![did("bind", peer("127.0.0.1", 40_001, TCP, &[]))],
            ..Trace::default()
        };
        unreached.end.system_calls = vec!["getsockname".to_owned()];
        let rules = needed(&unreached, Level::Default).rules;
        let only = (NetworkRight::Listen, "127.0.0.1:40001".to_owned());
        assert_eq!(rules.into_keys().collect::<Vec<_>>(), [only]);
    }

    #[test]
    fn ports_that_a_program_draws_itself_are_others_the_next_time() {
        let bind = |port, protocol| did("bind", peer("0.0.0.0", port, protocol, &[]));
        let seen = |protocol| [53, 2824, 14331, 31050, 64153].map(|port| bind(port, protocol));
        assert_eq!(
            rules(seen(UDP).into(), Level::Default),
            ["listen udp://0.0.0.0:1024-65535", "listen udp://0.0.0.0:53"]
        );
        assert_eq!(rules(seen(UDP).into(), Level::Tight).len(), 5);
        assert_eq!(rules(seen(TCP).into(), Level::Default).len(), 5);
        assert_eq!(rules(seen(UDP)[..4].to_vec(), Level::Default).len(), 4);
    }

    #[test]
    fn sockets_that_reach_nobody_open_nothing_and_those_without_rules_open_all() {
        // AF_INET and AF_NETLINK; SOCK_DGRAM and SOCK_RAW.
        let quiet = rules(vec![socket(2, 2, 0), socket(16, 3, 0)], Level::Default);
        assert_eq!(quiet, ["connect udp://127.0.0.1:0"]);
        let trace = Trace {
            records: vec![socket(16, 3, 15)],
            ..Trace::default()
        };
        let events = needed(&trace, Level::Default);
        assert!(events.open.is_none() && events.netlink.is_some());
        // AF_PACKET, and a raw socket of the internet.
        for record in [socket(17, 3, 0), socket(2, 3, 1)] {
            let trace = Trace {
                records: vec![record],
                ..Trace::default()
            };
            assert!(needed(&trace, Level::Default).open.is_some());
        }
    }
}
