//! `ringfence profile`: shows, tests, describes and lists profiles. Runs nothing.

mod diff;
mod export;
mod json;
mod merge;
mod peer;
#[cfg(feature = "registry")]
mod registry;
mod show;
mod test;

pub use diff::diff;
pub use export::export;
pub use merge::{merge, minimise};
#[cfg(feature = "registry")]
pub use registry::{Destination, pull, push};
pub use show::show;
pub use test::{Question, explain, explain_network, test};

use std::ffi::OsString;
use std::io::{self, Write};

use super::look::look;
use crate::compile::{self, Explainer, explainer};
use crate::profile::{self, CommandLine, Effective, Variables};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile could not be loaded.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// The profile could not be compiled.
    #[error(transparent)]
    Compile(#[from] compile::Error),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
    /// No program is entered by an exec of this path.
    #[error("an exec of `{path}` enters no [[program]] section{}; sections: {known}", .inside.as_ref().map(|inside| format!(" inside that of `{inside}`")).unwrap_or_default())]
    NoProgram {
        /// The path.
        path: String,
        /// The program inside which it was asked.
        inside: Option<String>,
        /// The paths of the sections that can be entered there.
        known: String,
    },
    /// What is asked about is no peer.
    #[error("`{text}` cannot be asked about: {message}")]
    Peer {
        /// What was given.
        text: String,
        /// What to write instead.
        message: &'static str,
    },
    /// The answer could not be put into its format.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Which profile is meant.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names and paths; none for the default profile.
    pub profiles: Vec<OsString>,
    /// What flags add.
    pub command_line: CommandLine,
    /// Values of variables.
    pub variables: Variables,
}

impl Request {
    fn load(self) -> Result<(Effective, Explainer), Error> {
        let effective = profile::load(&self.profiles, self.command_line)?;
        let explainer = explainer(&effective, &self.variables, &look)?;
        Ok((effective, explainer))
    }
}

/// `profile schema`: the JSON Schema of profile files.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn schema(out: &mut dyn Write) -> Result<(), Error> {
    serde_json::to_writer_pretty(&mut *out, &profile::schema())?;
    writeln!(out)?;
    Ok(())
}

/// `profile list`: the shipped profiles, and what they are for.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn list(out: &mut dyn Write) -> Result<(), Error> {
    for shipped in profile::shipped::ALL {
        let effective = profile::load(&[shipped.name.into()], CommandLine::default())?;
        let because = effective.because.unwrap_or_default();
        writeln!(out, "{:<12} {because}", shipped.name)?;
    }
    Ok(())
}

fn link_text(path: &[u8], target: &[u8]) -> String {
    format!(
        "{} -> {}",
        commented(&String::from_utf8_lossy(path)),
        commented(&String::from_utf8_lossy(target))
    )
}

/// `text` without what would end a comment or steer a terminal.
fn commented(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}
