//! What can go wrong for one who looks on. What is looked at is never the worse for it.

use std::{io, path::PathBuf};

/// A step of the telemetry room that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket for what is to be heard.
    #[error("cannot {what} {path}: {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Where a collector should be.
    #[error("cannot send to {endpoint}: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// Why not.
        reason: String,
    },
    /// Numbers that the format cannot say.
    #[error("cannot write the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Error {
    pub(super) fn socket(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Socket { what, path, source }
    }
}
