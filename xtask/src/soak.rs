//! `cargo xtask soak`: many fences for a long time. What it tries is integration/faults/soak.py; the tests run the short form.

use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::ensure;
use crate::place;
use crate::test::BUILD;
use crate::tool::{is_root, run};

/// What the verb was asked to do.
#[derive(clap::Args)]
pub(crate) struct Ask {
    /// Minutes for each of the phases that can go on for ever: one after the other, and against each other
    #[arg(long, default_value_t = 30)]
    minutes: u32,
}

/// The verb.
pub(crate) fn verb(ask: &Ask) -> Result<()> {
    if !is_root() {
        bail!("only root can have fences with programs in the kernel: run it with sudo");
    }
    ensure(&BUILD, true, "building ringfence")?;
    let seconds = u64::from(ask.minutes) * 60;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo
        .current_dir(place::root())
        .env("RINGFENCE_SOAK", seconds.to_string())
        // Two phases, and what comes before, between and after them.
        .env("RINGFENCE_PATIENCE", (3 * seconds + 3600).to_string())
        .args([
            "test",
            "--package",
            "ringfence",
            "--test",
            "integration",
            "--",
            "soak::",
            "--nocapture",
        ]))
}
