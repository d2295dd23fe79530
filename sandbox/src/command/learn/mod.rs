//! `ringfence learn`: runs a command as it is, records what it does, and writes the profile that allows just that.

mod container;
mod file;
mod image;
mod keep;
mod lookup;
mod observe;
mod outline;
mod progress;
mod recording;
mod surroundings;

pub use file::{read_profile, write_profile};
pub(super) use lookup::Lookup;
pub use observe::{Observation, Subject, observe};
pub(super) use outline::{end, facts, not_told, strangers};
pub(super) use recording::Ending;
pub use surroundings::{Known, known};

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{Failure, output};
use crate::{
    learn::{self, Learned, Level},
    policy::number_of,
    trace::Trace,
};

/// The exit code of a recording that is not whole.
pub const LOST: u8 = 3;

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    /// What is recorded.
    pub subject: Subject,
    /// Where the profile goes; standard output if nowhere.
    pub output: Option<PathBuf>,
    /// A profile that takes in what was learned.
    pub merge: Option<PathBuf>,
    /// Where the trace goes.
    pub trace: Option<PathBuf>,
    /// Shipped profiles that are extended in any case.
    pub base: Vec<String>,
    /// How far the profile goes beyond what was seen.
    pub level: Level,
    /// Whether secrets are allowed like anything else.
    pub accept_secrets: bool,
    /// Whether a recording that is not whole is good enough.
    pub allow_loss: bool,
    /// Seconds after which the command is ended.
    pub seconds: Option<u64>,
}

impl Options {
    /// The file that the profile goes to; none for standard output.
    fn destination(&self) -> Option<&Path> {
        let named = self.output.as_deref().or(self.merge.as_deref());
        output::file(named)
    }
}

/// How a profile is made of what was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How<'a> {
    /// As [`Options::base`].
    pub(super) base: &'a [String],
    /// As [`Options::level`].
    pub(super) level: Level,
    /// As [`Options::accept_secrets`].
    pub(super) accept_secrets: bool,
}

/// Runs the command and writes the profile; returns the command's exit code, or [`LOST`].
///
/// # Errors
/// If nothing could be recorded, the command could not be started, or the profile not be written.
pub fn learn(
    options: &Options,
    out: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<u8, Failure> {
    let before = options.merge.as_deref().map(read_before).transpose()?;
    let seen = observe(&options.subject, options.seconds, stderr)?;
    if let Some(path) = &options.trace {
        write_trace(path, &seen.trace)?;
    }
    let lost = seen.trace.has_losses() && !options.allow_loss;
    let how = How {
        base: &options.base,
        level: options.level,
        accept_secrets: options.accept_secrets,
    };
    let mut learned = seen.inside(|| profile_of(&seen, &how))??;
    if let Some(before) = before {
        learned = before.merge(learned)?;
    }
    if learned.says_nothing() {
        return Err(Failure::Argument(
            "nothing was recorded, and a profile that says nothing is none: no profile is written"
                .to_owned(),
        ));
    }
    let text = learn::render(&learned);
    let output = options.destination();
    match output {
        Some(path) => write_profile(path, &text)?,
        None => output::print(out, &text)?,
    }
    let not_kept = match output {
        // What the engine makes of a container's files is told when it starts.
        _ if seen.namespace.is_some() => Vec::new(),
        // The profile is written, and good elsewhere.
        Some(path) if path.is_file() => keep::not_kept(&seen, path).unwrap_or_else(|failure| {
            vec![format!(
                "the fallback engine, which this machine has, cannot hold this profile: {failure}"
            )]
        }),
        // What goes to a pipe or a device cannot be read again.
        _ => Vec::new(),
    };
    let told = summary(&seen, &learned, options, &not_kept);
    // Where stderr is gone, the profile is there all the same.
    stderr.write_all(told.as_bytes()).ok();
    Ok(if lost { LOST } else { seen.trace.end.exit })
}

/// The profile that is merged into.
fn read_before(path: &Path) -> Result<Learned, Failure> {
    match read_profile(path) {
        Err(Failure::File { path, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(Failure::Argument(format!(
                "there is no {0} to merge into; begin with `-o {0}`, and merge the runs after it",
                path.display()
            )))
        }
        other => other,
    }
}

/// The profile of one observation.
pub(super) fn profile_of(seen: &Observation, options: &How<'_>) -> Result<Learned, Failure> {
    for name in options.base {
        if crate::profile::shipped::find(name).is_none() {
            return Err(Failure::Argument(format!(
                "--base takes a shipped profile, and none is called `{name}`"
            )));
        }
    }
    let known = &seen.known;
    let secret = |path: &[u8]| known.secret(path);
    let surroundings = learn::Surroundings {
        shipped: known.shipped(|name| {
            options.level == Level::Loose || options.base.iter().any(|base| base == name)
        })?,
        base: options.base.iter().cloned().collect(),
        secrets: known.secrets.clone(),
        secret: &secret,
        accept_secrets: options.accept_secrets,
        level: options.level,
    };
    Ok(learn::learn(&seen.trace, &surroundings))
}

fn write_trace(path: &PathBuf, trace: &Trace) -> Result<(), Failure> {
    let failed = |source| Failure::File {
        action: "write the trace to",
        path: path.clone(),
        source,
    };
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    trace
        .write(&mut file)
        .and_then(|()| file.flush())
        .map_err(failed)
}

/// Reads a trace that `learn --trace` has written.
///
/// # Errors
/// If it is not there or not whole.
pub fn read_trace(path: &PathBuf) -> Result<Trace, Failure> {
    let file = File::open(path).map_err(|source| Failure::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    Trace::read(io::BufReader::new(file)).map_err(|source| Failure::Trace {
        path: path.clone(),
        source,
    })
}

/// What the profile came to, what it asks, and what was lost.
fn summary(
    seen: &Observation,
    learned: &Learned,
    options: &Options,
    not_kept: &[String],
) -> String {
    let mut text = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "ringfence: {line}").expect("a string takes everything");
    };
    say(format_args!(
        "{} from {} in {}",
        number_of(learned.rules.len(), "rule", "rules"),
        number_of(seen.trace.records.len(), "kind of acts", "kinds of acts"),
        options
            .destination()
            .map_or("standard output".to_owned(), |path| path
                .display()
                .to_string())
    ));
    for ((right, path), question) in &learned.questions {
        say(format_args!(
            "not allowed unless you say so: {right} {path} ({}); it is a comment in the profile, and --accept-secrets \
             takes it",
            question.because
        ));
    }
    for (part, question) in &learned.kernel_questions {
        say(format_args!(
            "not opened unless you say so: {part} ({}); it is a comment in the profile",
            question.because
        ));
    }
    for (reason, count) in &seen.trace.end.lost {
        say(format_args!(
            "the recording is not whole: {} {reason}",
            number_of(*count, "act", "acts")
        ));
    }
    for note in seen.notes.iter().chain(not_kept) {
        say(format_args!("{note}"));
    }
    text
}
