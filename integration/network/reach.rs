//! Whom a fence reaches.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use ringfence::policy::{FilePolicy, Mode, ProgramPolicy};
use ringfence_abi::event::operation;
use ringfence_abi::network::{ALLOW, DENY, ICMP, TCP, UDP};

use super::outside::Server;
use super::policy::{Rule, connect, name, policy};
use super::{BY_HOOKS, Judge, Scene, lines};
use crate::kit::{Folder, PYTHON, Suite, Verdict, prefixes};

pub(super) fn register(both: &mut impl FnMut(&str, fn(Judge) -> Verdict)) {
    both("reaches_what_a_rule_allows_and_nothing_else", reaches);
    both("a_denial_names_the_peer", names_the_peer);
    both("audit_lets_through_and_reports", audits);
    both(
        "an_address_that_a_name_led_to_is_reached_until_it_expires",
        grants,
    );
    both("other_kinds_of_sockets_are_not_made", other_kinds);
}

/// What only hooks can see.
pub(super) fn register_by_hooks(suite: &mut Suite) {
    suite.test(
        "network::hooks::a_socket_that_was_made_outside_is_judged_when_it_is_used",
        BY_HOOKS,
        inherits,
    );
    suite.test(
        "network::hooks::a_program_reaches_what_its_own_rules_allow",
        BY_HOOKS,
        of_a_program,
    );
}

/// At large one peer may be reached, and by one program another.
fn of_a_program() -> Verdict {
    let world = World::new()?;
    let folder = Folder::new()?;
    let tool = folder.script("tool", "#!/bin/sh\nexec \"$@\"\n")?;
    let [large, own] = [0, 1].map(|which: usize| world.tcp[which].port());
    let rule = |port| connect("127.0.0.1", Some((TCP, port)), ALLOW);
    let mut policy = policy(Mode::Enforce, &[rule(large)]);
    // The accept byte of a path that enters the first program.
    let marks = FilePolicy {
        mode: Mode::Off,
        automaton: prefixes(&[(tool.as_os_str().as_encoded_bytes(), 1 << 3)]),
        ..FilePolicy::default()
    };
    policy.files = marks.clone();
    policy.programs = vec![ProgramPolicy {
        path: tool.display().to_string(),
        files: marks,
        network: super::policy::policy(Mode::Enforce, &[rule(own)]).network,
        kernel: policy.kernel,
    }];
    let scene = Scene::new(Judge::Hooks, &policy)?;
    let acts = [large, own].map(|port| format!("tcp 127.0.0.1 {port}"));
    let at_large = lines(scene.inside(&acts))?;
    let mut command = scene.fence.entered(tool.to_str().ok_or("a path of text")?);
    command.args([PYTHON, "-IS"]).arg(&scene.prober).args(&acts);
    let in_program = lines(command)?;
    let programs: Vec<_> = scene.end()?.iter().map(|event| event.program).collect();
    let right =
        at_large == ["ok", "denied"] && in_program == ["denied", "ok"] && programs == [0, 1];
    match right {
        true => Ok(()),
        false => Err(format!("{at_large:?}, {in_program:?}, {programs:?}").into()),
    }
}

/// What is there, and rules that allow the first of each two.
struct World {
    tcp: [Server; 2],
    tcp6: [Server; 2],
    udp: [Server; 2],
    udp6: [Server; 2],
    elsewhere: Server,
}

impl World {
    fn new() -> Result<Self, libtest_mimic::Failed> {
        let tcp = |address| -> Result<_, libtest_mimic::Failed> {
            Ok([Server::tcp(address)?, Server::tcp(address)?])
        };
        let udp = |address| -> Result<_, libtest_mimic::Failed> {
            Ok([Server::udp(address, None)?, Server::udp(address, None)?])
        };
        Ok(Self {
            tcp: tcp("127.0.0.1")?,
            tcp6: tcp("::1")?,
            udp: udp("127.0.0.1")?,
            udp6: udp("::1")?,
            elsewhere: Server::tcp("127.0.0.3")?,
        })
    }

    fn rules(&self) -> Vec<Rule> {
        vec![
            connect("127.0.0.1", Some((TCP, self.tcp[0].port())), ALLOW),
            connect("::1", Some((TCP, self.tcp6[0].port())), ALLOW),
            connect("127.0.0.1", Some((UDP, self.udp[0].port())), ALLOW),
            connect("::1", Some((UDP, self.udp6[0].port())), ALLOW),
            connect("127.0.0.3", None, DENY),
            connect("127.0.0.4", Some((ICMP, 0)), ALLOW),
        ]
    }
}

fn reaches(judge: Judge) -> Verdict {
    let world = World::new()?;
    let [open, shut] = [0, 1].map(|which| {
        (
            world.tcp[which].port(),
            world.tcp6[which].port(),
            world.udp[which].port(),
            world.udp6[which].port(),
        )
    });
    let scene = Scene::new(judge, &policy(Mode::Enforce, &world.rules()))?;
    let mut acts = Vec::new();
    for (ports, end) in [(open, "ok"), (shut, "denied")] {
        let (tcp, tcp6, udp, udp6) = ports;
        for act in [
            format!("tcp 127.0.0.1 {tcp}"),
            format!("tcp ::1 {tcp6}"),
            format!("mapped 127.0.0.1 {tcp}"),
            format!("fast-open 127.0.0.1 {tcp}"),
            format!("fast-open ::1 {tcp6}"),
            format!("fast-open-connect 127.0.0.1 {tcp}"),
            format!("multipath 127.0.0.1 {tcp}"),
            format!("asynchronous 127.0.0.1 {tcp}"),
            format!("repaired 127.0.0.1 {tcp}"),
            format!("by-device 127.0.0.1 {tcp}"),
            format!("from-own-port 127.0.0.1 {tcp}"),
            format!("tcp 0.0.0.0 {tcp}"),
            format!("tcp :: {tcp6}"),
            format!("udp 127.0.0.1 {udp}"),
            format!("udp ::1 {udp6}"),
            format!("udp-mapped 127.0.0.1 {udp}"),
            format!("udp-connected 127.0.0.1 {udp}"),
            format!("udp-connected ::1 {udp6}"),
            format!("udp-unspecified 127.0.0.1 {udp}"),
            format!("udp-other 127.0.0.1 {} {udp}", open.2),
            format!("udp-again 127.0.0.1 {} {udp}", open.2),
            format!("udp-many 127.0.0.1 {} {udp}", open.2),
            format!("ring-connect 127.0.0.1 {tcp}"),
            format!("ring-send 127.0.0.1 {udp}"),
        ] {
            acts.push((act, end));
        }
    }
    // The port of one protocol is not that of another, a rule about one address none about another.
    acts.push((
        format!("tcp 127.0.0.3 {}", world.elsewhere.port()),
        "denied",
    ));
    acts.push(("transparent 192.0.2.7 9".to_owned(), "denied"));
    let came = |servers: &[Server; 2]| servers[1].came();
    scene.tries(&acts)?;
    // Each act has run twice, and only the ones without a fence have arrived.
    let again: Vec<_> = acts
        .into_iter()
        .filter(|(_, end)| *end == "denied")
        .map(|(act, _)| act)
        .collect();
    let before = [
        came(&world.tcp),
        came(&world.tcp6),
        came(&world.udp),
        came(&world.udp6),
    ];
    lines(scene.inside(&again))?;
    std::thread::sleep(Duration::from_millis(100));
    let after = [
        came(&world.tcp),
        came(&world.tcp6),
        came(&world.udp),
        came(&world.udp6),
    ];
    scene.end()?;
    match before == after {
        true => Ok(()),
        false => Err(format!("somebody has come: {before:?}, then {after:?}").into()),
    }
}

fn names_the_peer(judge: Judge) -> Verdict {
    let world = World::new()?;
    let scene = Scene::new(judge, &policy(Mode::Enforce, &world.rules()))?;
    let (tcp, udp) = (world.tcp[1].port(), world.udp6[1].port());
    scene.tries(&[
        (format!("tcp 127.0.0.1 {tcp}"), "denied"),
        (format!("udp ::1 {udp}"), "denied"),
    ])?;
    let events = scene.end()?;
    let seen = |number, address: &str, port, protocol| {
        let address: IpAddr = address.parse().expect("an address");
        events.iter().any(|event| {
            event.operation == number
                && event.denied
                && !event.chain.is_empty()
                && event.peer.is_some_and(|peer| {
                    (peer.address, peer.port, peer.protocol) == (address, port, protocol)
                })
        })
    };
    let right =
        seen(operation::CONNECT, "127.0.0.1", tcp, TCP) && seen(operation::SEND, "::1", udp, UDP);
    match right {
        true => Ok(()),
        false => Err(format!("{events:#?}").into()),
    }
}

fn audits(judge: Judge) -> Verdict {
    let world = World::new()?;
    let scene = Scene::new(judge, &policy(Mode::Audit, &world.rules()))?;
    let port = world.tcp[1].port();
    scene.tries(&[
        (format!("tcp 127.0.0.1 {port}"), "ok"),
        (format!("udp 127.0.0.1 {}", world.udp[1].port()), "ok"),
        ("listens-unbound".to_owned(), "ok"),
        ("kind 2 3 255".to_owned(), "ok"),
    ])?;
    let events = scene.end()?;
    let right = events.iter().any(|event| {
        !event.denied && event.peer.is_some_and(|peer| peer.port == port) && event.path.is_empty()
    });
    match right {
        true => Ok(()),
        false => Err(format!("{events:#?}").into()),
    }
}

/// A socket that was made outside is judged like any other when it is used. The programs on a cgroup do not see it:
/// where there are no hooks, the launcher has closed it.
fn inherits() -> Verdict {
    let world = World::new()?;
    let scene = Scene::new(Judge::Hooks, &policy(Mode::Enforce, &world.rules()))?;
    let mut wrong = Vec::new();
    for (which, expected) in [(0, "ok"), (1, "denied")] {
        // Not closed at exec.
        let made = nix::sys::socket::socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::empty(),
            None,
        )?;
        let number = made.as_raw_fd();
        let port = world.tcp[which].port();
        let command = scene.inside(&[format!("inherited {number} 127.0.0.1 {port}")]);
        let said = lines(command)?;
        if said != [expected] {
            wrong.push(format!("{said:?}, not {expected}"));
        }
    }
    scene.end()?;
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}

fn grants(judge: Judge) -> Verdict {
    let server = Server::tcp("127.0.0.1")?;
    let other = Server::tcp("127.0.0.1")?;
    let rules = [name("allowed.test", TCP, server.port(), ALLOW)];
    let policy = policy(Mode::Enforce, &rules);
    let mut question = vec![ringfence_abi::network::NAME];
    question.extend(b"allowed.test\0");
    let state = policy.network.automaton.state(&question);
    let scene = Scene::new(judge, &policy)?;
    let mut grants = scene.fence.grants()?;
    let acts = |end, beside| {
        [
            (format!("tcp 127.0.0.1 {}", server.port()), end),
            (format!("mapped 127.0.0.1 {}", server.port()), end),
            (format!("tcp 127.0.0.1 {}", other.port()), beside),
        ]
    };
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    scene.tries(&acts("denied", "denied"))?;
    grants.grant(0, address, &[state], Duration::from_secs(600))?;
    scene.tries(&acts("ok", "denied"))?;
    grants.grant(0, address, &[state], Duration::ZERO)?;
    scene.tries(&acts("denied", "denied"))?;
    grants.grant(0, address, &[0, state], Duration::from_secs(600))?;
    scene.tries(&acts("ok", "denied"))?;
    grants.revoke(0, address)?;
    scene.tries(&acts("denied", "denied"))?;
    if grants
        .grant(0, address, &[1; 9], Duration::from_secs(600))
        .is_ok()
    {
        return Err("nine states were granted".into());
    }
    scene.end()?;
    Ok(())
}

fn other_kinds(judge: Judge) -> Verdict {
    let world = World::new()?;
    let scene = Scene::new(judge, &policy(Mode::Enforce, &world.rules()))?;
    let mut acts: Vec<(String, &str)> = [
        (2, 3, 255),
        (2, 3, 1),
        (10, 3, 58),
        (2, 1, 132),
        (2, 5, 132),
        (2, 2, 136),
        (2, 6, 33),
    ]
    .map(|(family, kind, protocol)| (format!("kind {family} {kind} {protocol}"), "denied"))
    .to_vec();
    acts.push(("kind 2 1 0".to_owned(), "ok"));
    acts.push(("kind 10 2 0".to_owned(), "ok"));
    acts.push(("kind 16 3 0".to_owned(), "ok"));
    if judge == Judge::Hooks {
        // Of these a filter of system calls keeps a fence without hooks: AF_PACKET, AF_KEY, vsock, ALG, XDP, TIPC, Bluetooth,
        // CAN, RDS, SMC, and netlink but for routes.
        for (family, kind, protocol) in [
            (17, 3, 0),
            (17, 2, 0),
            (15, 3, 2),
            (40, 1, 0),
            (38, 5, 0),
            (44, 3, 0),
            (30, 1, 0),
            (31, 3, 0),
            (29, 3, 1),
            (21, 5, 0),
            (43, 1, 0),
            (16, 3, 12),
            (16, 2, 15),
        ] {
            acts.push((format!("kind {family} {kind} {protocol}"), "denied"));
        }
    }
    scene.tries(&acts)?;
    scene.end()?;
    Ok(())
}
