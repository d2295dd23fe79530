//! `ringfence oci hook`: what a runtime calls when a container comes to be and when it has gone.

use std::{
    io::{self, Read as _, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    monitor::{FENCED, Request},
    runtime::own_program,
};
use crate::{
    command::Failure,
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
    let mut input = io::stdin().lock();
    input
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
    let mut monitor = Command::new(own_program()?)
        .args(["oci", "monitor"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let request = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    let mut answer = String::new();
    if let (Some(mut input), Some(mut output)) = (monitor.stdin.take(), monitor.stdout.take()) {
        input.write_all(&request).map_err(failed)?;
        drop(input);
        output.read_to_string(&mut answer).map_err(failed)?;
    }
    match answer.as_str() {
        FENCED => Ok(()),
        "" => Err(Failure::Argument(
            "the process that was to own the fence has ended without a word".to_owned(),
        )),
        reason => Err(Failure::Argument(reason.to_owned())),
    }
}
