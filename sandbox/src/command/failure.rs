//! Why a verb failed, and the exit code that says so.

use std::{io, path::PathBuf};

use crate::{compile, confine, kernel, oci, policy::Standing, profile, telemetry};

/// The fence could not be set up, or the command could not be started. Nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The profile.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// The profile does not compile.
    #[error(transparent)]
    Compile(#[from] compile::Error),
    /// A verb about profiles.
    #[error(transparent)]
    Verb(#[from] super::profile::Error),
    /// The launch.
    #[error(transparent)]
    Confine(#[from] confine::Error),
    /// The BPF LSM engine.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A container's runtime, bundle or state.
    #[error(transparent)]
    Oci(#[from] oci::Error),
    /// A profile in a registry.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// Looking on from outside.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// A call of a container runtime.
    #[error("{0}")]
    Runtime(Box<Failure>),
    /// Required protections cannot be kept here.
    #[error("{}", refusal(.0))]
    Refused(Vec<Standing>),
    /// A file of ringfence's own.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Anything about the caller that cannot be found out.
    #[error("cannot tell {what}: {source}")]
    Unknown {
        /// What.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A trace.
    #[error("{path}: {source}")]
    Trace {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::trace::Error,
    },
    /// A profile that was learned, or is to take in what was.
    #[error("{path}: {source}")]
    Learned {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::learn::Unreadable,
    },
    /// Two profiles that do not agree.
    #[error(transparent)]
    Conflict(#[from] crate::learn::Conflict),
    /// The fence's resolver.
    #[error("the fence's resolver cannot be started: {source}")]
    Resolver {
        /// Why not.
        source: io::Error,
    },
    /// An argument that makes no sense.
    #[error("{0}")]
    Argument(String),
}

impl Failure {
    /// 127 if the command was not found, 126 if it cannot be run, 1 if a runtime was called, else 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Confine(error) => error.exit_code(),
            // What runtimes answer, whatever it was.
            Self::Runtime(_) => 1,
            _ => 125,
        }
    }
}

/// What is refused, why, and what can be done, a line each.
fn refusal(standings: &[Standing]) -> String {
    use std::fmt::Write as _;
    let mut text =
        "this kernel and user cannot keep what the profile requires, so nothing was started:"
            .to_owned();
    for standing in standings {
        let grade = standing.grade;
        write!(
            text,
            "\n  {} would be {grade}: {}",
            standing.protection,
            standing.why()
        )
        .expect("a string takes everything");
        if let Some(remedy) = &standing.remedy {
            write!(text, "\n    way out: {remedy}").expect("a string takes everything");
        }
    }
    let names: Vec<_> = standings
        .iter()
        .map(|standing| standing.protection.name())
        .collect();
    write!(
        text,
        "\n  or accept it: --best-effort {} (in a profile: [protection] {} = \"best-effort\")",
        names.join(","),
        names[0]
    )
    .expect("a string takes everything");
    text
}
