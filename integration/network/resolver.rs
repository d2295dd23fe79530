//! Name queries go to the fence's resolver, wherever they were going, and look as if they had gone there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use libtest_mimic::Failed;
use ringfence::policy::Mode;
use ringfence_abi::network::{ALLOW, Resolver, TCP, UDP};

use super::outside::Server;
use super::policy::{connect, policy};
use super::{Judge, Scene, lines};
use crate::kit::Verdict;

pub(super) fn register(both: &mut impl FnMut(&str, fn(Judge) -> Verdict)) {
    both("name_queries_go_to_the_resolver_and_nowhere_else", queries);
    both(
        "without_a_resolver_port_53_is_a_port_like_any_other",
        no_resolver,
    );
}

/// Says who it is to everybody who comes over TCP.
fn name_server(times: usize) -> Result<u16, Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(times) {
            let Ok(mut stream) = stream else { continue };
            let mut byte = [0];
            if stream.read(&mut byte).is_ok() {
                stream.write_all(b"resolver").ok();
            }
        }
    });
    Ok(port)
}

/// Addresses that nobody outside has to have: a packet that got there would be lost, and so would its answer.
const QUERIES: [&str; 6] = [
    "query 127.0.0.53 53",
    "query 192.0.2.1 53",
    "query 192.0.2.1 53 connected",
    "query ::ffff:192.0.2.1 53",
    "query ::1 53",
    "query 2001:db8::1 53 connected",
];

fn queries(judge: Judge) -> Verdict {
    let servers = [
        Server::udp("127.0.0.1", Some(b"resolver"))?,
        Server::udp("::1", Some(b"resolver"))?,
    ];
    let rules = [connect("127.0.0.9", Some((TCP, 9)), ALLOW)];
    let mut scene = Scene::new(judge, &policy(Mode::Enforce, &rules))?;
    let same_port = loop {
        // One port for all of them; who has it already is asked to try again.
        let udp = Server::udp("127.0.0.1", Some(b"resolver"))?;
        if let Ok(tcp) = TcpListener::bind((Ipv4Addr::LOCALHOST, udp.port())) {
            drop(tcp);
            break udp;
        }
    };
    drop(servers);
    let resolver = Resolver {
        address4: [127, 0, 0, 1],
        address6: [0; 16],
        port: same_port.port(),
        reserved: [0; 2],
    };
    scene.fence.resolve_by(resolver)?;
    let said = lines(scene.inside(&QUERIES.map(str::to_owned)))?;
    // A datagram of IPv6 cannot be turned to an address of IPv4, and there is no resolver of IPv6.
    let expected = ["ok", "ok", "ok", "ok", "denied", "ok"];
    let mut wrong: Vec<_> = QUERIES
        .iter()
        .zip(&said)
        .zip(expected)
        .filter(|((_, said), expected)| said != expected)
        .map(|((act, said), expected)| format!("`{act}`: {said}, not {expected}"))
        .collect();
    // The resolver itself is nobody's to reach but by its queries; other ports of a name server are no queries.
    scene
        .tries(&[(format!("udp 127.0.0.1 {}", same_port.port()), "denied")])
        .err()
        .inspect(|error| {
            let text = format!("{error:?}");
            // Without a fence it answers with something else than what it got.
            if !text.contains("denied, not denied") {
                wrong.push(text);
            }
        });
    let tcp = name_server(1)?;
    scene.fence.resolve_by(Resolver {
        port: tcp,
        ..resolver
    })?;
    let said = lines(scene.inside(&["query 192.0.2.1 53 tcp".to_owned()]))?;
    if said != ["ok"] {
        wrong.push(format!("over TCP: {said:?}"));
    }
    scene.end()?;
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}

fn no_resolver(judge: Judge) -> Verdict {
    let rules = [connect("127.0.0.9", Some((UDP, 9)), ALLOW)];
    let scene = Scene::new(judge, &policy(Mode::Enforce, &rules))?;
    let acts = [
        "query 192.0.2.1 53",
        "query 192.0.2.1 53 connected",
        "query 192.0.2.1 53 tcp",
    ];
    let said = lines(scene.inside(&acts.map(str::to_owned)))?;
    scene.end()?;
    match said.iter().all(|end| end == "denied") && said.len() == acts.len() {
        true => Ok(()),
        false => Err(format!("{said:?}").into()),
    }
}
