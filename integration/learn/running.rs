//! Recording a process that runs already.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{RECORDING, Workshop};
use crate::kit::{Folder, PYTHON, Suite, Verdict};

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::a_running_process_is_recorded_and_goes_on",
        RECORDING,
        a_running_process_is_recorded_and_goes_on,
    );
    suite.test(
        "learn::a_recording_ends_with_the_process_that_ran_already",
        RECORDING,
        a_recording_ends_with_the_process_that_ran_already,
    );
    suite.test(
        "learn::a_process_that_does_nothing_has_no_profile",
        RECORDING,
        a_process_that_does_nothing_has_no_profile,
    );
    suite.test(
        "learn::a_process_that_is_not_there_is_refused",
        RECORDING,
        a_process_that_is_not_there_is_refused,
    );
}

/// A child and a thread that are there before the recording, and what comes later.
const SCRIPT: &str = "
import os, subprocess, threading, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.02)
def act():
    wait('go')
    open('by-thread', 'w').close()
open('here', 'w').close()
child = subprocess.Popen(['sh', '-c', 'until [ -e go ]; do [ -e here ] || exit; sleep 0.05; done; : > by-child'])
thread = threading.Thread(target=act)
thread.start()
open('ready', 'w').close()
thread.join()
child.wait()
subprocess.run(['sh', '-c', '(: > by-grandchild) & wait'])
open('done', 'w').close()
wait('stop')
raise SystemExit(7)
";

/// A process that is ended when the test is over, whatever came of it.
struct Running(Child);

impl Running {
    fn start(place: &Folder) -> Result<Self, Failed> {
        let child = Command::new(PYTHON)
            .args(["-c", SCRIPT])
            .current_dir(place.path())
            .spawn()?;
        super::recording::until(|| place.at("ready").exists())?;
        Ok(Self(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// `ringfence learn --pid`, when it says that it records.
fn learn(shop: &Workshop, process: &Running, trace: &str) -> Result<Child, Failed> {
    let mut learn = shop
        .ringfence(["learn", "--pid"])
        .and([process.0.id().to_string()])
        .and(["--trace"])
        .and([shop.aside.at(trace)])
        .command()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let Some(stderr) = learn.stderr.take() else {
        return Err("it has no standard error".into());
    };
    // Kept whole: it writes there later.
    let copy = OwnedFd::from(stderr);
    let mut lines = BufReader::new(fs::File::from(copy.try_clone()?));
    let mut told = String::new();
    while !told.contains("is recorded until it ends") {
        if lines.read_line(&mut told)? == 0 {
            learn.wait()?;
            return Err(format!("it does not record: {told}").into());
        }
    }
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(learn)
}

/// What would be written could not be read again.
fn a_process_that_does_nothing_has_no_profile() -> Verdict {
    let shop = Workshop::new()?;
    let sleeps = Running(Command::new("sleep").arg("600").spawn()?);
    let ended = shop
        .ringfence(["learn", "--for", "1s", "--pid"])
        .and([sleeps.0.id().to_string()])
        .and(["-o".into(), shop.profile()])
        .run()?;
    ended
        .exits_with(125)?
        .complains("nothing was recorded")?
        .claim(!shop.profile().exists(), "no profile")?;
    Ok(())
}

fn stop(mut learn: Child) -> Result<ExitStatus, Failed> {
    kill(Pid::from_raw(i32::try_from(learn.id())?), Signal::SIGINT)?;
    Ok(learn.wait()?)
}

fn a_running_process_is_recorded_and_goes_on() -> Verdict {
    let shop = Workshop::new()?;
    let (here, there) = (Folder::new()?, Folder::new()?);
    let (mut one, other) = (Running::start(&here)?, Running::start(&there)?);
    let recordings = [learn(&shop, &one, "one")?, learn(&shop, &other, "other")?];
    for place in [&here, &there] {
        fs::write(place.at("go"), "")?;
        super::recording::until(|| place.at("done").exists())?;
    }
    for recording in recordings {
        let status = stop(recording)?;
        if !status.success() {
            return Err(format!("the recording ended with {status}").into());
        }
    }
    for (trace, own, others) in [("one", &here, &there), ("other", &there, &here)] {
        let text = fs::read_to_string(shop.aside.at(trace))?;
        for name in ["by-thread", "by-child", "by-grandchild", "done"] {
            if !text.contains(&format!("{}\"", own.at(name).display())) {
                return Err(format!("{name} is not in {text}").into());
            }
        }
        if text.contains(&others.path().display().to_string()) {
            return Err(format!("what another process did is in {text}").into());
        }
        if text.contains("\"go\"") {
            return Err(format!("what this test did is in {text}").into());
        }
    }
    if one.0.try_wait()?.is_some() {
        return Err("the process ended with its recording".into());
    }
    fs::write(here.at("stop"), "")?;
    match one.0.wait()?.code() {
        Some(7) => Ok(()),
        code => Err(format!("it ended with {code:?}").into()),
    }
}

fn a_recording_ends_with_the_process_that_ran_already() -> Verdict {
    let shop = Workshop::new()?;
    let here = Folder::new()?;
    let process = Running::start(&here)?;
    let mut recording = learn(&shop, &process, "trace")?;
    // One that has done nothing has no profile.
    fs::write(here.at("go"), "")?;
    super::recording::until(|| here.at("done").exists())?;
    drop(process);
    let status = recording.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("the recording ended with {status}").into())
}

fn a_process_that_is_not_there_is_refused() -> Verdict {
    let shop = Workshop::new()?;
    // Beyond what the kernel gives (include/linux/threads.h, `PID_MAX_LIMIT`).
    let finished = shop.ringfence(["learn", "--pid", "4194305"]).run()?;
    finished.exits_with(125)?;
    Ok(())
}
