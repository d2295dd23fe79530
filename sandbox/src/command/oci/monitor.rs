//! `ringfence oci monitor`: owns the fence of one container, writes down its denials, and takes it down when nobody is left.
//!
//! Killed, it leaves the fence standing; a later run collects it once the container's cgroup is empty.

use std::io::{self, Read as _};

use serde::{Deserialize, Serialize};

use super::enclosure::Enclosure;
use crate::{
    command::Failure,
    oci::{Container, Detached},
};

/// What the monitor answers when the fence stands; anything else is the reason why it does not.
pub(super) const FENCED: &str = "fenced";

/// What the hook asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The container.
    pub(super) container: Container,
    /// The profile if it names none.
    pub(super) profile: Option<String>,
    /// Whether its bundle was changed for the fallback engine.
    pub(super) fallback: bool,
}

/// Sets the fence up that the request on standard input asks for, answers on standard output, and stays until the container is
/// gone.
///
/// # Errors
/// If the fence cannot stand; the answer says why.
pub fn monitor() -> Result<u8, Failure> {
    let mut request = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut request)
        .map_err(|source| Failure::Unknown {
            what: "which container is meant",
            source,
        })?;
    let request: Request = serde_json::from_slice(&request)
        .map_err(|error| Failure::Argument(format!("the request makes no sense: {error}")))?;
    let detached = Detached::detach()?;
    match Enclosure::around(&request) {
        Ok(enclosure) => {
            let told = detached.report(FENCED);
            let Some(enclosure) = enclosure else {
                return Ok(told.map(|()| 0)?);
            };
            match told {
                Ok(()) => enclosure.stay()?,
                // The hook is gone, and with it who would have started the container.
                Err(error) => {
                    enclosure.end()?;
                    return Err(error.into());
                }
            }
            Ok(0)
        }
        Err(failure) => {
            detached.report(&failure.to_string())?;
            Err(failure)
        }
    }
}
