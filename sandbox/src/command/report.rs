//! `ringfence report`: a recorded run as a page for people.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{Failure, check, learn, look::look, output};
use crate::{
    compile,
    learn::{Level, Surroundings, render},
    profile::{self, CommandLine, Variables},
    report::{Judged, page},
    trace::Trace,
};

/// Writes the page about the trace at `trace` to `output`, or to `out`. With a profile it shows what that would not allow,
/// without one the profile that would be learned.
///
/// # Errors
/// If there is no such trace or profile, or the page cannot be written.
pub fn report(
    trace: &PathBuf,
    profile: Option<&OsString>,
    output: Option<&Path>,
    variables: &Variables,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let trace = learn::read_trace(trace)?;
    let mut variables = variables.clone();
    for (name, value) in &trace.facts.variables {
        variables.set(name, value.bytes());
    }
    let html = match profile {
        Some(profile) => judged(&trace, profile, &variables)?,
        None => page(
            &trace,
            &Judged {
                profile: &learned(&trace, &variables)?,
                ..Judged::default()
            },
        )
        .map_err(Failure::Argument)?,
    };
    match output::file(output) {
        Some(path) => fs::write(path, html).map_err(|source| Failure::File {
            action: "write the page to",
            path: path.to_owned(),
            source,
        }),
        None => output::print(out, &html),
    }
}

fn judged(trace: &Trace, profile: &OsString, variables: &Variables) -> Result<String, Failure> {
    let effective = profile::load(std::slice::from_ref(profile), CommandLine::default())?;
    let (policy, explainer) = compile::compile(&effective, variables, &look)?;
    let known = learn::known(variables)?;
    let findings = check::findings(trace, &policy, &explainer, &known);
    let name = profile.to_string_lossy();
    // A shipped profile has no file; what it says is what `profile show` tells.
    let text = fs::read_to_string(profile)
        .unwrap_or_else(|_| format!("# see: ringfence profile show -p {name}"));
    let judged = Judged {
        by: Some(&name),
        findings: &findings,
        profile: &text,
    };
    page(trace, &judged).map_err(Failure::Argument)
}

fn learned(trace: &Trace, variables: &Variables) -> Result<String, Failure> {
    let known = learn::known(variables)?;
    let secret = |path: &[u8]| known.secret(path);
    let surroundings = Surroundings {
        shipped: known.shipped(|_| false)?,
        base: std::collections::BTreeSet::new(),
        secrets: known.secrets.clone(),
        secret: &secret,
        accept_secrets: false,
        level: Level::Default,
    };
    Ok(render(&crate::learn::learn(trace, &surroundings)))
}
