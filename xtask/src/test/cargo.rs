//! The floors that cargo runs by itself: house rules, unit tests, tests/.

use std::process::Command;

use anyhow::Result;

use super::stream::lines;
use super::tally::Tally;
use crate::place;
use crate::tool::{find, say};

/// A cargo in the checkout's root.
pub(crate) fn cargo(words: &[&str]) -> Command {
    // Set by the cargo that runs us; by its name where somebody runs us without.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(place::root());
    command
}

/// Formatting, lints, licences.
pub(crate) fn house() -> Result<Tally> {
    let mut tally = Tally::of("house");
    let lints = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    // A target that cargo does not test by itself is not among all of them.
    let of_integration = [
        "clippy",
        "--quiet",
        "--package",
        "ringfence",
        "--test",
        "integration",
        "--",
        "-D",
        "warnings",
    ];
    for (name, words) in [
        ("rustfmt", &["fmt", "--all", "--check"][..]),
        ("clippy", &lints[..]),
        ("clippy of integration", &of_integration[..]),
    ] {
        say(name);
        match lines(cargo(words), |_| {})? {
            true => tally.pass(),
            false => tally.fail(format!("{name}: cargo {}", words.join(" "))),
        }
    }
    let licences = ["deny", "check", "licenses", "bans", "sources"];
    match find("cargo-deny") {
        None => tally.skip(
            "cargo-deny",
            "not installed (cargo install cargo-deny takes minutes)",
        ),
        Some(_) if lines(cargo(&licences), |_| {})? => tally.pass(),
        Some(_) => tally.fail("cargo-deny: cargo deny check licenses bans sources"),
    }
    Ok(tally)
}

/// One run of cargo for both floors; which one a test belongs to is what cargo says before its binary.
pub(crate) fn tests([unit, tests]: [bool; 2]) -> Result<Vec<Tally>> {
    let which: &[&str] = match (unit, tests) {
        (false, false) => return Ok(Vec::new()),
        (true, false) => &["--lib", "--bins"],
        // Integration is a floor of its own: it is named in sandbox/Cargo.toml as no test of cargo's own.
        _ => &[],
    };
    say("cargo test");
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(which);
    let mut floors = [Tally::of("unit"), Tally::of("tests")];
    let mut current = 0;
    let succeeded = lines(command, |line| {
        let heading = line.trim_start();
        if heading.starts_with("Running unittests") {
            current = 0;
        } else if heading.starts_with("Running ") || heading.starts_with("Doc-tests ") {
            current = 1;
        }
        floors[current].read(line);
    })?;
    let accounted = floors.iter().any(|floor| floor.counts()[1] > 0);
    for floor in &mut floors {
        floor.close(true, "cargo test");
    }
    if !succeeded && !accounted {
        floors[0].close(false, "cargo test");
    }
    let keep = [unit, tests];
    Ok(floors
        .into_iter()
        .zip(keep)
        .filter_map(|(floor, keep)| keep.then_some(floor))
        .collect())
}
