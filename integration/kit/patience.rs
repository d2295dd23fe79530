//! An end for every test: one that waits for what never comes fails, says for what, and lets the others go on.

use std::fmt::Write as _;
use std::panic;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};

use super::Verdict;
use super::expectation::Check;

/// For one test: many times what the longest takes where a processor is emulated and shared. `RINGFENCE_PATIENCE` is more, in seconds, for
/// what is asked to take long (`cargo xtask soak`).
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// For a test whose programs were killed.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// Runs a test. If it does not end, what it has started is described and killed, so that it can clean up behind itself.
pub(super) fn bounded(body: Box<dyn FnOnce() -> Verdict + Send>) -> Verdict {
    let asked = std::env::var("RINGFENCE_PATIENCE").ok();
    match asked.map(|seconds| seconds.parse()) {
        None => within(PATIENCE, body),
        Some(Ok(seconds)) => within(PATIENCE.max(Duration::from_secs(seconds)), body),
        Some(Err(error)) => {
            Err(format!("RINGFENCE_PATIENCE is no number of seconds: {error}").into())
        }
    }
}

fn within(patience: Duration, body: Box<dyn FnOnce() -> Verdict + Send>) -> Verdict {
    let (tell_task, task) = channel();
    let (tell_end, end) = channel();
    let test = thread::spawn(move || {
        tell_task.send(gettid()).ok();
        let verdict = body();
        tell_end.send(()).ok();
        verdict
    });
    match end.recv_timeout(patience) {
        // Gone without a word is a panic, which joining hands on.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => match test.join() {
            Ok(verdict) => verdict,
            Err(panicked) => panic::resume_unwind(panicked),
        },
        Err(RecvTimeoutError::Timeout) => {
            let task = task.recv()?;
            let started = started_by(task);
            let mut told = format!(
                "did not end within {} s; the test is in {}",
                patience.as_secs(),
                state(Pid::this(), task)
            );
            for process in &started {
                write!(told, "\n  {process}: {}", state(*process, *process)).ok();
            }
            for process in started.into_iter().rev() {
                kill(process, Signal::SIGKILL).ok();
            }
            end.recv_timeout(AFTERWARDS).ok();
            Err(Failed::from(told))
        }
    }
}

/// The processes that a task of this one has started, and theirs.
fn started_by(task: Pid) -> Vec<Pid> {
    let mut found = children(&format!("/proc/self/task/{task}/children"));
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let path = task.path().join("children");
            found.extend(children(&path.to_string_lossy()));
        }
        next += 1;
    }
    found
}

fn children(file: &str) -> Vec<Pid> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok().map(Pid::from_raw))
        .collect()
}

/// What a task waits in, and of which command line it is.
fn state(process: Pid, task: Pid) -> String {
    let read = |name: &str| {
        let bytes = std::fs::read(format!("/proc/{process}/task/{task}/{name}"));
        String::from_utf8_lossy(&bytes.unwrap_or_default())
            .replace('\0', " ")
            .trim()
            .to_owned()
    };
    let status = read("status");
    let state = status
        .lines()
        .find_map(|line| line.strip_prefix("State:"))
        .unwrap_or("gone");
    format!(
        "{}, {}, system call {}: {}",
        state.trim(),
        read("wchan"),
        read("syscall"),
        read("cmdline")
    )
}

/// The tests of this.
pub(super) fn checks() -> Vec<Check> {
    vec![
        (
            "kit::a_test_that_does_not_end_fails_and_says_what_it_waits_for",
            || {
                let waits = || {
                    let ended = std::process::Command::new("sleep").arg("3600").status()?;
                    Err(format!("sleep: {ended}").into())
                };
                let verdict = within(Duration::from_millis(500), Box::new(waits));
                match verdict
                    .err()
                    .and_then(|failed| failed.message().map(str::to_owned))
                {
                    Some(told) if told.contains("did not end") && told.contains("sleep 3600") => {
                        Ok(())
                    }
                    other => Err(format!("was told {other:?}").into()),
                }
            },
        ),
        ("kit::a_test_that_fails_is_a_failure", || {
            match within(PATIENCE, Box::new(|| Err("so".into()))) {
                Err(failed) if failed.message() == Some("so") => Ok(()),
                other => Err(format!("gave {other:?}").into()),
            }
        }),
    ]
}
