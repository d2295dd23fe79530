//! Denials about the network: which peer, which name led there, and what would allow it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfence_abi::{
    event::operation,
    network::{DENY, ICMP, ICMP6, TCP, UDP, greeting},
};

use super::denial::Denial;
use crate::{
    compile::{Explainer, NetworkExplanation},
    event::{Cause, Event, Peer, Source},
    network::{QueryCause, QueryEvent},
    policy::NetworkQuestion,
    profile::NetworkRight,
};

/// The port that a suggestion names where only a name is known: most that is looked up is reached there.
pub(super) const LIKELY_PORT: u16 = 443;

/// Explains a denial about a peer or a Unix socket; `false` if `event` is about neither.
pub(super) fn explain(
    denial: &mut Denial,
    event: &Event,
    names: &[String],
    explainer: &Explainer,
) -> bool {
    let program = event.program;
    if let Some(peer) = &event.peer
        && event.operation == operation::GREET
    {
        of_greeting(denial, event, peer, names, explainer);
        return true;
    }
    if let Some(peer) = &event.peer {
        denial.path = shown(peer, names);
        if event.cause == Cause::Rule {
            let explained = of_peer(event.operation, peer, names, program, explainer);
            take(denial, explained);
        }
        return true;
    }
    if event.operation == operation::CONNECT_UNIX && event.cause == Cause::Rule {
        let question = match &event.path[..] {
            [b'@', name @ ..] => NetworkQuestion::Abstract(name),
            path => NetworkQuestion::Socket(path),
        };
        let explained = explainer.explain_network(program, &question);
        if explained.allowed && event.source == Source::Syscall {
            denial.allowed_by_profile = true;
            denial.reason = "the profile allows to reach it, and without hooks that can be judged of connect(2) alone: not of a datagram that \
                             names it, nor of io_uring"
                .to_owned();
            return true;
        }
        // A rule about files that denies writing counts as well, where no rule about the network does.
        if explained.rule.is_some() || matches!(question, NetworkQuestion::Abstract(_)) {
            take(denial, explained);
            return true;
        }
        take(denial, explained);
        denial.reason = "no rule allows to reach it, nor to write it".to_owned();
        return true;
    }
    false
}

/// A denial that says what was the matter with a query.
pub(super) fn of_query(query: &QueryEvent, explainer: &Explainer) -> Denial {
    let mut denial = Denial {
        count: 1,
        denied: query.cause != QueryCause::Audited,
        operation: Denial::RESOLVE.to_owned(),
        path: query.name.clone(),
        ..Denial::default()
    };
    let name = NetworkQuestion::Name {
        name: &query.name,
        protocol: TCP,
        port: LIKELY_PORT,
    };
    denial.reason = match &query.cause {
        QueryCause::Denied | QueryCause::Audited => {
            take(&mut denial, explainer.explain_network(0, &name));
            if denial.hint.is_none() {
                denial.hint = Some("write the port that the program wants".to_owned());
            }
            return denial;
        }
        QueryCause::Inside(address) => {
            let inside = NetworkQuestion::Connect {
                address: *address,
                protocol: TCP,
                port: LIKELY_PORT,
            };
            take(&mut denial, explainer.explain_network(0, &inside));
            denial.hint = Some(
                "a name from outside does not lead inside by itself; a rule about the address, or /etc/hosts, says that it may"
                    .to_owned(),
            );
            format!("it leads to {address}, which lies inside this host or its network")
        }
        QueryCause::TooManyPorts(address) => format!(
            "{address} is shared by names with more different sets of ports than can be told apart"
        ),
        QueryCause::TooManyAddresses(address) => {
            format!("{address} is one address more than the fence has room for")
        }
        QueryCause::NotOpened(why) => format!("the way to its address cannot be opened: {why}"),
        QueryCause::TooManyQueries => "more queries in a short time than are answered".to_owned(),
        QueryCause::TooManyNames(wildcard) => format!(
            "more names under `{wildcard}` than are answered in one run: names can carry data out"
        ),
        QueryCause::Unanswered(why) => {
            // That is not the fence's doing: told where the command fails.
            denial.allowed_by_profile = true;
            format!("no name server answered: {why}")
        }
    };
    denial
}

/// What was the matter with the greeting of a connection to `peer`. What a greeting says is anybody's text.
fn of_greeting(
    denial: &mut Denial,
    event: &Event,
    peer: &Peer,
    names: &[String],
    explainer: &Explainer,
) {
    denial.path = shown(peer, names);
    let required =
        "and a connection to a name has to begin with one that does (sni = \"required\")";
    denial.reason = match event.detail {
        greeting::NAMELESS => format!("its TLS greeting says no name, {required}"),
        greeting::NOT_TLS => format!("it does not begin with a TLS greeting, {required}"),
        greeting::NAME => {
            let said = denial.other.take().unwrap_or_default();
            let question = NetworkQuestion::Name {
                name: &said,
                protocol: peer.protocol,
                port: peer.port,
            };
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if said.bytes().all(is_name) {
                take(denial, explainer.explain_network(event.program, &question));
            }
            match denial.reason.starts_with("deny rule") {
                true => format!("its TLS greeting says {said}: {}", denial.reason),
                false => format!("its TLS greeting says {said}, which no rule allows"),
            }
        }
        _ => "its TLS greeting cannot be read".to_owned(),
    };
}

/// Which rule decides about `peer`, or about a name that led to it.
fn of_peer(
    operation: u16,
    peer: &Peer,
    names: &[String],
    program: u8,
    explainer: &Explainer,
) -> NetworkExplanation {
    let Peer { port, protocol, .. } = *peer;
    let address = peer.address;
    if matches!(operation, operation::BIND | operation::LISTEN) {
        let question = NetworkQuestion::Listen {
            address,
            protocol,
            port,
        };
        return explainer.explain_network(program, &question);
    }
    // As the kernel asks: who connects to no address connects to the host itself.
    let reached = match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    let by_address = NetworkQuestion::Connect {
        address: reached,
        protocol,
        port,
    };
    let denied = explainer.network_answer(program, &by_address) == DENY;
    match names.first().filter(|_| !denied) {
        Some(name) => {
            let question = NetworkQuestion::Name {
                name,
                protocol,
                port,
            };
            explainer.explain_network(program, &question)
        }
        None => explainer.explain_network(program, &by_address),
    }
}

/// Adds what was explained to `denial`.
fn take(denial: &mut Denial, explained: NetworkExplanation) {
    denial.reason = match &explained.rule {
        Some(rule) if !explained.allowed => {
            denial.because = rule.because.clone();
            denial.expected |= rule.expected;
            format!("deny rule `{}` ({})", rule.text, rule.origin)
        }
        // What was opened by a name has expired, or the name led elsewhere.
        Some(rule) => format!(
            "rule `{}` ({}) allows its name, and the fence's resolver has not led there lately",
            rule.text, rule.origin
        ),
        None => match explained.right {
            NetworkRight::Listen => "no rule allows to listen there".to_owned(),
            _ => "no rule allows to reach it".to_owned(),
        },
    };
    denial.hint = explained.hint;
    if let Some(suggestion) = explained.suggestion {
        denial.profile_lines.push(suggestion.profile);
        denial.flags.extend(suggestion.flag);
    }
}

/// A peer for people: the names that led there first.
fn shown(peer: &Peer, names: &[String]) -> String {
    let host = match peer.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let address = match peer.protocol {
        TCP => format!("tcp {host}:{}", peer.port),
        UDP => format!("udp {host}:{}", peer.port),
        ICMP | ICMP6 => format!("icmp {host}"),
        other => format!("{host}:{} by protocol {other}", peer.port),
    };
    match names {
        [] => address,
        names => format!("{} ({address})", names.join(", ")),
    }
}
