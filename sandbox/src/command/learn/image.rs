//! An image, run by podman for the sake of what it does: made, recorded from its first program on, and removed.
//!
//! `podman init` lets a runtime make the container and not start it: then its cgroup and its root are there, and nothing of it has
//! run. So podman and its runtime need not know of ringfence.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::{container::Recorded, observe::Observation};
use crate::{
    command::{Failure, oci},
    confine::Watched,
};

const ENGINE: &str = "podman";
/// Seconds that a container has to end when it is told to.
const PATIENCE: &str = "10";

/// A container of podman's. Dropped, it is removed with all that is in it.
struct Made {
    id: String,
}

/// Runs the image as `words` say, which are those of `podman create`.
pub(super) fn observe(
    words: &[OsString],
    seconds: Option<u64>,
    stderr: &mut dyn Write,
) -> Result<Observation, Failure> {
    let made = Made::create(words)?;
    asked(&["init".as_ref(), made.id.as_ref()])?;
    let running = oci::running(&made.id, None)?;
    let mut recorded = Recorded::begin(&running)?;
    recorded.say(stderr, "the container runs without a fence");
    let mut attached = made.start()?;
    // It ends when the container does, and when that cannot be started.
    recorded.end_with(attached.id())?;
    let mut stopping = None;
    let mut is_time_up = false;
    loop {
        let time = seconds.filter(|_| stopping.is_none());
        match recorded.wait(time)? {
            Watched::Ended => break,
            // It has been told, and is killed when it does not listen.
            _ if stopping.is_some() => {}
            over => {
                is_time_up = over == Watched::TimeUp;
                stopping = Some(made.stop()?);
            }
        }
    }
    let status = attached.wait().map_err(not_run)?;
    if let Some(mut stopping) = stopping {
        stopping.wait().map_err(not_run)?;
    }
    let code = match is_time_up {
        // That it is ended by the clock was wanted.
        true => 0,
        false => code_of(status),
    };
    recorded.finish(code, Vec::new())
}

impl Made {
    fn create(words: &[OsString]) -> Result<Self, Failure> {
        let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
        // What it says of pulling goes to standard error.
        let said = asked(&[&["create".as_ref()][..], &words].concat())?;
        let id = said.lines().last().unwrap_or_default().trim().to_owned();
        match id.is_empty() {
            true => Err(Failure::Argument(format!(
                "`{ENGINE} create` does not say what it has made"
            ))),
            false => Ok(Self { id }),
        }
    }

    /// In a group of its own: Ctrl-C ends the recording, which ends the container.
    fn start(&self) -> Result<Child, Failure> {
        Command::new(ENGINE)
            .args(["start", "--attach", "--sig-proxy=false", &self.id])
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(not_run)
    }

    fn stop(&self) -> Result<Child, Failure> {
        Command::new(ENGINE)
            .args(["stop", "--time", PATIENCE, &self.id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(not_run)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let removed = Command::new(ENGINE)
            .args(["rm", "--force", "--volumes", "--time", "0", &self.id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        if !removed.is_ok_and(|status| status.success()) {
            let id = &self.id;
            writeln!(
                std::io::stderr(),
                "ringfence: the container stays; remove it with `{ENGINE} rm --force {id}`"
            )
            .ok();
        }
    }
}

/// What podman answers; what it complains of goes to standard error.
fn asked(words: &[&OsStr]) -> Result<String, Failure> {
    let output = Command::new(ENGINE)
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(not_run)?;
    if !output.status.success() {
        let verb = words.first().copied().unwrap_or_default();
        return Err(Failure::Argument(format!(
            "`{ENGINE} {}` failed ({}); what it said is above",
            verb.display(),
            output.status
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn not_run(source: std::io::Error) -> Failure {
    Failure::File {
        action: "run",
        path: ENGINE.into(),
        source,
    }
}

/// 128+n for a signal, as everywhere.
fn code_of(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| signal + 128);
    let code = status.code().or_else(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
