//! The names in TLS greetings: an address that a name has opened is open for that name.

use std::net::IpAddr;
use std::time::Duration;

use libtest_mimic::Failed;
use ringfence::policy::{FilePolicy, Mode, Policy, ProgramPolicy, Sni};
use ringfence_abi::event::operation;
use ringfence_abi::network::{ALLOW, TCP, greeting};

use super::outside::Server;
use super::policy::{connect, name, policy};
use super::{BY_HOOKS, Judge, Scene, lines};
use crate::kit::{Folder, PYTHON, Suite, Verdict, prefixes};

const ADDRESSES: [&str; 2] = ["127.0.0.1", "::1"];

pub(super) fn register(both: &mut impl FnMut(&str, fn(Judge) -> Verdict)) {
    both("a_greeting_says_a_name_that_a_rule_allows", says_a_name);
    both("where_a_name_is_required_a_greeting_says_one", required);
}

/// Rights change at exec only where there are hooks.
pub(super) fn register_by_hooks(suite: &mut Suite) {
    suite.test(
        "network::hooks::a_greeting_is_asked_of_the_rules_of_the_program_that_connects",
        BY_HOOKS,
        of_programs,
    );
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
        ("other.test behind", "silence"),
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

/// A fence whose command at large may reach one name, in this mode, and a program in it another one, at the same address; both
/// names have led there. The program's rules look at greetings as `sni` says, those at large require them.
fn two_names(port: u16, tool: &str, mode: Mode, sni: Sni) -> Result<Scene, Failed> {
    let rules = |host| policy(Mode::Enforce, &[name(host, TCP, port, ALLOW)]).network;
    let mut policy = policy(Mode::Enforce, &[]);
    policy.network = rules("allowed.test");
    policy.network.sni = Sni::Required;
    let at_large = name_state(&policy);
    policy.network.mode = mode;
    // The accept byte of a path that enters the first program.
    let marks = FilePolicy {
        mode: Mode::Off,
        automaton: prefixes(&[(tool.as_bytes(), 1 << 3)]),
        ..FilePolicy::default()
    };
    policy.files = marks.clone();
    let mut network = rules("own.test");
    network.sni = sni;
    let own = network.name_state("own.test");
    policy.programs = vec![ProgramPolicy {
        path: tool.to_owned(),
        files: marks,
        network,
        kernel: policy.kernel,
    }];
    let scene = Scene::new(Judge::Hooks, &policy)?;
    let mut grants = scene.fence.grants()?;
    for (program, state) in [(0, at_large), (1, own)] {
        let address: IpAddr = ADDRESSES[0].parse()?;
        grants.grant(program, address, &[state], Duration::from_secs(600))?;
    }
    Ok(scene)
}

fn of_programs() -> Verdict {
    const NO: &str = "silence";
    let server = Server::tcp(ADDRESSES[0])?;
    let port = server.port();
    let folder = Folder::new()?;
    let tool = folder.script("tool", "#!/bin/sh\nexec \"$@\"\n")?;
    let tool = tool.to_str().ok_or("a path of text")?;
    let acts = ["allowed.test", "own.test", "other.test", "-"]
        .map(|how| format!("greets {} {port} {how}", ADDRESSES[0]));
    let required_at_large = ["ok", NO, NO, NO];
    for (mode, sni, at_large, in_program) in [
        (
            Mode::Enforce,
            Sni::Required,
            required_at_large,
            [NO, "ok", NO, NO],
        ),
        (Mode::Enforce, Sni::Off, required_at_large, ["ok"; 4]),
        (Mode::Off, Sni::Required, ["ok"; 4], [NO, "ok", NO, NO]),
    ] {
        let scene = two_names(port, tool, mode, sni)?;
        let free = lines(scene.inside(&acts))?;
        let mut command = scene.fence.entered(tool);
        command.args([PYTHON, "-IS"]).arg(&scene.prober).args(&acts);
        let held = lines(command)?;
        let told: Vec<_> = scene.end()?.iter().map(|event| event.program).collect();
        let count = |ends: [&str; 4]| ends.iter().filter(|end| **end == NO).count();
        let expected = [vec![0; count(at_large)], vec![1; count(in_program)]].concat();
        if free != at_large || held != in_program || told != expected {
            return Err(format!("{mode:?} {sni:?}: {free:?}, {held:?}, told in {told:?}").into());
        }
    }
    Ok(())
}
