//! `profile export`: a profile for other tools.

use std::{ffi::OsString, fs, io::Write};

use super::super::{Failure, look::look, output};
use crate::{
    compile::{
        self,
        export::{Source, Target, export as exported},
    },
    confine,
    profile::{self, CommandLine, Variables},
};

/// Writes the profile in the format of `target`. What that cannot say is refused, or with `lossy` said on `stderr`.
///
/// # Errors
/// If the profile has an error, or something of it would be lost.
pub fn export(
    profiles: &[OsString],
    target: Target,
    lossy: bool,
    variables: &Variables,
    out: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<(), Failure> {
    let effective = profile::load(profiles, CommandLine::default())?;
    let (policy, explainer) = compile::compile(&effective, variables, &look)?;
    let exported = exported(
        &Source {
            effective: &effective,
            policy: &policy,
            explainer: &explainer,
            closed: &confine::closed_calls(policy.kernel),
            always: confine::always_open(),
            look: &|path| fs::metadata(path).ok().map(|found| found.is_dir()),
        },
        target,
    );
    if !lossy && !exported.lost.is_empty() {
        return Err(Failure::Argument(format!(
            "the format cannot say all of the profile; --lossy writes the rest. It loses:\n  {}",
            exported.lost.join("\n  ")
        )));
    }
    for sentence in &exported.lost {
        writeln!(stderr, "ringfence: not exported: {sentence}").ok();
    }
    output::print(out, &exported.text)
}
