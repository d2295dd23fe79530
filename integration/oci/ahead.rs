//! A monitor that is sent ahead of its hook, and hooks that find none.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::FENCED;
use super::bundle::Bundle;
use super::runtimes::{absent, nothing_names};
use crate::kit::{Folder, Need, Ringfence, Suite, Verdict};

const SCRIPT: &str = "echo x 2>/dev/null >/data/made || echo unwritten";

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::ahead::a_monitor_ends_if_no_hook_comes",
        FENCED,
        no_hook,
    );
    suite.test(
        "oci::ahead::a_hook_that_finds_no_monitor_does_without",
        FENCED,
        no_monitor,
    );
    suite.test(
        "oci::ahead::a_monitor_that_ends_without_a_word_starts_nothing",
        FENCED,
        no_word,
    );
    suite.test(
        "oci::ahead::a_monitor_that_hangs_up_first_has_gone",
        &[Need::Root],
        hung_up,
    );
}

/// The hook is stopped at each of its calls, so that the monitor's answer comes before its word.
fn hung_up() -> Verdict {
    let folder = Folder::new()?;
    let root = folder.path().display().to_string();
    Ringfence::with(["oci", "install", "podman", "--root", &root])
        .run()?
        .succeeds()?;
    let socket = folder.at("meeting");
    let listener = UnixListener::bind(&socket)?;
    listener.set_nonblocking(true)?;
    let mut hook = Command::new(folder.at("usr/local/bin/ringfence-hook"));
    hook.args(["oci", "hook", "end"])
        .arg(&socket)
        .arg("/bin/false")
        .stdin(Stdio::null());
    // SAFETY: one system call.
    unsafe { hook.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let mut hook = hook.spawn()?;
    let pid = Pid::from_raw(i32::try_from(hook.id())?);
    let mut monitor = loop {
        match waitpid(pid, None)? {
            WaitStatus::Stopped(..) => {}
            other => return Err(format!("the hook came to nobody: {other:?}").into()),
        }
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => ptrace::syscall(pid, None)?,
            Err(error) => return Err(error.into()),
        }
    };
    monitor.write_all(b"gone")?;
    drop(monitor);
    ptrace::detach(pid, None)?;
    let ended = hook.wait()?;
    match ended.success() {
        true => Ok(()),
        false => Err(format!("the hook ended with {ended}").into()),
    }
}

/// The runtime fails before it comes to its hooks.
fn no_hook() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", SCRIPT)?
        .with(|value| value["root"]["path"] = "no-such-root".into())?;
    let failed = bundle.call(&["run", "@"])?;
    failed.claim(
        failed.code() != Some(0) && failed.out().is_empty(),
        "no start",
    )?;
    let meeting = meeting(&bundle)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while meeting.exists() {
        if Instant::now() > deadline {
            return Err(format!("{} is left", meeting.display()).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    nothing_names(&bundle)
}

/// The same bundle once more, by a runtime that nobody stands before: the hooks are in it. Then where a monitor was killed.
fn no_monitor() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", SCRIPT)?;
    bundle.call(&["run", "@"])?.says("unwritten\n")?;
    let meeting = meeting(&bundle)?;
    absent(&meeting)?;
    bare(&bundle)?;
    absent(&meeting)?;
    // Nobody listens any more.
    drop(UnixListener::bind(&meeting)?);
    bare(&bundle)?;
    absent(&meeting)?;
    absent(&bundle.at("data/made"))?;
    nothing_names(&bundle)
}

fn bare(bundle: &Bundle) -> Verdict {
    let mut runtime = Command::new("runc");
    let run = runtime.arg("run").arg(bundle.id()).stdin(Stdio::null());
    let done = run.current_dir(bundle.path()).output()?;
    match done.stdout.as_slice() {
        b"unwritten\n" if done.status.success() => Ok(()),
        _ => Err(format!("{done:?}").into()),
    }
}

/// One that answers nothing, and one that answers with a reason.
fn no_word() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", SCRIPT)?;
    bundle.call(&["run", "@"])?.says("unwritten\n")?;
    let meeting = meeting(&bundle)?;
    for (answer, complaint) in [("", "without a word"), ("the reason", "the reason")] {
        let monitor = UnixListener::bind(&meeting)?;
        let monitor = std::thread::spawn(move || -> std::io::Result<String> {
            use std::io::{Read as _, Write as _};
            let (mut hook, _) = monitor.accept()?;
            let mut state = String::new();
            hook.read_to_string(&mut state)?;
            hook.write_all(answer.as_bytes())?;
            Ok(state)
        });
        let mut runtime = Command::new("runc");
        let run = runtime.arg("run").arg(bundle.id()).stdin(Stdio::null());
        let done = run.current_dir(bundle.path()).output()?;
        let state = monitor.join().map_err(|_| "the monitor has panicked")??;
        let err = String::from_utf8_lossy(&done.stderr);
        let refused = !done.status.success() && done.stdout.is_empty() && err.contains(complaint);
        if !refused || !state.starts_with('b') || !state.contains(bundle.id()) {
            return Err(format!("{done:?} after {state:?}").into());
        }
        fs::remove_file(&meeting).ok();
    }
    absent(&bundle.at("data/made"))
}

/// Where the hooks of the bundle look for their monitor.
fn meeting(bundle: &Bundle) -> Result<PathBuf, Failed> {
    let value = bundle.configuration()?;
    let words = &value["hooks"]["createRuntime"][0]["args"];
    match (words[3].as_str(), words[4].as_str()) {
        (Some("begin"), Some(path)) => Ok(Path::new(path).to_owned()),
        _ => Err(format!("the hook is called with {words}").into()),
    }
}
