//! `cargo xtask run`: a release build, then the command behind the fence. What the command reads and prints is untouched.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages::ensure;
use crate::place;
use crate::test::BUILD;
use crate::tool::{is_root, run, say};

/// What the verb was asked to do.
#[derive(clap::Args)]
pub(crate) struct Ask {
    /// As `ringfence run` takes it: options, then the command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

/// The verb: does not come back unless something is in the way.
pub(crate) fn verb(ask: &Ask) -> Result<std::convert::Infallible> {
    ensure(&BUILD, is_root(), "building ringfence")?;
    say("building ringfence");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "ringfence",
            "--manifest-path",
        ])
        .arg(place::root().join("Cargo.toml"))
        .stdout(std::io::stderr()))?;
    let program = place::target().join("release/ringfence");
    // `--` is eaten by our own command line; it is put back so that the command's options stay the command's.
    let separator = ask
        .command
        .first()
        .is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let mut command = Command::new(&program);
    command
        .arg("run")
        .args(separator.then_some("--"))
        .args(&ask.command);
    let error = command.exec();
    Err(error).with_context(|| format!("could not start {}", program.display()))
}
