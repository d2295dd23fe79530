//! `cargo xtask bench`: the benchmarks of benches/, on this machine, and where their results went.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::ensure;
use crate::place;
use crate::test::BUILD;
use crate::tool::{is_root, run, say};

/// What the verb was asked to do.
#[derive(clap::Args)]
pub(crate) struct Ask {
    /// For the benchmarks themselves: a filter, or criterion's own options
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    arguments: Vec<OsString>,
}

/// The verb.
pub(crate) fn verb(ask: &Ask) -> Result<()> {
    if !place::root().join("benches").is_dir() {
        bail!("benches/ is not there: this checkout has no benchmarks");
    }
    ensure(&BUILD, is_root(), "building ringfence")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `*` names the benchmarks alone: the harness of unit tests does not know criterion's options.
    run(cargo
        .current_dir(place::root())
        .args(["bench", "--package", "ringfence", "--bench", "*", "--"])
        .args(&ask.arguments))?;
    say(format!(
        "results, to be compared with by the next run: {}",
        place::target().join("criterion").display()
    ));
    Ok(())
}
