//! The names in TLS greetings: an address that a name has opened is open for that name.

use std::net::IpAddr;
use std::time::Duration;

use libtest_mimic::Failed;
use ringfence::policy::{Mode, Policy, Sni};
use ringfence_abi::event::operation;
use ringfence_abi::network::{ALLOW, TCP, greeting};

use super::outside::Server;
use super::policy::{connect, name, policy};
use super::{Judge, Scene};
use crate::kit::Verdict;

const ADDRESSES: [&str; 2] = ["127.0.0.1", "::1"];

pub(super) fn register(both: &mut impl FnMut(&str, fn(Judge) -> Verdict)) {
    both("a_greeting_says_a_name_that_a_rule_allows", says_a_name);
    both("where_a_name_is_required_a_greeting_says_one", required);
}

/// Servers that a name has led to, at each of [`ADDRESSES`] one, and one that a rule opens by its address.
struct World {
    named: [Server; 2],
    beside: Server,
}

impl World {
    fn new() -> Result<Self, Failed> {
        Ok(Self {
            named: [Server::tcp(ADDRESSES[0])?, Server::tcp(ADDRESSES[1])?],
            beside: Server::tcp(ADDRESSES[0])?,
        })
    }

    /// A fence with rules about names, one of which has led here.
    fn scene(&self, judge: Judge, sni: Sni) -> Result<Scene, Failed> {
        let mut rules = vec![connect(
            ADDRESSES[0],
            Some((TCP, self.beside.port())),
            ALLOW,
        )];
        for host in ["allowed.test", "second.test"] {
            let ports = self.named.iter().map(Server::port);
            rules.extend(ports.map(|port| name(host, TCP, port, ALLOW)));
        }
        let mut policy = policy(Mode::Enforce, &rules);
        policy.network.sni = sni;
        let state = name_state(&policy);
        let scene = Scene::new(judge, &policy)?;
        let mut grants = scene.fence.grants()?;
        for address in ADDRESSES {
            let address: IpAddr = address.parse()?;
            grants.grant(0, address, &[state], Duration::from_secs(600))?;
        }
        Ok(scene)
    }

    /// To greet like this at each of [`ADDRESSES`].
    fn greets<'a>(&self, how: &str, end: &'a str) -> Vec<(String, &'a str)> {
        let at = ADDRESSES.iter().zip(&self.named);
        at.map(|(address, server)| (format!("greets {address} {} {how}", server.port()), end))
            .collect()
    }
}

fn name_state(policy: &Policy) -> u32 {
    policy.network.name_state("allowed.test")
}

fn says_a_name(judge: Judge) -> Verdict {
    let world = World::new()?;
    let scene = world.scene(judge, Sni::IfPresent)?;
    let mut acts = Vec::new();
    for (how, end) in [
        ("allowed.test", "ok"),
        ("second.test", "ok"),
        ("ALLOWED.Test", "ok"),
        ("allowed.test bytes", "ok"),
        ("allowed.test halves", "ok"),
        ("- plain", "ok"),
        ("-", "ok"),
        ("other.test", "silence"),
        ("other.test halves", "silence"),
    ] {
        acts.extend(world.greets(how, end));
    }
    let port = world.named[0].port();
    for (how, end) in [
        ("allowed.test multipath", "ok"),
        ("allowed.test fast-open", "ok"),
        ("allowed.tes", "silence"),
        ("xallowed.test", "silence"),
        ("other.test bytes", "silence"),
        ("other.test multipath", "silence"),
        ("other.test fast-open", "silence"),
        ("other.test again", "silence"),
        // What is urgent is taken out of the stream at the other end.
        ("other.test urgent", "silence"),
        ("allowed.test records", "silence"),
    ] {
        acts.push((format!("greets {} {port} {how}", ADDRESSES[0]), end));
    }
    let beside = world.beside.port();
    acts.push((format!("greets {} {beside} other.test", ADDRESSES[0]), "ok"));
    scene.tries(&acts)?;
    let events = scene.end()?;
    let said = |detail, other: Option<&[u8]>| {
        events.iter().any(|event| {
            event.operation == operation::GREET
                && event.denied
                && event.detail == detail
                && event.other.as_deref() == other
                && event.peer.is_some_and(|peer| peer.port == port)
                && matches!(&event.chain[..], [one] if one.name.starts_with("python"))
        })
    };
    match said(greeting::NAME, Some(b"other.test")) && said(greeting::UNREADABLE, None) {
        true => Ok(()),
        false => Err(format!("{events:#?}").into()),
    }
}

fn required(judge: Judge) -> Verdict {
    let world = World::new()?;
    let scene = world.scene(judge, Sni::Required)?;
    let mut acts = Vec::new();
    for (how, end) in [
        ("allowed.test", "ok"),
        ("-", "silence"),
        ("- plain", "silence"),
    ] {
        acts.extend(world.greets(how, end));
    }
    let beside = world.beside.port();
    acts.push((format!("greets {} {beside} - plain", ADDRESSES[0]), "ok"));
    scene.tries(&acts)?;
    let events = scene.end()?;
    let details: Vec<_> = events.iter().map(|event| event.detail).collect();
    if details
        != [
            greeting::NAMELESS,
            greeting::NAMELESS,
            greeting::NOT_TLS,
            greeting::NOT_TLS,
        ]
    {
        return Err(format!("{events:#?}").into());
    }
    let scene = world.scene(judge, Sni::Off)?;
    scene.tries(&world.greets("other.test", "ok"))?;
    scene.end()?;
    Ok(())
}
