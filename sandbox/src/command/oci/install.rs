//! `ringfence oci install` and `uninstall`.

use std::{io::Write, path::Path};

use crate::{
    command::{Failure, output},
    oci::install::{self, Change, ContainerEngine},
};

/// Makes `engine` on the host below `root` find ringfence as a runtime, and prints what that took. With `dry_run` nothing is
/// written.
///
/// # Errors
/// If what is there is not ours, or cannot be written.
pub fn install(
    engine: ContainerEngine,
    root: &Path,
    dry_run: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let changes = install::install(engine, root, &install::own_program()?)?;
    carry_out(&changes, dry_run, out)?;
    output::print(out, &format!("then: {}\n", engine.notice()))
}

/// Takes [`install`] back.
///
/// # Errors
/// If a file cannot be read or written.
pub fn uninstall(
    engine: ContainerEngine,
    root: &Path,
    dry_run: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    carry_out(&install::uninstall(engine, root)?, dry_run, out)
}

fn carry_out(changes: &[Change], dry_run: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if !dry_run {
        install::apply(changes)?;
    }
    for change in changes {
        output::print(out, &change.to_string())?;
    }
    match (changes.is_empty(), dry_run) {
        (true, _) => output::print(out, "nothing to do\n"),
        (false, true) => output::print(out, "nothing was written (--dry-run)\n"),
        (false, false) => Ok(()),
    }
}
