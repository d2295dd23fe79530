//! A supervisor that is killed or signalled.

use std::fs;

use ringfence::confine::{Engine, Probe};

use crate::kit::{policy, request, run};

/// Set for a process that is to be a supervisor: the script to run in the fence.
pub(crate) const SCRIPT: &str = "RINGFENCE_TEST_SCRIPT";

/// Not a test of its own: the supervisor of the tests below, as a process that can be signalled and stopped.
#[test]
fn as_supervisor() {
    let Some(script) = std::env::var_os(SCRIPT) else {
        return;
    };
    let mut request = request("sh", &["-c"]);
    request.arguments.push(script);
    request.environment.push(("PS1".into(), "inner> ".into()));
    let exit = run(&request, &policy(&[]), Engine::BpfLsm).unwrap();
    std::process::exit(exit.code.into());
}

fn supervisor(script: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "supervisor::as_supervisor", "--nocapture"])
        .env(SCRIPT, script);
    command
}

#[test]
fn the_cgroup_of_a_supervisor_that_was_killed_is_collected_later() {
    use std::io::{BufRead, BufReader};
    let Some(root) = Probe::new().unwrap().cgroup else {
        eprintln!("skipped: the_cgroup_of_a_supervisor_that_was_killed needs cgroup v2");
        return;
    };
    let mut child = supervisor("grep ^0:: /proc/self/cgroup; exec sleep 60")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().split_once("0::").map(|(_, at)| at.to_owned()));
    let line = line.unwrap();
    let directory = root.directory().join(line.rsplit_once('/').unwrap().1);
    child.kill().unwrap();
    child.wait().unwrap();
    run(&request("true", &[]), &policy(&[]), Engine::BpfLsm).unwrap();
    assert!(directory.exists(), "a task is still in it");
    fs::write(directory.join("cgroup.kill"), "1").unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while directory.exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "{} stays",
            directory.display()
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
        run(&request("true", &[]), &policy(&[]), Engine::BpfLsm).unwrap();
    }
}

#[test]
fn signals_to_the_supervisor_reach_the_command() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    for (name, number) in [
        ("TERM", libc::SIGTERM),
        ("HUP", libc::SIGHUP),
        ("USR1", libc::SIGUSR1),
        ("INT", libc::SIGINT),
    ] {
        let script = format!("trap 'exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let mut command = supervisor(&script);
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped());
        // SAFETY: one system call.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines
                .map_while(Result::ok)
                .any(|line| line.ends_with("ready"))
        );
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(number).unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
    }
}
