//! One run as a page for people: what was executed by whom, files as a tree, peers, time, denials, the profile beside it.
//!
//! The page is one file without references to others, and what was recorded is text in it: the template escapes all of it, and
//! its policy loads nothing.

mod time;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, Value, context, value::Serde};
use ringfence_abi::{
    network::{ICMP, ICMP6, TCP, UDP},
    rights::{EXEC, READ, WRITE},
};
use serde::Serialize;

use super::{Finding, finding::printable};
use crate::policy::number_of;
use crate::trace::{Peer, Record, Text, Trace};

/// The page, as a template.
const PAGE: &str = include_str!("page.html");

/// What a run is held against.
#[derive(Debug, Default)]
pub struct Judged<'a> {
    /// The profile's name; none if the run is not judged.
    pub by: Option<&'a str>,
    /// What it would not allow.
    pub findings: &'a [Finding],
    /// The profile that is shown.
    pub profile: &'a str,
}

/// The page about `trace`.
///
/// # Errors
/// If the template cannot be filled, with the reason.
pub fn page(trace: &Trace, judged: &Judged<'_>) -> Result<String, String> {
    let words: Vec<_> = trace.facts.command.iter().map(Text::to_string).collect();
    let time = time::line(&trace.records);
    let end = &trace.end;
    let lost: Vec<_> = end
        .lost
        .iter()
        .map(|(reason, count)| format!("{} {reason}", number_of(*count, "act", "acts")))
        .collect();
    let privileges: BTreeSet<_> = end.capabilities.iter().chain(&end.surfaces).collect();
    let mut environment = Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let filled = environment.add_template("page.html", PAGE).and_then(|()| {
        environment.get_template("page.html")?.render(context! {
            command => printable(&words.join(" ")),
            run => trace.facts.run.as_str(),
            exit => end.exit,
            acts => number_of(trace.records.len(), "kind of acts", "kinds of acts"),
            recorder => trace.facts.recorder.as_str(),
            kernel => trace.facts.kernel.as_str(),
            version => trace.facts.version.as_str(),
            memory => end.peak_memory.map(mebibytes),
            tasks => end.peak_tasks,
            lost => Value::from(Serde(&lost)),
            programs => Value::from(Serde(tree::programs(&trace.records))),
            files => Value::from(Serde(tree::files(&trace.records))),
            network => Value::from(Serde(network(&trace.records))),
            names => Value::from(Serde(&end.names)),
            time => Value::from(Serde(&time)),
            totals => Value::from(Serde(&totals(&trace.records))),
            judged => judged.by,
            findings => Value::from(Serde(judged.findings)),
            privileges => Value::from(Serde(&privileges)),
            profile => judged.profile,
        })
    });
    filled.map_err(|error| format!("{error:#}"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// A host, and what was done with it.
#[derive(Serialize)]
struct Host {
    name: String,
    times: u64,
    lines: Vec<Line>,
}

/// One line about a peer.
#[derive(Serialize)]
struct Line {
    what: String,
    address: String,
    program: String,
    times: u64,
}

/// By host: its names, or its address.
fn network(records: &[Record]) -> Vec<Host> {
    let mut hosts: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for record in records {
        let Some(peer) = &record.peer else {
            continue;
        };
        let names: Vec<_> = peer.names.iter().map(String::as_str).collect();
        let name = match names.is_empty() {
            true => peer.address.to_string(),
            false => names.join(", "),
        };
        hosts.entry(name).or_default().push(Line {
            what: record.what.clone(),
            address: address(peer),
            program: tree::program(record),
            times: record.count,
        });
    }
    let host = |(name, mut lines): (String, Vec<Line>)| {
        lines.sort_by(|one, other| (&one.address, &one.what).cmp(&(&other.address, &other.what)));
        let times = lines.iter().map(|line| line.times).sum();
        Host { name, times, lines }
    };
    hosts.into_iter().map(host).collect()
}

fn address(peer: &Peer) -> String {
    let place = std::net::SocketAddr::new(peer.address, peer.port);
    match peer.protocol {
        TCP => format!("tcp {place}"),
        UDP => format!("udp {place}"),
        ICMP | ICMP6 => format!("icmp {}", peer.address),
        other => format!("protocol {other} {place}"),
    }
}

/// How many different things were used.
#[derive(Default, Serialize)]
struct Totals {
    programs: usize,
    read: usize,
    written: usize,
    executed: usize,
    hosts: usize,
}

fn totals(records: &[Record]) -> Totals {
    let with = |right: u8| {
        let of = records.iter().filter(|record| record.rights.0 & right != 0);
        let paths: BTreeSet<_> = of
            .flat_map(|record| [&record.path, &record.other])
            .flatten()
            .collect();
        paths.len()
    };
    let programs: BTreeSet<_> = records.iter().map(|record| &record.program).collect();
    Totals {
        programs: programs.len(),
        read: with(READ),
        written: with(WRITE),
        executed: with(EXEC),
        hosts: network(records).len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Rights;

    fn act(what: &str, path: &str, program: &str, rights: u8) -> Record {
        Record {
            what: what.to_owned(),
            path: Some(path.into()),
            program: Some(program.into()),
            rights: Rights(rights),
            count: 2,
            ..Record::default()
        }
    }

    #[test]
    fn what_was_recorded_is_text_and_nothing_is_loaded() {
        let nasty = "/tmp/<script>alert(1)</script>\"' onload=x &amp;";
        let trace = Trace {
            records: vec![act("open", nasty, "/bin/<b>", 1)],
            ..Trace::default()
        };
        let page = page(&trace, &Judged::default()).unwrap();
        assert!(!page.contains("<script>alert") && !page.contains("<b>"));
        assert!(page.contains("&lt;script&gt;alert"));
        for reference in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn a_page_shows_programs_files_peers_and_denials() {
        let peer = Peer {
            address: "192.0.2.1".parse().unwrap(),
            port: 443,
            protocol: TCP,
            names: BTreeSet::from(["a.test".to_owned()]),
            inside: false,
        };
        let connect = Record {
            what: "connect".to_owned(),
            peer: Some(peer),
            first: 3_000_000_000,
            count: 1,
            ..Record::default()
        };
        let trace = Trace {
            records: vec![
                act("exec", "/usr/bin/cc", "/usr/bin/make", 4),
                act("open", "/usr/include/stdio.h", "/usr/bin/cc", 1),
                connect,
            ],
            ..Trace::default()
        };
        let finding = Finding {
            subject: "/etc/shadow".to_owned(),
            ..Finding::default()
        };
        let judged = Judged {
            by: Some("p.toml"),
            findings: &[finding],
            profile: "version = 1",
        };
        let page = page(&trace, &judged).unwrap();
        for text in [
            "/usr/bin/make",
            "stdio.h",
            "a.test",
            "tcp 192.0.2.1:443",
            "/etc/shadow",
            "version = 1",
            "3.000 s",
        ] {
            assert!(
                page.contains(text) || page.contains(&text.replace('/', "&#x2f;")),
                "{text}"
            );
        }
        assert!(
            page.contains("2 below"),
            "directories count what is in them"
        );
    }
}
