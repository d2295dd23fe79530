//! The process that owns the fence of one container, writes down its denials, and takes it down when nobody is left. It comes from
//! the hook, and is there when that has ended.
//!
//! Killed, it leaves the fence standing; a later run collects it once the container's cgroup is empty.

use std::{io::PipeWriter, path::PathBuf};

use super::{enclosure::Enclosure, learning::Learning};
use crate::{
    command::Failure,
    oci::{Container, Detached, Host},
};

/// What the monitor answers when the fence stands; anything else is the reason why it does not.
pub(super) const FENCED: &str = "fenced";

/// What the hook asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// The container.
    pub(super) container: Container,
    /// The profile if it names none.
    pub(super) profile: Option<String>,
    /// Whether its bundle was changed for the fallback engine.
    pub(super) fallback: bool,
    /// Where the profile goes if it is recorded instead.
    pub(super) learn: Option<PathBuf>,
}

/// Detaches this process, sets the fence up that the request asks for, answers by `report`, and stays until the container is gone.
///
/// # Errors
/// If the fence cannot stand; the answer says why.
pub(super) fn stay_with(request: &Request, report: PipeWriter) -> Result<(), Failure> {
    let detached = Detached::detach(report)?;
    match Watched::around(request) {
        Ok(None) => Ok(detached.report(FENCED)?),
        Ok(Some(watched)) => match detached.report(FENCED) {
            Ok(()) => watched.stay(),
            // The hook is gone, and with it who would have started the container.
            Err(error) => {
                watched.end()?;
                Err(error.into())
            }
        },
        Err(failure) => {
            detached.report(&failure.to_string())?;
            Err(failure)
        }
    }
}

/// A container that this process stays with.
enum Watched {
    /// It is fenced.
    Fenced(Box<Enclosure>),
    /// It is recorded.
    Recorded(Box<Learning>),
}

impl Watched {
    /// `None` if another process stays with it already.
    fn around(request: &Request) -> Result<Option<Self>, Failure> {
        let host = Host::read()?;
        let asked = host.learned_file(&request.container.annotations)?;
        match request.learn.clone().or(asked) {
            Some(file) => {
                let learning = Learning::around(&request.container, file)?;
                Ok(learning.map(|learning| Self::Recorded(Box::new(learning))))
            }
            None => {
                let enclosure = Enclosure::around(request, &host)?;
                Ok(enclosure.map(|enclosure| Self::Fenced(Box::new(enclosure))))
            }
        }
    }

    fn stay(self) -> Result<(), Failure> {
        match self {
            Self::Fenced(enclosure) => enclosure.stay(),
            Self::Recorded(learning) => learning.stay(),
        }
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Fenced(enclosure) => enclosure.end(),
            // Nothing of it has run.
            Self::Recorded(_) => Ok(()),
        }
    }
}
