//! Unix sockets: by the hooks, by path, by abstract name, of the fence's own, and what comes by them; and on the cgroup, by
//! the address that a call passes.

use std::io::IoSlice;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use ringfence::event::Source;
use ringfence::kernel::Host;
use ringfence::policy::{FilePolicy, Mode};
use ringfence_abi::event::operation;
use ringfence_abi::network::{ALLOW, DENY, TCP};
use ringfence_abi::rights::WRITE;

use super::outside::Server;
use super::policy::{connect, named, policy, unix};
use super::{BY_CGROUP, BY_HOOKS, Judge, Scene};
use crate::kit::{Suite, Verdict, prefixes};

pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "network::hooks::unix_sockets_are_reached_by_rules_about_them",
        BY_HOOKS,
        by_rules,
    );
    suite.test(
        "network::hooks::the_mode_of_the_network_decides_about_unix_sockets",
        BY_HOOKS,
        by_mode,
    );
    suite.test(
        "network::hooks::a_socket_from_outside_is_not_received_and_one_of_the_fence_is",
        BY_HOOKS,
        receives,
    );
    suite.test(
        "network::cgroup::unix_sockets_are_judged_by_the_name_that_is_passed",
        BY_CGROUP,
        by_passed_name,
    );
}

/// Where the kernel has programs for it, which is from 6.7 on; an older one says so.
fn by_passed_name() -> Verdict {
    let folder = crate::kit::Folder::new()?;
    let at = |name: &str| folder.at(name).display().to_string();
    let name = |name: &str| format!("rf-{name}-{}", std::process::id());
    let rules = [
        unix(&at("stream"), ALLOW),
        unix(&at("datagram"), ALLOW),
        named(name("open").as_bytes(), ALLOW),
    ];
    let mut scene = Scene::new(Judge::Cgroup, &policy(Mode::Enforce, &rules))?;
    let judged = scene.fence.judge_unix(None);
    if Host::probe().version() < (6, 7) {
        scene.end()?;
        return match judged {
            Err(error) if error.to_string().contains("older than 6.7") => Ok(()),
            other => Err(format!("{other:?}").into()),
        };
    }
    judged?;
    let bound = |name: &str| SocketAddr::from_abstract_name(name.as_bytes());
    let names = [name("open"), name("open-not"), name("ope"), name("shut")];
    let mut streams = Vec::new();
    let mut datagrams = Vec::new();
    let mut acts = Vec::new();
    for (position, name) in names.iter().enumerate() {
        streams.push(UnixListener::bind_addr(&bound(name)?)?);
        datagrams.push(UnixDatagram::bind_addr(&bound(&format!("{name}.d"))?)?);
        let end = if position == 0 { "ok" } else { "denied" };
        acts.push((format!("unix @{name}"), end));
        acts.push((format!("ring-unix @{name}"), end));
        acts.push((format!("unix @{name}.d datagram"), end));
        acts.push((format!("unix @{name}.d send"), end));
    }
    streams.push(UnixListener::bind(at("stream"))?);
    datagrams.push(UnixDatagram::bind(at("datagram"))?);
    // A rule about a path opens it to nobody but who has looked where it leads.
    acts.push((format!("unix {}", at("stream")), "denied"));
    acts.push((format!("ring-unix {}", at("stream")), "denied"));
    acts.push((format!("unix {} datagram", at("datagram")), "denied"));
    acts.push((format!("unix {} send", at("datagram")), "denied"));
    acts.push(("unix-pair".to_owned(), "ok"));
    scene.tries(&acts)?;
    let events = scene.end()?;
    let told = |path: &str, source| {
        events.iter().any(|event| {
            event.operation == operation::CONNECT_UNIX
                && event.denied
                && event.path == path.as_bytes()
                && event.source == source
        })
    };
    let by_name = told(&format!("@{}", name("shut")), Source::Hook);
    let by_path = told(&at("stream"), Source::Syscall) && told(&at("datagram"), Source::Syscall);
    drop((streams, datagrams));
    match by_name && by_path {
        true => Ok(()),
        false => Err(format!("{events:#?}").into()),
    }
}

/// A helper outside hands over a socket that it has connected.
fn receives() -> Verdict {
    let folder = crate::kit::Folder::new()?;
    let path = folder.at("helper");
    let listener = UnixListener::bind(&path)?;
    let server = Server::tcp("127.0.0.1")?;
    let port = server.port();
    let helper = std::thread::spawn(move || -> std::io::Result<()> {
        for _ in 0..2 {
            let (friend, _) = listener.accept()?;
            let gift = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            let handles = [gift.as_raw_fd()];
            sendmsg::<()>(
                friend.as_raw_fd(),
                &[IoSlice::new(b"x")],
                &[ControlMessage::ScmRights(&handles)],
                MsgFlags::empty(),
                None,
            )?;
        }
        Ok(())
    });
    let shown = path.display().to_string();
    // The peer that the gift is connected to may be reached: that is no reason to take it.
    let rules = [
        unix(&shown, ALLOW),
        connect("127.0.0.1", Some((TCP, port)), ALLOW),
    ];
    let scene = Scene::new(Judge::Hooks, &policy(Mode::Enforce, &rules))?;
    scene.tries(&[
        (format!("received {shown}"), "denied"),
        ("passed".to_owned(), "ok"),
    ])?;
    scene.end()?;
    helper.join().map_err(|_| "the helper failed")??;
    Ok(())
}

fn by_rules() -> Verdict {
    let scene_folder = crate::kit::Folder::new()?;
    let at = |name: &str| scene_folder.at(name).display().to_string();
    let id = std::process::id();
    let (open_name, shut_name) = (format!("rf-open-{id}"), format!("rf-shut-{id}"));
    let mut policy = policy(
        Mode::Enforce,
        &[
            unix(&at("open"), ALLOW),
            unix(&at("write-denied"), DENY),
            named(open_name.as_bytes(), ALLOW),
        ],
    );
    policy.files = FilePolicy {
        mode: Mode::Off,
        automaton: prefixes(&[(at("write"), WRITE)]),
        ..FilePolicy::default()
    };
    let listeners = ["open", "shut", "write", "write-denied"]
        .map(|name| UnixListener::bind(scene_folder.at(name)));
    let datagrams = UnixDatagram::bind(scene_folder.at("open.datagram"))?;
    let shut_datagrams = UnixDatagram::bind(scene_folder.at("shut.datagram"))?;
    let names = [&open_name, &shut_name]
        .map(|name| UnixListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?));
    let scene = Scene::new(Judge::Hooks, &policy)?;
    scene.tries(&[
        (format!("unix {}", at("open")), "ok"),
        (format!("unix {}", at("shut")), "denied"),
        (format!("unix {}", at("write")), "ok"),
        (format!("unix {}", at("write-denied")), "denied"),
        (format!("unix {} datagram", at("open.datagram")), "ok"),
        (format!("unix {} send", at("open.datagram")), "ok"),
        (format!("unix {} datagram", at("shut.datagram")), "denied"),
        (format!("unix {} send", at("shut.datagram")), "denied"),
        (format!("unix @{open_name}"), "ok"),
        (format!("unix @{shut_name}"), "denied"),
    ])?;
    // What it makes itself it reaches without a rule. Outside the names would be taken, so that is tried inside alone.
    let own = scene.inside(&[
        format!("unix-own {}", at("own")),
        format!("unix-own @rf-own-{id}"),
        "kind 1 1 0".to_owned(),
    ]);
    let said = super::lines(own)?;
    let events = scene.end()?;
    drop((listeners, datagrams, shut_datagrams, names));
    let told = |path: &str| {
        events.iter().any(|event| {
            event.operation == operation::CONNECT_UNIX && event.path == path.as_bytes()
        })
    };
    match said == ["ok", "ok", "ok"] && told(&at("shut")) && told(&format!("@{shut_name}")) {
        true => Ok(()),
        false => Err(format!("{said:?}, {events:#?}").into()),
    }
}

/// Files in audit let no socket be reached; a network in audit does.
fn by_mode() -> Verdict {
    let folder = crate::kit::Folder::new()?;
    let path = folder.at("shut");
    let listener = UnixListener::bind(&path)?;
    for (mode, end) in [(Mode::Enforce, "denied"), (Mode::Audit, "ok")] {
        let mut policy = policy(mode, &[]);
        policy.files = FilePolicy {
            mode: Mode::Audit,
            automaton: prefixes(&[("/", !WRITE & 7)]),
            ..FilePolicy::default()
        };
        let scene = Scene::new(Judge::Hooks, &policy)?;
        scene.tries(&[(format!("unix {}", path.display()), end)])?;
        let events = scene.end()?;
        let seen = events.iter().any(|event| {
            event.operation == operation::CONNECT_UNIX && event.denied == (end == "denied")
        });
        if !seen {
            return Err(format!("{events:#?}").into());
        }
    }
    drop(listener);
    Ok(())
}
