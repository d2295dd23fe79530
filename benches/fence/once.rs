//! A contestant that runs once: how long it takes, or what it prints.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::kit::contestant::Contestant;

impl Contestant {
    /// Milliseconds from the start of what stands before it to the end of the command.
    pub(crate) fn time(&self, words: &[OsString], directory: &Path) -> Result<f64, String> {
        let mut command = self.command(words);
        command.current_dir(directory).stdout(Stdio::null());
        // Where each may read and write.
        command.env("HOME", directory).env("TMPDIR", directory);
        let began = Instant::now();
        let output = command.output().map_err(|error| error.to_string())?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        if output.status.success() {
            return Ok(took);
        }
        Err(said(&output.stderr))
    }

    /// The number that the command prints.
    pub(crate) fn number(&self, words: &[OsString]) -> Result<f64, String> {
        let output = self.command(words).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.lines().rev().find_map(|line| line.trim().parse().ok());
        number.ok_or_else(|| said(&output.stderr))
    }
}

fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first: Vec<_> = lines.take(2).collect();
    if first.is_empty() {
        "it failed without a word".to_owned()
    } else {
        first.join(" ")
    }
}

/// The names of contestants.
pub(crate) fn names(contestants: &[Contestant]) -> Vec<&str> {
    contestants.iter().map(|one| one.name).collect()
}
