//! `ringfence check`: runs a command, records what it does, and names what its profile does not allow.

mod compare;

pub(super) use compare::new as findings;

use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    Failure,
    learn::{self, LOST, Observation, Subject, observe},
    output,
};
use crate::{
    compile,
    learn::Learned,
    policy::number_of,
    profile::{self, CommandLine},
    report::{self, Finding, Findings, Format},
};

/// The exit code for new behaviour.
pub const NEW: u8 = 1;
/// The variable that names the file which GitHub shows as a step's summary.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// What was asked for.
#[derive(Debug, Default)]
pub struct Options {
    /// The profile.
    pub profile: OsString,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// How findings are written.
    pub format: Format,
    /// Where they go; standard output if nowhere.
    pub output: Option<PathBuf>,
    /// Whether the profile takes in what is new.
    pub update: bool,
    /// Whether a recording that is not whole is good enough.
    pub allow_loss: bool,
    /// Seconds after which the command is ended.
    pub seconds: Option<u64>,
    /// Who to run as.
    pub user: Option<String>,
}

/// Runs the command and writes the findings; 0 if nothing is new, [`NEW`] if something is, [`LOST`] if the recording is not
/// whole, and the command's own exit code if it failed and nothing is new.
///
/// # Errors
/// If nothing could be recorded, or the profile is none.
pub fn check(
    options: &Options,
    out: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<u8, Failure> {
    // Before anything runs: the command could change it.
    let effective = profile::load(
        std::slice::from_ref(&options.profile),
        CommandLine::default(),
    )?;
    let before = match options.update {
        true => Some(learn::read_profile(Path::new(&options.profile))?),
        false => None,
    };
    let subject = Subject::Command {
        words: options.command.clone(),
        user: options.user.clone(),
    };
    let seen = observe(&subject, options.seconds, stderr)?;
    let (policy, explainer) = compile::compile(&effective, &seen.variables, &super::look::look)?;
    let words: Vec<_> = options
        .command
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let end = &seen.trace.end;
    let mut findings = Findings {
        profile: options.profile.to_string_lossy().into_owned(),
        command: words.join(" "),
        exit: end.exit,
        acts: seen.trace.records.len(),
        new: compare::new(&seen.trace, &policy, &explainer, &seen.known),
        lost: end
            .lost
            .iter()
            .map(|(reason, count)| format!("{} {reason}", number_of(*count, "act", "acts")))
            .collect(),
    };
    let left = before.map(|before| take_in(before, &seen, options));
    if let Some(Ok(left)) = &left {
        for finding in &mut findings.new {
            let is_it =
                |one: &Finding| (&one.kind, &one.subject) == (&finding.kind, &finding.subject);
            finding.taken_in = !left.iter().any(is_it);
        }
    }
    // What was found is told also where it cannot be taken in.
    tell(options, &findings, out)?;
    if left.transpose()?.is_some_and(|left| !left.is_empty()) {
        writeln!(
            stderr,
            "ringfence: not all of it was taken in: what is left stands as a question in {}, in lines that begin with `#?`",
            findings.profile
        )
        .ok();
    }
    for note in &seen.notes {
        writeln!(stderr, "ringfence: {note}").ok();
    }
    Ok(if !findings.lost.is_empty() && !options.allow_loss {
        LOST
    } else if !findings.new.is_empty() {
        NEW
    } else {
        end.exit
    })
}

/// Takes what was seen into the profile; returns what that does not allow even then.
fn take_in(
    before: Learned,
    seen: &Observation,
    options: &Options,
) -> Result<Vec<Finding>, Failure> {
    let path = Path::new(&options.profile);
    let merged = before.merge(learn::profile_of(seen, &learn::How::default())?)?;
    learn::write_profile(path, &crate::learn::render(&merged))?;
    let effective = profile::load(
        std::slice::from_ref(&options.profile),
        CommandLine::default(),
    )?;
    let (policy, explainer) = compile::compile(&effective, &seen.variables, &super::look::look)?;
    Ok(compare::new(&seen.trace, &policy, &explainer, &seen.known))
}

fn tell(options: &Options, findings: &Findings, out: &mut dyn Write) -> Result<(), Failure> {
    let text = report::write(findings, options.format).map_err(Failure::Argument)?;
    if options.format == Format::Github
        && let Some(path) = env::var_os(STEP_SUMMARY).map(PathBuf::from)
    {
        let table = report::write(findings, Format::Markdown).map_err(Failure::Argument)?;
        // Other steps' words stay.
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(table.as_bytes()))
            .map_err(|source| failed(&path, source))?;
    }
    match output::file(options.output.as_deref()) {
        Some(path) => fs::write(path, text).map_err(|source| failed(path, source)),
        None => output::print(out, &text),
    }
}

fn failed(path: &Path, source: std::io::Error) -> Failure {
    Failure::File {
        action: "write the findings to",
        path: path.to_owned(),
        source,
    }
}
