//! `cargo xtask bench`: the benchmarks of benches/, on this machine, and where their results went.

mod chart;
mod document;
mod row;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::ensure;
use crate::place;
use crate::test::BUILD;
use crate::tool::{is_root, read, run, say};

/// What the verb was asked to do.
#[derive(clap::Args)]
pub(crate) struct Ask {
    /// One benchmark of benches/; all of them if none is named
    #[arg(long, value_name = "NAME")]
    bench: Vec<String>,
    /// Write the results into docs/performance.md and docs/performance.svg
    #[arg(long)]
    record: bool,
    /// Run nothing, and record what a benchmark that was run elsewhere (with RESULTS=FILE, in a machine) has left
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// For the benchmarks themselves: sections, a filter, or criterion's own options
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    arguments: Vec<OsString>,
}

/// The verb.
pub(crate) fn verb(ask: &Ask) -> Result<()> {
    let results = match &ask.results {
        Some(results) => results.clone(),
        None => measure(ask)?,
    };
    if !ask.record && ask.results.is_none() {
        return Ok(());
    }
    let text = fs::read_to_string(&results)
        .with_context(|| format!("could not read {}", results.display()))?;
    let rows = row::read(&text)?;
    if rows.is_empty() {
        bail!("{} has no rows to record", results.display());
    }
    record(&rows, &circumstances(ask)?)
}

/// Runs the benchmarks, and says where their rows are.
fn measure(ask: &Ask) -> Result<PathBuf> {
    if !place::root().join("benches").is_dir() {
        bail!("benches/ is not there: this checkout has no benchmarks");
    }
    ensure(&BUILD, is_root(), "building ringfence")?;
    let results = place::target().join("bench.jsonl");
    fs::write(&results, "").with_context(|| format!("could not write {}", results.display()))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(place::root())
        .env("RESULTS", &results)
        .args(["bench", "--package", "ringfence"]);
    // `*` names the benchmarks alone: the harness of unit tests does not know criterion's options.
    let all = ["*".to_owned()];
    let benches = if ask.bench.is_empty() {
        &all[..]
    } else {
        &ask.bench
    };
    for bench in benches {
        cargo.args(["--bench", bench]);
    }
    run(cargo.arg("--").args(&ask.arguments))?;
    say(format!(
        "results: {}; of criterion's benchmarks, to be compared with by the next run: {}",
        results.display(),
        place::target().join("criterion").display()
    ));
    Ok(results)
}

/// Of which commit, and how: the end of a sentence.
fn circumstances(ask: &Ask) -> Result<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=12"]);
    let commit = read(git.current_dir(place::root()))?;
    let commit = commit.trim();
    if ask.results.is_some() {
        return Ok(format!("commit {commit}, by the benchmark's program alone"));
    }
    let rounds = std::env::var("ROUNDS").map(|rounds| format!("ROUNDS={rounds} "));
    let benches = ask.bench.iter().map(|bench| format!(" --bench {bench}"));
    let words = ask
        .arguments
        .iter()
        .map(|word| format!(" {}", word.to_string_lossy()));
    Ok(format!(
        "commit {commit}: `{}cargo xtask bench --record{}{}`",
        rounds.unwrap_or_default(),
        benches.collect::<String>(),
        words.collect::<String>(),
    ))
}

fn record(rows: &[row::Row], circumstances: &str) -> Result<()> {
    let page = place::root().join("docs/performance.md");
    let image = place::root().join("docs/performance.svg");
    let old =
        fs::read_to_string(&page).with_context(|| format!("could not read {}", page.display()))?;
    let new = document::with_results(&old, rows, circumstances)
        .with_context(|| format!("{} cannot take the results", page.display()))?;
    fs::write(&image, chart::draw(rows)?)
        .with_context(|| format!("could not write {}", image.display()))?;
    fs::write(&page, new).with_context(|| format!("could not write {}", page.display()))?;
    say(format!("wrote {} and {}", page.display(), image.display()));
    Ok(())
}
