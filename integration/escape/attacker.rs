//! The attacker: this same binary, started behind a fence (or, as the control, without one), which tries one case after
//! the other, each in a process of its own, and prints a line of JSON for each.

use std::io::{BufRead, Write, stdout};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::arena::Arena;
use super::case::{Attempt, Case, Stop};
use super::{cases, system};

/// The variable with the arena.
pub(super) const ARENA: &str = "RINGFENCE_ESCAPE_ARENA";
/// Printed before the first case; if it is there, the variable makes the attacker wait for a line.
pub(super) const READY: &str = "ready";
pub(super) const WAIT: &str = "RINGFENCE_ESCAPE_WAIT";

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) case: String,
    pub(super) end: End,
    pub(super) detail: String,
}

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum End {
    Escaped,
    Refused,
    Nothing,
    Absent,
    Broken,
}

/// Runs the cases of the arena that this variable describes.
pub(super) fn play(arena: &str) -> ExitCode {
    let inherited = inherited();
    let mut arena: Arena = match serde_json::from_str(arena) {
        Ok(arena) => arena,
        Err(error) => {
            eprintln!("the arena cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    arena.inherited = inherited;
    println!("{READY}");
    if std::env::var_os(WAIT).is_some() {
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).is_err() {
            return ExitCode::FAILURE;
        }
    }
    let wanted = |case: &&Case| {
        case.world == arena.world
            && (arena.only.is_empty() || arena.only.iter().any(|only| only == case.id))
    };
    for case in cases().iter().filter(wanted) {
        let harmful = matches!(case.unfenced, super::case::Unfenced::Harmful(_));
        if harmful && !arena.fenced {
            continue;
        }
        arena.case = case.id.to_owned();
        let line = run(case, &arena);
        let Ok(text) = serde_json::to_string(&line) else {
            return ExitCode::FAILURE;
        };
        println!("{text}");
    }
    if stdout().flush().is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Descriptors besides 0, 1, 2.
fn inherited() -> Vec<i32> {
    let is_open = |number: &i32| {
        // SAFETY: asks for flags only.
        unsafe { libc::fcntl(*number, libc::F_GETFD) >= 0 }
    };
    (3..1024).filter(is_open).collect()
}

fn run(case: &Case, arena: &Arena) -> Line {
    let (end, detail) = match forked(case, arena) {
        Ok(line) => return line,
        Err(error) => (End::Broken, error),
    };
    Line {
        case: case.id.to_owned(),
        end,
        detail,
    }
}

fn forked(case: &Case, arena: &Arena) -> Result<Line, String> {
    let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", std::io::Error::last_os_error())),
        0 => {
            drop(reader);
            // SAFETY: a group of its own, to be ended with all that it started.
            unsafe { libc::setpgid(0, 0) };
            let line = tried(case, arena);
            let text = serde_json::to_string(&line).unwrap_or_default();
            let mut writer = std::fs::File::from(OwnedFd::from(writer));
            let written = writeln!(writer, "{text}");
            system::leave(i32::from(written.is_err()))
        }
        child => {
            drop(writer);
            let line = first_line(&OwnedFd::from(reader), Duration::from_secs(arena.patience));
            // SAFETY: the group is the child's own; it may be gone.
            unsafe { libc::kill(-child, libc::SIGKILL) };
            // SAFETY: the child is not waited for yet.
            unsafe { libc::kill(child, libc::SIGKILL) };
            let code = system::ended(child).map_err(|error| error.to_string())?;
            match line {
                Some(line) => serde_json::from_str(&line).map_err(|_| format!("said {line:?}")),
                None => Err(format!("ended without a word, with {code}")),
            }
        }
    }
}

fn tried(case: &Case, arena: &Arena) -> Line {
    let attempt = catch_unwind(AssertUnwindSafe(|| (case.attack)(arena)));
    let attempt: Attempt = attempt.unwrap_or_else(|_| Err(Stop::Broken("panicked".into())));
    let (end, detail) = match attempt {
        Ok(what) => (End::Escaped, what),
        Err(Stop::Refused(errno)) => (End::Refused, name(errno)),
        Err(Stop::Nothing(why)) => (End::Nothing, why),
        Err(Stop::Absent(why)) => (End::Absent, why),
        Err(Stop::Broken(why)) => (End::Broken, why),
    };
    Line {
        case: case.id.to_owned(),
        end,
        detail,
    }
}

/// `EACCES`, not "permission denied".
pub(super) fn name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

/// A line, not all up to the end: what the case left behind may hold the pipe open.
fn first_line(reader: &OwnedFd, patience: Duration) -> Option<String> {
    let until = Instant::now() + patience;
    let mut text = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd {
            fd: reader.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let left = i32::try_from(left.as_millis()).ok()?;
        // SAFETY: one structure of ours.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left) };
        if ready < 0 {
            // A signal that was sent to everybody.
            continue;
        }
        if ready == 0 {
            return None;
        }
        let chunk = system::read(reader)
            .ok()
            .filter(|chunk| !chunk.is_empty())?;
        text.extend_from_slice(chunk.as_bytes());
        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            text.truncate(end);
            return String::from_utf8(text).ok();
        }
    }
}

/// A descriptor by its number, which somebody else owns.
pub(super) fn borrowed(number: i32) -> std::mem::ManuallyDrop<OwnedFd> {
    // SAFETY: never dropped, so never closed.
    std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) })
}
