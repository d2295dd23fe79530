//! Landlock rules as landlockconfig has them in JSON (github.com/landlock-lsm/landlockconfig, schema/landlockconfig.json).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use serde_json::json;

use super::{Exported, Part, Source, not_said, written};
use crate::{
    compile::glob::Glob,
    policy::Mode,
    profile::{About, NetworkRight, Right},
};

const READ: [&str; 2] = ["read_file", "read_dir"];
const WRITE: [&str; 12] = [
    "write_file",
    "truncate",
    "remove_dir",
    "remove_file",
    "make_char",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_block",
    "make_sym",
    "refer",
];
const DEVICES: &str = "ioctl_dev";
const EXECUTE: &str = "execute";
/// What a rule about a file may say.
const OF_FILES: [&str; 5] = ["read_file", "write_file", "truncate", EXECUTE, DEVICES];

pub(super) fn export(source: &Source<'_>) -> Exported {
    let mut lost = Vec::new();
    let mut configuration = json!({});
    let mut ruleset = json!({});
    if source.policy.files.mode != Mode::Off {
        let every: Vec<_> = READ
            .iter()
            .chain(&WRITE)
            .copied()
            .chain([DEVICES, EXECUTE])
            .collect();
        ruleset["handledAccessFs"] = json!(every);
        let rules: Vec<_> = files(source, &mut lost)
            .into_iter()
            .map(|(access, parents)| json!({ "allowedAccess": access, "parent": parents }))
            .collect();
        if !rules.is_empty() {
            configuration["pathBeneath"] = json!(rules);
        }
    }
    if !source.policy.network.is_off() {
        ruleset["handledAccessNet"] = json!(["bind_tcp", "connect_tcp"]);
        let ports = network(source, &mut lost);
        if !ports.is_empty() {
            configuration["netPort"] = json!(ports);
        }
    }
    ruleset["scoped"] = json!(["abstract_unix_socket", "signal"]);
    configuration["ruleset"] = json!([ruleset]);
    lost.extend(not_said(
        source,
        &[Part::Capabilities, Part::Limits, Part::Syscalls],
    ));
    Exported {
        text: written(&configuration),
        lost,
    }
}

/// Paths by the rights that they have.
fn files(
    source: &Source<'_>,
    lost: &mut Vec<String>,
) -> BTreeMap<Vec<&'static str>, BTreeSet<String>> {
    let mut rights: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    let explainer = source.explainer;
    for bound in explainer.rules_of(&explainer.sections[0]) {
        let rule = &bound.rule;
        let shown = format!("{} {}", rule.right, rule.shown());
        if rule.right == Right::Deny {
            lost.push(format!(
                "{shown}: Landlock takes nothing away below what is allowed"
            ));
            continue;
        }
        for cover in &bound.covers {
            match parent(source, &cover.glob) {
                Ok((path, is_directory)) => {
                    let access = access(rule.right);
                    let fits = access
                        .into_iter()
                        .filter(|one| is_directory || OF_FILES.contains(one));
                    rights.entry(path).or_default().extend(fits);
                }
                Err(reason) => lost.push(format!("{shown}: {reason}")),
            }
        }
    }
    let mut paths: BTreeMap<Vec<&str>, BTreeSet<String>> = BTreeMap::new();
    for (path, access) in rights.into_iter().filter(|(_, access)| !access.is_empty()) {
        paths
            .entry(access.into_iter().collect())
            .or_default()
            .insert(path);
    }
    paths
}

fn access(right: Right) -> Vec<&'static str> {
    match right {
        Right::Read => READ.into_iter().chain([DEVICES]).collect(),
        Right::Write => WRITE.into_iter().chain([DEVICES]).collect(),
        // A program is opened for reading to be executed (fs/exec.c, `do_open_execat`).
        Right::Exec => vec![EXECUTE, "read_file"],
        Right::Deny => Vec::new(),
    }
}

/// The path that a pattern is about, if it is one, and whether that is a directory.
fn parent(source: &Source<'_>, glob: &Glob) -> Result<(String, bool), &'static str> {
    let names = glob.literal_components();
    if names.len() != glob.components.len() {
        return Err("Landlock has no patterns");
    }
    let path = [&b"/"[..], &names.join(&b'/')].concat();
    let is_directory = (source.look)(Path::new(OsStr::from_bytes(&path)))
        .ok_or("Landlock rules are about what is there, and it is not")?;
    if is_directory && !glob.subtree {
        return Err("Landlock has no rules about a directory alone");
    }
    let path = String::from_utf8(path).map_err(|_| "JSON has no words for its name")?;
    Ok((path, is_directory))
}

/// Rules about ports; Landlock compares nothing else.
fn network(source: &Source<'_>, lost: &mut Vec<String>) -> Vec<serde_json::Value> {
    let mut ports: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for rule in &source.effective.network {
        let shown = format!("{} {}", rule.right, String::from_utf8_lossy(&rule.text));
        let About::Peer(peer) = &rule.about else {
            lost.push(format!(
                "{shown}: Landlock has no rules about Unix sockets here"
            ));
            continue;
        };
        let access = match rule.right {
            NetworkRight::Connect => "connect_tcp",
            NetworkRight::Listen => "bind_tcp",
            NetworkRight::Unix | NetworkRight::Deny => {
                lost.push(format!("{shown}: Landlock takes nothing away"));
                continue;
            }
        };
        lost.push(format!(
            "{shown}: Landlock compares ports of TCP alone, not hosts, and UDP stays open"
        ));
        for &(low, high) in peer.ports.ranges() {
            ports.entry(access).or_default().extend(low..=high);
        }
    }
    ports
        .into_iter()
        .map(|(access, ports)| json!({ "allowedAccess": [access], "port": ports }))
        .collect()
}
