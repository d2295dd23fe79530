//! What a trace reached, bound and looked up, held against a policy.

use ringfence_abi::network::{
    ALLOW, DENY, ICMP, ICMP6, NETLINK, TCP, UDP, is_judged, socket_of_detail,
};
use ringfence_abi::surface;

use super::about;
use crate::{
    compile::Explainer,
    policy::{NetworkPolicy, NetworkQuestion, Policy, reached},
    profile::pattern::escape,
    report::Finding,
    trace::{Peer, Record, Trace},
};

/// What `record` did and the policy does not allow.
pub(super) fn new(record: &Record, policy: &Policy, explainer: &Explainer) -> Option<Finding> {
    let network = &policy.network;
    if network.is_off() {
        return None;
    }
    if record.what == "socket" {
        return socket(record, policy);
    }
    if record.what == "connect-unix" {
        return abstract_name(record, network, explainer);
    }
    let peer = record.peer.as_ref()?;
    let listens = match record.what.as_str() {
        "connect" | "send" => false,
        "bind" | "listen" => true,
        _ => return None,
    };
    let is_allowed = if listens {
        let asked_for = record.what == "bind";
        may_listen(network, peer, asked_for)
    } else {
        may_reach(network, peer)
    };
    if is_allowed {
        return None;
    }
    let question = if listens {
        listening(peer, peer.port)
    } else {
        connecting(peer)
    };
    let by_name = (!listens).then(|| peer.names.first()).flatten();
    let question = by_name.map_or(question, |name| naming(name, peer));
    let what = if listens { "listen at" } else { "reach" };
    let found = about("network", record, &shown(peer));
    Some(refused(explainer, &question, what, found))
}

/// A Unix socket with an abstract name. One with a path is looked at as a file.
fn abstract_name(
    record: &Record,
    network: &NetworkPolicy,
    explainer: &Explainer,
) -> Option<Finding> {
    let path = record.path.as_ref()?.bytes();
    let question = NetworkQuestion::Abstract(path.strip_prefix(b"@")?);
    if network.answer(&question) == ALLOW {
        return None;
    }
    Some(refused(
        explainer,
        &question,
        "reach",
        about("network", record, &escape(path)),
    ))
}

/// What was found, with the rule that decides and the line that would allow it.
fn refused(
    explainer: &Explainer,
    question: &NetworkQuestion<'_>,
    what: &str,
    found: Finding,
) -> Finding {
    let explained = explainer.explain_network(0, question);
    Finding {
        reason: match &explained.rule {
            Some(rule) => format!("deny rule `{}` ({})", rule.text, rule.origin),
            None => format!("no rule allows to {what} it"),
        },
        allow: explained.suggestion.map(|suggestion| suggestion.profile),
        ..found
    }
}

/// A socket that is none of those that rules are about, or one at all where there are no rules.
fn socket(record: &Record, policy: &Policy) -> Option<Finding> {
    let (family, kind, protocol) = socket_of_detail(record.detail);
    let is_open = family == NETLINK && policy.kernel.contains(surface::NETLINK);
    if is_open || (is_judged(family, kind, protocol) && policy.network.reaches) {
        return None;
    }
    let (reason, allow) = match is_judged(family, kind, protocol) {
        true => ("the profile has no network", "a rule in [network]"),
        false if family == NETLINK => (
            "netlink is closed but for routes",
            "\"netlink\" in [kernel] allow",
        ),
        false => (
            "no rule can be about such a socket",
            "mode = \"off\" in [network]",
        ),
    };
    Some(Finding {
        reason: reason.to_owned(),
        allow: Some(allow.to_owned()),
        ..about(
            "network",
            record,
            &format!("family {family}, kind {kind}, protocol {protocol}"),
        )
    })
}

/// Names that were looked up and that no rule lets be.
pub(super) fn looked_up(trace: &Trace, policy: &Policy) -> Vec<Finding> {
    if policy.network.is_off() {
        return Vec::new();
    }
    let unknown = trace
        .end
        .names
        .iter()
        .filter(|name| policy.network.name_state(name) == ringfence_abi::automaton::DEAD);
    let finding = |name: &String| Finding {
        kind: "network".to_owned(),
        what: "resolve".to_owned(),
        subject: name.clone(),
        count: 1,
        reason: "no rule allows the name".to_owned(),
        allow: Some(format!("connect = [\"{name}:443\"] in [network]")),
        ..Finding::default()
    };
    unknown.map(finding).collect()
}

fn may_reach(network: &NetworkPolicy, peer: &Peer) -> bool {
    match network.answer(&connecting(peer)) {
        ALLOW => true,
        DENY => false,
        _ => {
            !peer.inside
                && peer
                    .names
                    .iter()
                    .any(|name| network.answer(&naming(name, peer)) == ALLOW)
        }
    }
}

/// A rule about port 0 is about ports that the kernel has chosen.
fn may_listen(network: &NetworkPolicy, peer: &Peer, asked_for: bool) -> bool {
    let own = network.answer(&listening(peer, peer.port));
    own == ALLOW || (own != DENY && !asked_for && network.answer(&listening(peer, 0)) == ALLOW)
}

fn connecting(peer: &Peer) -> NetworkQuestion<'static> {
    NetworkQuestion::Connect {
        address: reached(peer.address),
        protocol: peer.protocol,
        port: peer.port,
    }
}

fn listening(peer: &Peer, port: u16) -> NetworkQuestion<'static> {
    NetworkQuestion::Listen {
        address: peer.address,
        protocol: peer.protocol,
        port,
    }
}

fn naming<'a>(name: &'a str, peer: &Peer) -> NetworkQuestion<'a> {
    NetworkQuestion::Name {
        name,
        protocol: peer.protocol,
        port: peer.port,
    }
}

/// `example.com (tcp 192.0.2.1:443)`
fn shown(peer: &Peer) -> String {
    let protocol = match peer.protocol {
        TCP => "tcp",
        UDP => "udp",
        ICMP | ICMP6 => "icmp",
        _ => "another protocol",
    };
    let place = std::net::SocketAddr::new(peer.address, peer.port);
    match peer.names.first() {
        Some(name) => format!("{name} ({protocol} {place})"),
        None => format!("{protocol} {place}"),
    }
}
