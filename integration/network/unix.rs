//! Unix sockets, by the hooks: by path, by abstract name, of the fence's own, and what comes by them.

use std::io::IoSlice;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use ringfence::policy::{FilePolicy, Mode};
use ringfence_abi::event::operation;
use ringfence_abi::network::{ALLOW, DENY, TCP};
use ringfence_abi::rights::WRITE;

use super::outside::Server;
use super::policy::{connect, named, policy, unix};
use super::{BY_HOOKS, Judge, Scene};
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
