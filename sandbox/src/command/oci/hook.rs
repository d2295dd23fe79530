//! `ringfence oci hook`: what a runtime calls when a container comes to be and when it has gone.

use std::{
    io::{self, Read as _},
    path::PathBuf,
    process,
    time::Duration,
};

use super::monitor::{self, FENCED, Request};
use crate::{
    command::Failure,
    confine::{self, Branch},
    oci::{self, Container},
};

/// How long the monitor of a container that has gone may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the state on standard input and does what it asks for: sets a fence up around a new container, or waits until that of
/// a container that has gone is taken down. `profile` is for containers that name none; `fallback` says that the bundle was made for
/// that engine; `learn` is where the profile of one goes that is recorded instead.
///
/// # Errors
/// If the fence does not stand; the runtime then ends the container, of which nothing has run.
pub fn hook(
    profile: Option<String>,
    fallback: bool,
    learn: Option<PathBuf>,
) -> Result<u8, Failure> {
    let mut state = Vec::new();
    io::stdin()
        .read_to_end(&mut state)
        .map_err(|source| Failure::Unknown {
            what: "which container is meant",
            source,
        })?;
    let container = Container::from_state(&state)?;
    if container.is_gone {
        if !oci::ended(&container.id, &container.bundle, PATIENCE)? {
            return Err(Failure::Argument(format!(
                "the fence of container {} still stands",
                container.id
            )));
        }
        return Ok(0);
    }
    let request = Request {
        container,
        profile,
        fallback,
        learn,
    };
    enclose(&request).map(|()| 0)
}

/// Starts the monitor and waits for its answer.
fn enclose(request: &Request) -> Result<(), Failure> {
    let failed = |source| Failure::Unknown {
        what: "whether the fence stands",
        source,
    };
    let (mut answers, report) = io::pipe().map_err(failed)?;
    if confine::branch()? == Branch::Second {
        drop(answers);
        // Nobody waits for it, and it has nobody to say anything to but by `report`.
        process::exit(monitor::stay_with(request, report).map_or(1, |()| 0));
    }
    drop(report);
    let mut answer = String::new();
    answers.read_to_string(&mut answer).map_err(failed)?;
    match answer.as_str() {
        FENCED => Ok(()),
        "" => Err(Failure::Argument(
            "the process that was to own the fence has ended without a word".to_owned(),
        )),
        reason => Err(Failure::Argument(reason.to_owned())),
    }
}
