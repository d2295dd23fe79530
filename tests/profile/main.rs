//! The profile language from the outside: what is accepted, what is refused and how the refusal reads.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod accepted;
mod links;
mod network;
mod process;
mod programs;
mod refusals;
mod rules;
mod shown;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringfence::command::profile::{Question, Request, schema, show, test};
use ringfence::compile::{self, Entry, Explainer, compile};
use ringfence::policy::{Demand, Mode, Policy, Protection};
use ringfence::profile::{self, CommandLine, Effective, Right, Rule, Variables, from_text, load};
use ringfence_abi::rights::{EXEC, READ, WRITE};

fn variables() -> Variables {
    Variables::new()
        .with("CWD", "/work")
        .with("HOME", "/home/user")
        .with("TMP", "/tmp/run-1")
        .with("CONFIG", "/home/user/.config")
        .with("CACHE", "/home/user/.cache")
        .with("USER", "user")
        .with("UID", "1000")
}

fn no_links(_: &[u8]) -> Entry {
    Entry::Missing
}

fn read(text: &str) -> Result<Effective, profile::Error> {
    from_text("ci.toml", text.as_bytes(), false, CommandLine::default())
}

fn refusal(text: &str) -> String {
    read(text).expect_err("should be refused").to_string()
}

fn policy(text: &str) -> Policy {
    compile(&read(text).unwrap(), &variables(), &no_links)
        .unwrap()
        .0
}

fn files(lines: &str) -> String {
    format!("version = 1\n[files]\n{lines}\n")
}

fn rights(policy: &Policy, path: &str) -> u8 {
    policy.files.automaton.rights(path.as_bytes())
}
