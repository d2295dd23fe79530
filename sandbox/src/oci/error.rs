//! What can go wrong with a container before it is fenced; it does not start then.

use std::{io, path::PathBuf};

/// A step of this room that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option that could mean anything.
    #[error(
        "the option `{option}` of `{verb}` is not one that ringfence can read, so it cannot tell which container is meant; \
         spell it out as `--name value`"
    )]
    Option {
        /// As it was given.
        option: String,
        /// The runtime's verb.
        verb: String,
    },
    /// A verb that starts processes that no exec shows.
    #[error("`{verb}` is refused: {reason}")]
    Verb {
        /// The runtime's verb.
        verb: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A file of the container's, or of ours about it.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that does not say what it must.
    #[error("{path} is not usable: {reason}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file that others than root can write.
    #[error("{path} must belong to root, and nobody else may be able to write it")]
    Owner {
        /// Which file.
        path: PathBuf,
    },
    /// A user who is not root, perhaps root of a user namespace alone.
    #[error(
        "containers are fenced by root, who lays mounts, attaches programs and keeps records below {}; this user cannot write there ({source}). \
         Start the engine as root; or put `ringfence run` before the container's command, which takes no root",
        path.display()
    )]
    Rootless {
        /// Where records would be.
        path: PathBuf,
        /// Why they cannot be.
        source: io::Error,
    },
    /// The state on standard input.
    #[error("the state that the runtime gives to its hook is not usable: {0}")]
    State(String),
    /// What is no name of a profile of the host's.
    #[error(
        "{0:?} is no name of a profile: letters, digits, `.`, `_` and `-`, as of a file in /etc/ringfence/profiles or of a \
         shipped one"
    )]
    Name(String),
    /// The container has no cgroup by which it could be told from others.
    #[error("the container has no cgroup of its own, so that a fence would hold others too: {0}")]
    Cgroup(String),
    /// A container that may not be recorded.
    #[error("the container asks to be recorded (dev.ringfence.learn): {0}")]
    Learn(String),
    /// A container that cannot be found, or not be recorded now.
    #[error("container {id}: {reason}")]
    Running {
        /// What it was called.
        id: String,
        /// Why.
        reason: String,
    },
    /// There is no runtime to hand over to.
    #[error(
        "no container runtime is found (looked for {looked_for}); name one with --runtime, RINGFENCE_RUNTIME, or `runtime` in \
         {}",
        super::CONFIGURATION
    )]
    NoRuntime {
        /// Names and paths.
        looked_for: String,
    },
    /// The monitor.
    #[error("cannot {what}: {source}")]
    Monitor {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(super) fn content(path: impl Into<PathBuf>, reason: &impl ToString) -> Self {
        Self::Content {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
