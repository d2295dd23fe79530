//! Rules about ports for somebody without any privilege: Landlock judges the ports of TCP, and a filter closes what it does
//! not see. Every act works without a fence.

use std::process::Command;

use crate::kit::{Fence, Need, PYTHON, Suite, Verdict};

use super::outside::Server;

/// The kernel has Landlock ABI 4; where it has BPF LSM too, the machines are older or alike.
const NEEDS: &[Need] = &[Need::Root, Need::NoBpfLsm, Need::Landlock];
/// This test is about one protection.
const OTHERS: [&str; 2] = ["--best-effort", "files,exec,syscalls,processes,limits"];

pub(super) fn register(suite: &mut Suite) {
    for (name, body) in [
        (
            "network::ports::without_root_a_port_of_every_host_is_reached_and_nothing_else",
            reaches as fn() -> Verdict,
        ),
        (
            "network::ports::without_root_a_listed_port_is_listened_on_and_no_other",
            listens,
        ),
        (
            "network::ports::without_root_what_ports_cannot_say_is_refused",
            is_refused,
        ),
        (
            "network::ports::without_root_what_is_open_besides_is_said",
            is_said,
        ),
    ] {
        suite.test(name, NEEDS, body);
    }
}

/// Acts of the prober under these options, by somebody without privilege.
fn tries(options: &[&str], acts: &[(String, &str)]) -> Verdict {
    let fence = Fence::untrusted()?.and(OTHERS).and(options.iter().copied());
    fence.folder().file("ports.py", include_str!("probe.py"))?;
    let tried: Vec<_> = acts.iter().map(|(act, _)| act.clone()).collect();
    let probe = [PYTHON, "-IS", "ports.py"];
    let mut free = Command::new("setpriv");
    free.args("--reuid 65534 --regid 65534 --clear-groups --".split(' '))
        .args(probe)
        .args(&tried)
        .current_dir(fence.folder().path());
    let free = String::from_utf8(free.output()?.stdout)?;
    let finished = fence
        .run(probe)
        .and(tried.iter().cloned())
        .by_ordinary_user()
        .run()?;
    finished.succeeds()?;
    let inside = finished.out();
    let (mut free, mut inside) = (free.lines(), inside.lines());
    let mut wrong = Vec::new();
    for (act, expected) in acts {
        let (free, inside) = (free.next(), inside.next());
        // A kernel may have no such protocol.
        let is_absent = free.is_some_and(|free| free.starts_with("EPROTO"));
        if inside != Some(expected) || !(free == Some("ok") || is_absent) {
            wrong.push(format!(
                "`{act}`: {inside:?}, not {expected}; without a fence: {free:?}"
            ));
        }
    }
    finished.claim(wrong.is_empty(), &wrong.join("\n"))?;
    Ok(())
}

fn reaches() -> Verdict {
    let [open, closed] = [Server::tcp("127.0.0.1")?, Server::tcp("127.0.0.1")?];
    let open6 = Server::tcp("::1")?;
    let datagrams = Server::udp("127.0.0.1", None)?;
    let (o, c, six, u) = (open.port(), closed.port(), open6.port(), datagrams.port());
    let options = [
        "--connect",
        &format!("tcp://*:{o},{six}"),
        "--connect",
        &format!("*:{u}"),
    ];
    tries(
        &options,
        &[
            (format!("tcp 127.0.0.1 {o}"), "ok"),
            (format!("tcp ::1 {six}"), "ok"),
            (format!("mapped 127.0.0.1 {o}"), "ok"),
            (format!("from-own-port 127.0.0.1 {o}"), "ok"),
            (format!("fast-open-connect 127.0.0.1 {o}"), "ok"),
            (format!("tcp 127.0.0.1 {c}"), "denied"),
            (format!("mapped 127.0.0.1 {c}"), "denied"),
            (format!("asynchronous 127.0.0.1 {c}"), "denied"),
            (format!("from-own-port 127.0.0.1 {c}"), "denied"),
            (format!("fast-open-connect 127.0.0.1 {c}"), "denied"),
            // Landlock would not see it. The answer is that of a kernel without.
            (format!("fast-open 127.0.0.1 {c}"), "ENOTSUP"),
            (format!("fast-open 127.0.0.1 {o}"), "ENOTSUP"),
            (format!("multipath 127.0.0.1 {o}"), "denied"),
            (format!("udp 127.0.0.1 {u}"), "denied"),
            (format!("udp-connected 127.0.0.1 {u}"), "denied"),
            ("listens 127.0.0.1 0".to_owned(), "denied"),
            ("listens-unbound".to_owned(), "denied"),
            ("kind 16 3 0".to_owned(), "ok"),
            ("kind 1 1 0".to_owned(), "denied"),
        ],
    )
}

fn listens() -> Verdict {
    // Free for a moment before, and asked for again at once.
    let [one, other] =
        [Server::tcp("127.0.0.1")?, Server::tcp("127.0.0.1")?].map(|server| server.port());
    tries(
        &["--listen", &format!("tcp://:0,{one}")],
        &[
            (format!("listens 127.0.0.1 {one}"), "ok"),
            ("listens 127.0.0.1 0".to_owned(), "ok"),
            ("listens-unbound".to_owned(), "ok"),
            (format!("listens 127.0.0.1 {other}"), "denied"),
            (format!("binds 127.0.0.1 {one}"), "denied"),
        ],
    )
}

fn is_refused() -> Verdict {
    for (options, why) in [
        (
            &["--connect", "web.test:443"][..],
            "TCP port 443 is open at every host",
        ),
        (
            &["--connect", "127.0.0.1:443"],
            "TCP port 443 is open at every host",
        ),
        (
            &["--connect", "*:443", "--deny-network", "169.254.0.0/16"],
            "TCP port 443 is open at every host",
        ),
        (
            &["--connect", "udp://*:53"],
            "UDP port 53 could only be opened together with all others",
        ),
        (&["--connect", "icmp://*"], "ICMP could only be opened"),
        (
            &["--listen", "127.0.0.1:80"],
            "TCP port 80 can be bound at every address",
        ),
        (
            &["--listen", "tcp://:8080"],
            "listens without having been bound",
        ),
    ] {
        let fence = Fence::untrusted()?.and(OTHERS).and(options.iter().copied());
        fence
            .run(["echo", "ran"])
            .by_ordinary_user()
            .run()?
            .exits_with(125)?
            .does_not_say("ran")?
            .complains(why)?
            .complains("way out: run as root")?
            .complains("--best-effort network")?;
    }
    Ok(())
}

fn is_said() -> Verdict {
    let [open, closed] = [Server::tcp("127.0.0.1")?, Server::tcp("127.0.0.1")?];
    let (o, c) = (open.port(), closed.port());
    let rule = format!("web.test:{o}");
    // What cannot be told apart is open, and the rest stays closed.
    tries(
        &["--connect", &rule, "--best-effort", "network"],
        &[
            (format!("tcp 127.0.0.1 {o}"), "ok"),
            (format!("tcp 127.0.0.1 {c}"), "denied"),
        ],
    )?;
    let fence =
        Fence::untrusted()?
            .and(OTHERS)
            .and(["--connect", &rule, "--best-effort", "network"]);
    fence
        .run(["true"])
        .by_ordinary_user()
        .run()?
        .succeeds()?
        .complains(&format!("network is weaker here (fallback): without programs on a cgroup ports are judged, not addresses or names: TCP port {o} is open"))?
        .complains("datagrams (UDP, ICMP) reach every host")?;
    Ok(())
}
