//! `profile merge` and `profile minimise`: profiles with evidence.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use crate::{
    command::{
        Failure,
        learn::{read_profile, read_trace, write_profile},
        look::look,
        output,
    },
    compile,
    learn::{Learned, render},
    profile::{self, CommandLine, Variables},
};

/// `profile merge`: what any of the profiles allows, with the evidence of all. To `output`, or to `out`.
///
/// # Errors
/// If one of them is no profile, they contradict each other, or the result cannot be written.
pub fn merge(paths: &[PathBuf], output: Option<&Path>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut merged = Learned::default();
    for path in paths {
        merged = merged.merge(read_profile(path)?)?;
    }
    let text = render(&merged);
    match output::file(output) {
        Some(path) => write_profile(path, &text),
        None => output::print(out, &text),
    }
}

/// `profile minimise`: the profile's own allow rules that nothing in the traces needed. Returns whether there are none.
///
/// # Errors
/// If a trace is not whole, or the profile is none.
pub fn minimise(
    path: &Path,
    traces: &[PathBuf],
    variables: &Variables,
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let named = Path::new(".").join(path).into_os_string();
    let effective = profile::load(&[named], CommandLine::default())?;
    let traces = traces
        .iter()
        .map(read_trace)
        .collect::<Result<Vec<_>, _>>()?;
    let own = effective.lineage.last().cloned().unwrap_or_default();
    let mut used = vec![false; effective.rules.len()];
    for trace in &traces {
        // Each trace has its own working and temporary directory.
        let mut variables = variables.clone();
        for (name, value) in &trace.facts.variables {
            variables.set(name, value.bytes());
        }
        let explainer = compile::explainer(&effective, &variables, &look)?;
        let bound: Vec<_> = explainer.rules_of(&explainer.sections[0]).collect();
        for record in &trace.records {
            for path in [&record.path, &record.other].into_iter().flatten() {
                let mut rights = record.rights.0;
                if rights & ringfence_abi::rights::EXEC != 0 {
                    rights |= ringfence_abi::rights::READ;
                }
                for (used, bound) in used.iter_mut().zip(&bound) {
                    *used |= bound.rule.right.bits() & rights != 0 && bound.covers(path.bytes());
                }
            }
        }
    }
    let mut all_used = true;
    for (rule, used) in effective.rules.iter().zip(used) {
        let is_own =
            matches!(&rule.origin, profile::Origin::Profile { profile, .. } if **profile == *own);
        if is_own && !used && rule.right != profile::Right::Deny {
            all_used = false;
            writeln!(out, "{} {}   ({})", rule.right, rule.shown(), rule.origin)
                .map_err(output::unwritten)?;
        }
    }
    Ok(all_used)
}
