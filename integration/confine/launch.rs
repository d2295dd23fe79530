//! What a launch gives: exit codes, descriptors, capabilities, identity, its cgroup, limits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ringfence::confine::{Engine, Error, Plan, Probe};
use ringfence_abi::rights::ALL;

use crate::kit::{code, is_root, place, policy, request, run, shell, system};
use crate::rules::tree;

#[test]
fn the_exit_code_is_the_commands_own() {
    assert_eq!(code("exit 0"), 0);
    assert_eq!(code("exit 77"), 77);
}

#[test]
fn the_exit_code_of_a_signal_is_128_and_its_number() {
    let exit = run(&shell("kill -TERM $$"), &policy(&[]), Engine::BpfLsm).unwrap();
    assert_eq!((exit.code, exit.signal), (143, Some(15)));
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let error = run(
        &request("no-such-command", &[]),
        &policy(&[]),
        Engine::BpfLsm,
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
}

#[test]
fn a_script_without_an_interpreter_line_is_126_and_says_what_to_do() {
    let place = place();
    let script = place.path().join("script");
    fs::write(&script, "echo hello\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let error = run(
        &request(script.to_str().unwrap(), &[]),
        &policy(&[]),
        Engine::BpfLsm,
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), 126, "{error}");
    assert!(error.to_string().contains("#!"), "{error}");
}

#[test]
fn a_missing_interpreter_is_126() {
    let place = place();
    let script = place.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let error = run(
        &request(script.to_str().unwrap(), &[]),
        &policy(&[]),
        Engine::BpfLsm,
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), 126, "{error}");
}

#[test]
fn only_the_standard_descriptors_are_inherited() {
    let place = place();
    let secret = fs::File::create(place.path().join("secret")).unwrap();
    // SAFETY: a fresh descriptor without close-on-exec, as a careless caller would leave one.
    let leaked = unsafe { libc::dup(std::os::fd::AsRawFd::as_raw_fd(&secret)) };
    let out = place.path().join("out");
    let script = format!("ls /proc/self/fd > {}", out.display());
    assert_eq!(code(&script), 0);
    // ls itself has one open, for the listing.
    assert_eq!(fs::read_to_string(&out).unwrap(), "0\n1\n2\n3\n");
    let mut kept = shell(&format!("test -e /proc/self/fd/{leaked}"));
    kept.keep = vec![leaked];
    assert_eq!(run(&kept, &policy(&[]), Engine::BpfLsm).unwrap().code, 0);
    // SAFETY: opened above.
    unsafe { libc::close(leaked) };
}

#[test]
fn a_descriptor_of_ringfence_itself_cannot_be_kept() {
    let own = fs::File::open("/").unwrap();
    let mut kept = shell("true");
    kept.keep = vec![std::os::fd::AsRawFd::as_raw_fd(&own)];
    let error = run(&kept, &policy(&[]), Engine::BpfLsm).unwrap_err();
    assert!(matches!(error, Error::KeepFd { .. }), "{error}");
}

#[test]
fn no_capability_is_held_and_none_can_be_gained() {
    let script = "grep -q 'CapPrm:.0*$' /proc/self/status && grep -q 'CapEff:.0*$' /proc/self/status \
                  && grep -q 'CapInh:.0*$' /proc/self/status && grep -q 'CapAmb:.0*$' /proc/self/status \
                  && grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q 'Seccomp:.2' /proc/self/status";
    assert_eq!(code(script), 0);
    if is_root() {
        assert_eq!(code("grep -q 'CapBnd:.0*$' /proc/self/status"), 0);
    }
}

#[test]
fn a_kept_capability_is_held_and_no_other() {
    if !is_root() {
        eprintln!("skipped: a_kept_capability_is_held_and_no_other needs root");
        return;
    }
    let mut policy = policy(&[]);
    policy.capabilities = vec!["net_bind_service".to_owned()];
    let mut request = shell("grep -q 'CapEff:.0000000000000400' /proc/self/status");
    assert_eq!(run(&request, &policy, Engine::BpfLsm).unwrap().code, 0);
    request.user = Some(ringfence::confine::User::parse("65534:65534").unwrap());
    assert_eq!(run(&request, &policy, Engine::BpfLsm).unwrap().code, 0);
}

#[test]
fn another_user_has_its_ids_groups_and_home() {
    if !is_root() {
        eprintln!("skipped: another_user_has_its_ids_groups_and_home needs root");
        return;
    }
    let user = ringfence::confine::User::parse("nobody").unwrap();
    let mut request = shell(
        "test \"$(id -u):$(id -g):$(id -G)\" = 65534:65534:65534 && test $USER = nobody && test $HOME = /nonexistent",
    );
    request.user = Some(user);
    assert_eq!(run(&request, &policy(&[]), Engine::BpfLsm).unwrap().code, 0);
}

#[test]
fn the_command_stands_in_the_fences_cgroup_which_is_gone_afterwards() {
    let probe = Probe::new().unwrap();
    if probe.cgroup.is_none() {
        eprintln!("skipped: the_command_stands_in_the_fences_cgroup needs cgroup v2");
        return;
    }
    let place = place();
    let out = place.path().join("out");
    let request = shell(&format!("grep ^0:: /proc/self/cgroup > {}", out.display()));
    let plan = Plan::new(&request, &policy(&[]), Engine::BpfLsm, &probe).unwrap();
    let launched = plan.launch().unwrap();
    let cgroup = launched.cgroup().unwrap();
    let directory = cgroup.directory().to_path_buf();
    assert_eq!(cgroup.processes().unwrap(), [launched.pid()]);
    assert!(cgroup.id() > 1);
    let exit = launched.release().unwrap().wait(&[], |_| true).unwrap();
    assert_eq!(exit.code, 0);
    let seen = fs::read_to_string(&out).unwrap();
    let name = directory.file_name().unwrap().to_str().unwrap();
    assert!(seen.trim_end().ends_with(name), "{seen}");
    assert!(!directory.exists());
}

#[test]
fn what_outlives_the_command_is_ended_and_counted() {
    let started = std::time::Instant::now();
    let exit = run(
        &shell("sleep 60 & (setsid sleep 60 &) ; exit 3"),
        &policy(&[]),
        Engine::BpfLsm,
    )
    .unwrap();
    assert_eq!(exit.code, 3);
    assert!(exit.leftover >= 1, "{exit:?}");
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
fn what_outlives_the_command_is_waited_for_if_asked() {
    let place = place();
    let out = place.path().join("out");
    let mut request = shell(&format!(
        "(sleep 0.3; echo late > {}) & exit 3",
        out.display()
    ));
    request.wait_all = true;
    let exit = run(&request, &policy(&[]), Engine::BpfLsm).unwrap();
    assert_eq!((exit.code, exit.leftover), (3, 0));
    assert_eq!(fs::read_to_string(&out).unwrap(), "late\n");
}

#[test]
fn a_launch_that_is_not_released_leaves_nothing() {
    let probe = Probe::new().unwrap();
    let plan = Plan::new(&shell("exit 0"), &policy(&[]), Engine::BpfLsm, &probe).unwrap();
    let launched = plan.launch().unwrap();
    let pid = launched.pid();
    let directory = launched
        .cgroup()
        .map(|cgroup| cgroup.directory().to_path_buf());
    drop(launched);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(directory.is_none_or(|directory| !directory.exists()));
}

#[test]
fn a_command_whose_time_is_up_is_ended() {
    let mut policy = policy(&[]);
    policy.limits.wall_seconds = Some(1);
    let exit = run(&shell("sleep 60"), &policy, Engine::BpfLsm).unwrap();
    assert_eq!((exit.code, exit.timed_out), (124, true));
    // And one that does not listen.
    let exit = run(
        &shell("trap '' TERM; while :; do sleep 60; done"),
        &policy,
        Engine::BpfLsm,
    )
    .unwrap();
    assert_eq!((exit.code, exit.timed_out), (124, true));
}

#[test]
fn limits_are_set() {
    let mut policy = policy(&[]);
    policy.limits.open_files = Some(17);
    policy.limits.file_size = Some(1 << 20);
    let request = shell("test $(ulimit -n) = 17 && test $(ulimit -f) = 2048");
    assert_eq!(run(&request, &policy, Engine::BpfLsm).unwrap().code, 0);
}

#[test]
fn descriptors_of_the_caller_are_watched_while_waiting() {
    use std::io::{Read, Write};
    use std::os::fd::{AsFd, AsRawFd};
    let (mut read, mut write) = std::io::pipe().unwrap();
    let probe = Probe::new().unwrap();
    let plan = Plan::new(&shell("sleep 0.2"), &policy(&[]), Engine::BpfLsm, &probe).unwrap();
    let running = plan.launch().unwrap().release().unwrap();
    write.write_all(b"x").unwrap();
    drop(write);
    let watched = read.try_clone().unwrap();
    let mut heard = Vec::new();
    let exit = running
        .wait(&[watched.as_fd()], |descriptor| {
            assert_eq!(descriptor, watched.as_raw_fd());
            let mut bytes = [0; 8];
            let count = read.read(&mut bytes).unwrap();
            heard.extend_from_slice(&bytes[..count]);
            count != 0
        })
        .unwrap();
    assert_eq!((exit.code, heard.as_slice()), (0, b"x".as_slice()));
}

#[test]
fn the_plan_can_be_printed() {
    let probe = Probe::new().unwrap();
    let place = place();
    let mut rules = system();
    rules.push(tree(place.path(), ALL));
    let plan = Plan::new(&shell("true"), &policy(&rules), Engine::Fallback, &probe).unwrap();
    let text = plan.to_string();
    for part in [
        "new session keyring",
        "landlock domain of",
        "no new privileges",
        "seccomp filter of",
        "exec /usr/bin/sh",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    eprintln!("{text}");
}
