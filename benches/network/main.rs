//! What a fence costs on the network: connections and datagrams to loopback, and requests to a web server inside, next to the
//! same without a fence.
//!
//! All of it happens in a network namespace of its own. Run as root by `cargo bench --bench network [-- SECTION...]`; in a
//! machine by `cargo xtask vm --kernel 6.12 -- target/release/deps/network-... SECTION...`. `ROUNDS` is how often, `BEFORE`
//! another build of ringfence to compare with, `RESULTS` a file for rows of JSON.

#[path = "../kit/mod.rs"]
mod kit;
mod sockets;
mod web;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

use kit::contestant::{LANDLOCK, landlock};
use kit::sections::{self, Section};

/// Says that this is the network namespace.
const ALONE: &str = "--alone";
/// A name that leads to loopback there.
const NAME: &str = "bench.test";

const SECTIONS: [(&str, Section); 2] = [("sockets", sockets::all), ("web", web::all)];

fn main() {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some(sockets::PROBE) => return sockets::probe(&arguments[1..]),
        Some(LANDLOCK) => {
            eprintln!("{}", landlock(&arguments[1..]));
            std::process::exit(1);
        }
        Some(ALONE) => {}
        _ => return alone(&arguments),
    }
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    sections::run(&SECTIONS, &arguments[1..], place.path());
}

fn own_path() -> OsString {
    let path = env::current_exe().expect("the path of this program");
    path.into_os_string()
}

/// Starts this program again where nobody else is, and where [`NAME`] leads to loopback.
fn alone(arguments: &[OsString]) {
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    let hosts = place.path().join("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost {NAME}\n")).expect("a file of hosts");
    let script = "set -e; ip link set lo up; mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"";
    let ended = Command::new("unshare")
        .args(["--net", "--mount", "--", "sh", "-c", script, "sh"])
        .arg(&hosts)
        .arg(own_path())
        .arg(ALONE)
        .args(arguments)
        .status();
    assert!(
        ended.expect("unshare runs").success(),
        "the benchmark failed"
    );
}
