//! Whom a fence lets in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Failed;
use ringfence::policy::Mode;
use ringfence_abi::event::operation;
use ringfence_abi::network::{ALLOW, TCP, UDP};

use super::policy::{Rule, listen, policy};
use super::{Judge, Scene};
use crate::kit::Verdict;

const SECONDS: Duration = Duration::from_secs(3);

pub(super) fn register(both: &mut impl FnMut(&str, fn(Judge) -> Verdict)) {
    both("listens_where_a_rule_allows_and_answers", listens);
    both(
        "a_rule_about_port_0_is_about_ports_that_the_kernel_chooses",
        chosen,
    );
    both("nobody_comes_in_where_no_rule_allows_it", closed);
    both(
        "answers_the_datagrams_of_a_port_that_may_be_bound",
        datagrams,
    );
    both(
        "no_datagram_comes_in_to_a_port_that_may_not_be_bound",
        no_datagrams,
    );
}

/// A port that nobody has now.
fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// What comes of an act that says where it listens, of somebody outside who goes there, and the end of the act.
fn visit(
    scene: &Scene,
    act: String,
    visit: impl FnOnce(u16) -> std::io::Result<()>,
) -> Result<(Result<(), String>, String), Failed> {
    let mut child = scene.inside(&[act]).stdout(Stdio::piped()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().ok_or("no standard output")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    let visited = match line.trim().strip_prefix("ready ") {
        Some(port) => visit(port.parse()?).map_err(|error| error.to_string()),
        None => Err(format!("it did not listen: {line}")),
    };
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    child.wait()?;
    Ok((visited, rest.trim().to_owned()))
}

fn by_tcp(port: u16) -> std::io::Result<()> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let mut stream = TcpStream::connect_timeout(&address, SECONDS)?;
    stream.set_read_timeout(Some(SECONDS))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

fn by_udp(port: u16) -> std::io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(SECONDS))?;
    socket.send_to(b"x", (Ipv4Addr::LOCALHOST, port))?;
    socket.recv(&mut [0]).map(|_| ())
}

fn scene(judge: Judge, rules: &[Rule]) -> Result<Scene, Failed> {
    Scene::new(judge, &policy(Mode::Enforce, rules))
}

fn is(found: &(Result<(), String>, String), visited: bool, end: &str) -> Verdict {
    match found.0.is_ok() == visited && found.1 == end {
        true => Ok(()),
        false => Err(format!("{found:?}").into()),
    }
}

fn listens(judge: Judge) -> Verdict {
    let (open, shut) = (free_port()?, free_port()?);
    let scene = scene(judge, &[listen("127.0.0.1", Some((TCP, open)), ALLOW)])?;
    is(
        &visit(&scene, format!("serves 127.0.0.1 {open}"), by_tcp)?,
        true,
        "ok",
    )?;
    scene.tries(&[
        (format!("listens 127.0.0.1 {open}"), "ok"),
        (format!("listens 127.0.0.1 {shut}"), "denied"),
        (format!("listens 0.0.0.0 {open}"), "denied"),
        (format!("listens ::1 {open}"), "denied"),
        (format!("binds 127.0.0.1 {open}"), "denied"),
    ])?;
    let events = scene.end()?;
    let told = events.iter().any(|event| {
        event.operation == operation::BIND && event.peer.is_some_and(|peer| peer.port == shut)
    });
    match told {
        true => Ok(()),
        false => Err(format!("{events:#?}").into()),
    }
}

fn chosen(judge: Judge) -> Verdict {
    let shut = free_port()?;
    let scene = scene(judge, &[listen("127.0.0.1", Some((TCP, 0)), ALLOW)])?;
    is(
        &visit(&scene, "serves 127.0.0.1 0".to_owned(), by_tcp)?,
        true,
        "ok",
    )?;
    scene.tries(&[
        ("listens 127.0.0.1 0".to_owned(), "ok"),
        (format!("listens 127.0.0.1 {shut}"), "denied"),
    ])?;
    if judge == Judge::Hooks {
        scene.tries(&[
            ("listens 0.0.0.0 0".to_owned(), "denied"),
            ("listens-unbound".to_owned(), "denied"),
        ])?;
    }
    scene.end()?;
    Ok(())
}

/// The hooks refuse to listen; without them a socket listens, and nobody reaches it.
fn closed(judge: Judge) -> Verdict {
    let scene = scene(judge, &[listen("127.0.0.2", Some((TCP, 1)), ALLOW)])?;
    let mut child = scene
        .inside(&["serves 127.0.0.1 0".to_owned()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = BufReader::new(child.stdout.take().ok_or("no standard output")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    let reached = match line.trim().strip_prefix("ready ") {
        Some(port) => {
            let address = (Ipv4Addr::LOCALHOST, port.parse()?).into();
            TcpStream::connect_timeout(&address, Duration::from_millis(700)).is_ok()
        }
        None => false,
    };
    child.kill()?;
    child.wait()?;
    let as_expected = match judge {
        Judge::Hooks => line.trim() == "denied",
        Judge::Cgroup => line.starts_with("ready"),
    };
    scene.end()?;
    match as_expected && !reached {
        true => Ok(()),
        false => Err(format!("{line:?}, reached: {reached}").into()),
    }
}

fn datagrams(judge: Judge) -> Verdict {
    let (open, shut) = (free_port()?, free_port()?);
    let scene = scene(judge, &[listen("127.0.0.1", Some((UDP, open)), ALLOW)])?;
    is(
        &visit(&scene, format!("answers 127.0.0.1 {open}"), by_udp)?,
        true,
        "ok",
    )?;
    scene.tries(&[
        (format!("binds 127.0.0.1 {shut}"), "denied"),
        ("binds 127.0.0.1 0".to_owned(), "ok"),
    ])?;
    // From that port nobody is reached who has not asked.
    let server = super::outside::Server::udp("127.0.0.1", None)?;
    let act = format!("sends-from 127.0.0.1 {} {open}", server.port());
    scene.tries(&[(act, "denied")])?;
    scene.end()?;
    Ok(())
}

fn no_datagrams(judge: Judge) -> Verdict {
    let scene = scene(judge, &[listen("127.0.0.2", Some((UDP, 1)), ALLOW)])?;
    let sent = visit(&scene, "is-alone 127.0.0.1 0".to_owned(), |port| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket
            .send_to(b"x", (Ipv4Addr::LOCALHOST, port))
            .map(|_| ())
    })?;
    scene.end()?;
    is(&sent, true, "silence")
}
