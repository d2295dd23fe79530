//! The confine room with real processes: what a launch gives, and what the fallback engine keeps closed.
//!
//! Runs without virtual machines. What needs root says so by name when it is skipped.

// A test's helpers end a test like its body does.
#![allow(clippy::unwrap_used)]

#[path = "gain.rs"]
mod gain;
#[path = "peers.rs"]
mod peers;
#[path = "rules.rs"]
mod rules;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringfence::confine::{Engine, Error, Exit, Plan, Probe, Request};
use ringfence::policy::{
    Degradation, Demand, FilePolicy, Grade, Limits, Mode, NetworkPolicy, Policy, ProgramPolicy,
    Protection, Syscalls,
};
use ringfence_abi::rights::{ALL, EXEC, READ, WRITE};
use ringfence_abi::surface::{self, Surfaces};
use rules::{Rule, automaton, deny, file, tree};

fn policy(rules: &[Rule]) -> Policy {
    Policy {
        profile: "test".to_owned(),
        files: FilePolicy {
            mode: Mode::Enforce,
            automaton: automaton(rules),
            ..FilePolicy::default()
        },
        network: NetworkPolicy::none(),
        capabilities: Vec::new(),
        kernel: Surfaces::NONE,
        syscalls: Syscalls::Default,
        privilege_gain: false,
        programs: Vec::new(),
        limits: Limits::default(),
        degradation: Degradation::default(),
    }
}

/// What a system's own programs need, and nothing else.
fn system() -> Vec<Rule> {
    let mut rules = vec![
        tree("/usr", READ | EXEC),
        tree("/etc", READ),
        tree("/proc", READ),
        tree("/dev", READ | WRITE),
        file("/", READ),
    ];
    for path in ["/bin", "/lib", "/lib64", "/sbin"] {
        rules.push(tree(path, READ | EXEC));
    }
    rules
}

fn request(command: &str, arguments: &[&str]) -> Request {
    Request {
        command: command.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        directory: "/".into(),
        ..Request::default()
    }
}

fn shell(script: &str) -> Request {
    request("sh", &["-c", script])
}

fn run(request: &Request, policy: &Policy, engine: Engine) -> Result<Exit, Error> {
    let probe = Probe::new()?;
    let plan = Plan::new(request, policy, engine, &probe)?;
    plan.launch()?.release()?.wait(&[], |_| true)
}

/// The exit code of a script with nothing but the launch around it.
fn code(script: &str) -> u8 {
    run(&shell(script), &policy(&[]), Engine::BpfLsm)
        .unwrap()
        .code
}

/// The exit code of a script behind the fallback engine.
fn fenced(script: &str, rules: &[Rule]) -> u8 {
    run(&shell(script), &policy(rules), Engine::Fallback)
        .unwrap()
        .code
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    place
}

fn copy(from: &str, to: &Path) {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
}

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
fn a_list_of_system_calls_is_all_there_is() {
    let mut policy = policy(&[]);
    let shell_needs = ["@system-service".to_owned()];
    let mut calls = ringfence::profile::syscall::expand(&shell_needs);
    policy.syscalls = Syscalls::Listed(calls.clone());
    let folder = place();
    let script = format!("mkdir {}/made", folder.path().display());
    assert_eq!(
        run(&shell(&script), &policy, Engine::BpfLsm).unwrap().code,
        0
    );
    calls.retain(|call| !call.starts_with("mkdir"));
    policy.syscalls = Syscalls::Listed(calls);
    let script = format!(
        "! mkdir {0}/more 2>{0}/said && grep -q 'not permitted' {0}/said",
        folder.path().display()
    );
    assert_eq!(
        run(&shell(&script), &policy, Engine::BpfLsm).unwrap().code,
        0
    );
}

#[test]
fn an_opened_surface_is_open_and_the_others_stay_closed() {
    if !is_root() {
        eprintln!("skipped: an_opened_surface_is_open needs root");
        return;
    }
    let mut policy = policy(&[]);
    policy.capabilities = vec!["sys_admin".to_owned()];
    let host = "unshare --uts sh -c true";
    let user = "unshare --user true";
    assert_ne!(run(&shell(host), &policy, Engine::BpfLsm).unwrap().code, 0);
    policy.kernel = surface::NAMESPACES;
    assert_eq!(run(&shell(host), &policy, Engine::BpfLsm).unwrap().code, 0);
    assert_ne!(run(&shell(user), &policy, Engine::BpfLsm).unwrap().code, 0);
    policy.kernel = surface::USERNS;
    assert_eq!(run(&shell(user), &policy, Engine::BpfLsm).unwrap().code, 0);
    assert_ne!(run(&shell(host), &policy, Engine::BpfLsm).unwrap().code, 0);
}

#[test]
fn signals_to_tasks_outside_are_open_where_the_profile_opens_them() {
    let mut outside = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let mut policy = policy(&system());
    let script = format!("kill -0 {}", outside.id());
    let probe = Probe::new().unwrap();
    if probe.landlock_abi >= 6 {
        assert_ne!(
            run(&shell(&script), &policy, Engine::Fallback)
                .unwrap()
                .code,
            0
        );
    } else {
        eprintln!("not tried: a closed signal, which needs Landlock ABI 6");
    }
    policy.kernel = surface::SIGNALS;
    let code = run(&shell(&script), &policy, Engine::Fallback)
        .unwrap()
        .code;
    outside.kill().unwrap();
    outside.wait().unwrap();
    assert_eq!(code, 0);
}

#[test]
fn an_opened_surface_that_landlock_closes_is_said_to_be_stricter() {
    let probe = Probe::new().unwrap();
    if probe.landlock_abi == 0 {
        eprintln!("skipped: an_opened_surface_that_landlock_closes needs Landlock");
        return;
    }
    let mut policy = policy(&system());
    let grade = |policy: &Policy, engine, protection| {
        let standings = ringfence::confine::standings(policy, engine, &probe, None).unwrap();
        let standing = standings
            .into_iter()
            .find(|one| one.protection == protection);
        let standing = standing.unwrap();
        (standing.grade, standing.reason)
    };
    for (open, protection, word) in [
        (surface::MOUNT, Protection::Syscalls, "mount"),
        (surface::PTRACE, Protection::Processes, "ptrace"),
    ] {
        policy.kernel = Surfaces::NONE;
        let closed = grade(&policy, Engine::Fallback, protection).1;
        assert!(!closed.contains(word), "{closed}");
        policy.kernel = open.union(surface::SIGNALS);
        let (found, reason) = grade(&policy, Engine::Fallback, protection);
        assert_eq!(found, Grade::Stricter);
        assert!(reason.contains(word), "{reason}");
        assert_eq!(grade(&policy, Engine::BpfLsm, protection).0, Grade::Exact);
    }
}

#[test]
fn programs_that_the_fallback_does_not_tell_apart_are_graded() {
    let probe = Probe::new().unwrap();
    if probe.landlock_abi == 0 {
        eprintln!("skipped: programs_that_the_fallback_does_not_tell_apart needs Landlock");
        return;
    }
    let mut wider = system();
    wider.push(file("/root", READ));
    let mut policy = policy(&system());
    let program = |rules: &[Rule], network| ProgramPolicy {
        path: "/usr/bin/tool".to_owned(),
        files: FilePolicy {
            mode: Mode::Enforce,
            automaton: automaton(rules),
            ..FilePolicy::default()
        },
        network,
        kernel: Surfaces::NONE,
    };
    let standing = |policy: &Policy, engine, protection| {
        let standings = ringfence::confine::standings(policy, engine, &probe, None).unwrap();
        let standing = standings
            .into_iter()
            .find(|one| one.protection == protection);
        standing.unwrap()
    };
    let grade = |policy: &Policy, protection| {
        let found = standing(policy, Engine::Fallback, protection);
        let said = found.reason.contains("/usr/bin/tool");
        (found.grade, said)
    };
    policy.programs = vec![program(&wider, NetworkPolicy::off())];
    assert_eq!(
        grade(&policy, Protection::FilesRead),
        (Grade::Stricter, true)
    );
    assert_eq!(grade(&policy, Protection::Network), (Grade::Stricter, true));
    assert!(!grade(&policy, Protection::FilesWrite).1);
    policy.programs = vec![program(&[file("/root", READ)], NetworkPolicy::none())];
    assert_eq!(grade(&policy, Protection::FilesRead), (Grade::Weaker, true));
    assert_eq!(grade(&policy, Protection::Exec), (Grade::Weaker, true));
    assert!(!grade(&policy, Protection::Network).1);
    for protection in Protection::ALL {
        let exact = standing(&policy, Engine::BpfLsm, protection);
        assert!(!exact.reason.contains("/usr/bin/tool"), "{protection}");
    }
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

mod fallback {
    use super::*;

    #[test]
    fn reads_what_is_listed_and_nothing_else() {
        let place = place();
        fs::write(place.path().join("open"), "o").unwrap();
        fs::write(place.path().join("closed"), "c").unwrap();
        let p = place.path().display();
        let rules = || {
            let mut rules = system();
            rules.push(file(place.path().join("open"), READ));
            rules
        };
        assert_eq!(fenced(&format!("cat {p}/open"), &rules()), 0);
        assert_ne!(fenced(&format!("cat {p}/closed"), &rules()), 0);
        assert_ne!(fenced(&format!("ls {p}"), &rules()), 0);
    }

    #[test]
    fn writes_below_what_is_listed_and_nowhere_else() {
        let place = place();
        let other = super::place();
        let (p, o) = (place.path().display(), other.path().display());
        let rules = || {
            let mut rules = system();
            rules.push(tree(place.path(), READ | WRITE));
            rules.push(tree(other.path(), READ));
            rules
        };
        let work = format!(
            "mkdir {p}/d && echo x > {p}/d/f && mv {p}/d/f {p}/g && chmod 600 {p}/g && rm -r {p}/d"
        );
        assert_eq!(fenced(&work, &rules()), 0);
        fs::write(other.path().join("f"), "f").unwrap();
        assert_ne!(fenced(&format!("echo x > {o}/new"), &rules()), 0);
        assert_ne!(fenced(&format!("echo x >> {o}/f"), &rules()), 0);
        assert_ne!(fenced(&format!("chmod 600 {o}/f"), &rules()), 0);
        assert_ne!(fenced(&format!("touch -d 2001-01-01 {o}/f"), &rules()), 0);
        assert_ne!(fenced(&format!("mv {o}/f {p}/f"), &rules()), 0);
        assert_ne!(fenced(&format!("rm {o}/f"), &rules()), 0);
        assert_eq!(fs::read_to_string(other.path().join("f")).unwrap(), "f");
    }

    #[test]
    fn a_denied_place_inside_an_allowed_one_stays_closed() {
        let place = place();
        fs::create_dir(place.path().join("secret")).unwrap();
        fs::write(place.path().join("secret/key"), "k").unwrap();
        fs::write(place.path().join("plain"), "p").unwrap();
        let p = place.path().display();
        let rules = || {
            let mut rules = system();
            rules.push(tree(place.path(), READ));
            rules.push(deny(place.path().join("secret")));
            rules
        };
        assert_eq!(fenced(&format!("cat {p}/plain"), &rules()), 0);
        assert_ne!(fenced(&format!("cat {p}/secret/key"), &rules()), 0);
        // What is around it can be listed, what is in it not.
        let script = format!("test \"$(echo $(ls {p}))\" = 'plain secret'");
        assert_eq!(fenced(&script, &rules()), 0);
        assert_ne!(fenced(&format!("ls {p}/secret"), &rules()), 0);
        let probe = Probe::new().unwrap();
        let standings =
            ringfence::confine::standings(&policy(&rules()), Engine::Fallback, &probe, None)
                .unwrap();
        let reading = standings
            .iter()
            .find(|one| one.protection == Protection::FilesRead)
            .unwrap();
        assert_eq!(reading.grade, Grade::Stricter);
        assert!(
            reading.reason.contains("does not exist yet"),
            "{}",
            reading.reason
        );
    }

    #[test]
    fn executes_what_is_listed_by_no_way_anything_else() {
        let place = place();
        let p = place.path().display();
        copy("/usr/bin/true", &place.path().join("listed"));
        copy("/usr/bin/true", &place.path().join("other"));
        fs::write(place.path().join("script"), "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(
            place.path().join("script"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        fs::create_dir(place.path().join("w")).unwrap();
        let rules = || {
            let mut rules = system();
            rules.push(tree(place.path(), READ));
            rules.push(file(place.path().join("listed"), READ | EXEC));
            rules.push(tree(place.path().join("w"), READ | WRITE));
            rules
        };
        let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap();
        assert_eq!(fenced(&format!("{p}/listed"), &rules()), 0);
        assert_eq!(fenced(&format!("{loader} {p}/listed"), &rules()), 0);
        assert_eq!(fenced(&format!("{p}/other"), &rules()), 126);
        assert_eq!(fenced(&format!("{p}/script"), &rules()), 126);
        assert_ne!(fenced(&format!("{loader} {p}/other"), &rules()), 0);
        assert_ne!(
            fenced(&format!("cp /usr/bin/true {p}/w/x && {p}/w/x"), &rules()),
            0
        );
        assert_ne!(
            fenced(
                &format!("cp /usr/bin/true {p}/w/y && {loader} {p}/w/y"),
                &rules()
            ),
            0
        );
    }

    #[test]
    fn a_file_in_memory_cannot_be_executed() {
        let attempt = "import os,sys\n\
                       try: fd = os.memfd_create('x', 0)\n\
                       except OSError: sys.exit(13)\n\
                       os.write(fd, open('/usr/bin/true','rb').read())\n\
                       os.execve(fd, ['x'], {})\n";
        let python = "/usr/bin/python3";
        if !Path::new(python).exists() {
            eprintln!("skipped: a_file_in_memory_cannot_be_executed needs {python}");
            return;
        }
        let exit = run(
            &request(python, &["-c", attempt]),
            &policy(&system()),
            Engine::Fallback,
        )
        .unwrap();
        assert_eq!(exit.code, 13);
        // The attempt itself works.
        let exit = run(
            &request(python, &["-c", attempt]),
            &policy(&[]),
            Engine::BpfLsm,
        )
        .unwrap();
        assert_eq!(exit.code, 0);
    }

    #[test]
    fn every_protection_holds_on_a_machine_with_landlock_and_namespaces() {
        let probe = Probe::new().unwrap();
        let mut policy = policy(&system());
        policy.degradation = Degradation {
            demands: BTreeMap::from([(Protection::Limits, Demand::BestEffort)]),
        };
        let standings =
            ringfence::confine::standings(&policy, Engine::Fallback, &probe, None).unwrap();
        assert_eq!(standings.len(), Protection::ALL.len());
        for standing in &standings {
            assert_eq!(
                standing.reason.is_empty(),
                standing.grade == Grade::Exact,
                "{standing:?}"
            );
        }
        let refused = policy.degradation.refused(&standings);
        assert!(refused.is_empty(), "{refused:?}");
    }

    #[test]
    fn tasks_outside_are_not_signalled() {
        let mut outside = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let exit = fenced(&format!("kill -KILL {}", outside.id()), &system());
        assert_ne!(exit, 0);
        assert!(outside.try_wait().unwrap().is_none());
        outside.kill().unwrap();
        outside.wait().unwrap();
    }
}

mod syscalls {
    use super::*;

    /// Tries one system call by number in the fence and returns its errno.
    fn attempt(call: &str, engine: Engine) -> u8 {
        let python = "/usr/bin/python3";
        let script = format!(
            "import ctypes,sys\nl=ctypes.CDLL(None,use_errno=True)\nr=l.syscall({call})\nsys.exit(ctypes.get_errno() if r<0 else 0)"
        );
        run(
            &request(python, &["-c", &script]),
            &policy(&system()),
            engine,
        )
        .unwrap()
        .code
    }

    #[test]
    fn what_manages_the_kernel_is_closed() {
        if !Path::new("/usr/bin/python3").exists() || !cfg!(target_arch = "x86_64") {
            eprintln!(
                "skipped: what_manages_the_kernel_is_closed needs x86_64 and /usr/bin/python3"
            );
            return;
        }
        let eperm = 1;
        let enosys = 38;
        let eacces = 13;
        for (call, errno) in [
            ("165, 0, 0, 0, 0, 0", eperm),                       // mount
            ("321, 0, 0, 0", eperm),                             // bpf
            ("467, 0, 0, 0, 0, 0", eperm),                       // open_tree_attr
            ("442, 0, 0, 0, 0, 0", eperm),                       // mount_setattr
            ("425, 1, 0", eperm),                                // io_uring_setup
            ("250, 0, 0, 0", eperm),                             // keyctl
            ("272, 0x10000000", eperm),                          // unshare(CLONE_NEWUSER)
            ("56, 0x10000011, 0, 0, 0, 0", eperm),               // clone(CLONE_NEWUSER)
            ("435, 0, 0", enosys),                               // clone3
            ("999, 0", enosys),                                  // not there
            ("0x40000000 + 39, 0", enosys),                      // x32
            ("16, 0, 0x5412, 0", eperm),                         // TIOCSTI
            ("16, 0, ctypes.c_ulong(0xdead00005412), 0", eperm), // TIOCSTI, with bits the kernel drops
            ("16, 0, 0x541c, 0", eperm),                         // TIOCLINUX
            ("135, 0x0400000", eperm),                           // personality(READ_IMPLIES_EXEC)
            ("41, 2, 1, 0", eacces),                             // socket(AF_INET)
            ("41, 16, 3, 0", eacces),                            // socket(AF_NETLINK)
            ("53, 2, 1, 0, 0", eacces),                          // socketpair(AF_INET)
        ] {
            assert_eq!(attempt(call, Engine::BpfLsm), errno, "{call}");
        }
        for call in [
            "135, ctypes.c_ulong(0xffffffff)",
            "135, 0x0040000",
            "41, 1, 1, 0",
            "272, 0x400",
            "39, 0",
        ] {
            assert_eq!(attempt(call, Engine::BpfLsm), 0, "{call}");
        }
        assert_eq!(attempt("41, 1, 1, 0", Engine::Fallback), eacces);
    }
}

/// Set for a process that is to be a supervisor: the script to run in the fence.
const SCRIPT: &str = "RINGFENCE_TEST_SCRIPT";

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
        .args(["--exact", "as_supervisor", "--nocapture"])
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

mod terminal {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::process::CommandExt;
    use std::time::{Duration, Instant};

    /// A person at a terminal with a shell.
    struct Person {
        master: fs::File,
        shell: std::process::Child,
        seen: String,
        from: usize,
    }

    impl Person {
        fn sit_down() -> Option<Self> {
            if !Path::new("/bin/bash").exists() {
                eprintln!("skipped: tests of the terminal need /bin/bash");
                return None;
            }
            let pty = nix::pty::openpty(None, None).unwrap();
            let mut command = std::process::Command::new("/bin/bash");
            command
                .args(["--norc", "--noprofile", "-i"])
                .env("PS1", "outer> ")
                .env("TERM", "dumb");
            command.env("EXE", std::env::current_exe().unwrap());
            command.stdin(pty.slave.try_clone().unwrap());
            command.stdout(pty.slave.try_clone().unwrap());
            command.stderr(pty.slave);
            // SAFETY: two system calls, of numbers only.
            #[expect(clippy::multiple_unsafe_ops_per_block)]
            unsafe {
                command.pre_exec(|| {
                    nix::unistd::setsid()?;
                    // The terminal of a new session is the first that is asked for.
                    match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                })
            };
            let shell = command.spawn().unwrap();
            drop(command);
            let mut person = Self {
                master: pty.master.into(),
                shell,
                seen: String::new(),
                from: 0,
            };
            person.sees("outer> ");
            Some(person)
        }

        fn foreground(&self) -> nix::unistd::Pid {
            nix::unistd::tcgetpgrp(&self.master).unwrap()
        }

        /// Types a line that starts or continues a job, and waits until that has the terminal: before, a key for it
        /// would go to the shell.
        fn hands_over(&mut self, line: &str, echo: &str) {
            let shell = self.foreground();
            self.types(line);
            self.sees(echo);
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.foreground() == shell {
                assert!(
                    Instant::now() < deadline,
                    "the terminal was never handed over"
                );
                std::thread::yield_now();
            }
        }

        /// Waits until `program` leads the foreground and runs. A stop key before that is lost: the continuing signal of
        /// `fg` clears it (kernel/signal.c, 6.12: `prepare_signal`).
        fn waits_for(&self, program: &str) {
            let deadline = Instant::now() + Duration::from_secs(20);
            let runs = || {
                let stat = fs::read_to_string(format!("/proc/{}/stat", self.foreground()));
                stat.is_ok_and(|stat| {
                    stat.contains(&format!("({program}) ")) && !stat.contains(") T ")
                })
            };
            while !runs() {
                assert!(Instant::now() < deadline, "{program} never ran");
                std::thread::yield_now();
            }
        }

        fn types(&mut self, text: &str) {
            self.master.write_all(text.as_bytes()).unwrap();
        }

        fn starts(&mut self, script: &str, rest: &str) {
            let line =
                format!("{SCRIPT}='{script}' $EXE --exact as_supervisor --nocapture {rest}\n");
            self.types(&line);
            // Its echo.
            self.sees("--nocapture");
        }

        /// Waits for text that was not seen before.
        fn sees(&mut self, text: &str) {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                if let Some(at) = self.seen[self.from..].find(text) {
                    self.from += at + text.len();
                    return;
                }
                let left = deadline.saturating_duration_since(Instant::now());
                assert!(!left.is_zero(), "never saw {text:?} in {:?}", self.seen);
                use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
                let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
                let patience = PollTimeout::try_from(left).unwrap();
                if poll(&mut fds, patience).unwrap() == 1 {
                    let mut bytes = [0; 4096];
                    let count = self.master.read(&mut bytes).unwrap();
                    self.seen
                        .push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            }
        }
    }

    impl Drop for Person {
        fn drop(&mut self) {
            self.shell.kill().unwrap();
            self.shell.wait().unwrap();
        }
    }

    #[test]
    fn a_shell_inside_has_job_control() {
        let Some(mut person) = Person::sit_down() else {
            return;
        };
        person.starts("exec bash --norc --noprofile -i", "");
        person.sees("inner> ");
        assert!(!person.seen.contains("no job control"), "{}", person.seen);
        // It says when it runs: until its exec it ignores the key, as the shell that it is still a copy of does.
        person.types("sh -c \"echo u''p; exec sleep 60\"\n");
        person.sees("up");
        person.types("\x1a");
        person.sees("Stopped");
        person.sees("inner> ");
        person.hands_over("fg\n", "exec sleep 60");
        person.types("\x03");
        person.sees("inner> ");
        person.types("exit 5\n");
        person.sees("outer> ");
        person.types("echo code=$?\n");
        person.sees("code=5");
    }

    #[test]
    fn the_whole_fence_can_be_stopped_and_continued() {
        let Some(mut person) = Person::sit_down() else {
            return;
        };
        person.starts("echo rea\"\"dy; exec sleep 60", "");
        person.sees("ready");
        person.types("\x1a");
        person.sees("Stopped");
        person.sees("outer> ");
        person.hands_over("fg\n", "nocapture");
        person.waits_for("sleep");
        person.types("\x1a");
        person.sees("Stopped");
        person.sees("outer> ");
        person.hands_over("fg\n", "nocapture");
        person.types("\x03");
        person.sees("outer> ");
        person.types("echo code=$?\n");
        person.sees("code=130");
    }

    #[test]
    fn a_pipeline_keeps_the_terminal_together() {
        let Some(mut person) = Person::sit_down() else {
            return;
        };
        person.starts(
            "trap \"echo g\"\"ot; exit 7\" INT; sleep 60 & echo rea\"\"dy; wait",
            "| (trap \"\" INT; cat)",
        );
        person.sees("ready");
        person.types("\x1a");
        person.sees("Stopped");
        person.sees("outer> ");
        person.hands_over("fg\n", "cat )");
        person.types("\x03");
        person.sees("got");
        person.sees("outer> ");
    }

    #[test]
    fn the_modes_of_the_terminal_are_as_before() {
        let Some(mut person) = Person::sit_down() else {
            return;
        };
        person.starts("stty -echo -icanon; exit 3", "");
        person.sees("outer> ");
        person.types("stty -a | grep -o \"[-]*echo \"; echo done\n");
        person.sees("done");
        person.sees("echo");
        person.sees("done");
        assert!(!person.seen.contains("-echo \r"), "{}", person.seen);
    }
}

/// Where a copy of this test lies that an ordinary user can run.
fn own_copy(place: &Path) -> PathBuf {
    let copy = place.join("confine-test");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn everything_above_holds_for_an_ordinary_user_too() {
    if !is_root() {
        return;
    }
    let place = place();
    let copy = own_copy(place.path());
    let mut command = std::process::Command::new(copy);
    let tmp = place.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    command.env("TMPDIR", &tmp).current_dir("/");
    // Without a cgroup the fence is what descends from this process: one at a time.
    command.arg("--test-threads=1");
    // Root's capabilities go with the change of user.
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    std::os::unix::process::CommandExt::gid(&mut command, 65534);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `cargo test --release --test confine -- --ignored --nocapture start_up`
#[test]
#[ignore = "a measurement, not a test"]
fn start_up_costs_this_much() {
    let place = place();
    let mut rules = system();
    rules.push(tree(place.path(), ALL));
    let policy = policy(&rules);
    let request = request("/usr/bin/true", &[]);
    fn median(mut run: impl FnMut()) -> u128 {
        let mut times: Vec<_> = (0..200)
            .map(|_| {
                let start = std::time::Instant::now();
                run();
                start.elapsed().as_micros()
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    }
    let native = median(|| {
        assert!(
            std::process::Command::new("/usr/bin/true")
                .status()
                .unwrap()
                .success()
        );
    });
    println!("native spawn and wait: {native} us");
    println!("probe: {} us", median(|| drop(Probe::new().unwrap())));
    let probe = Probe::new().unwrap();
    for engine in [Engine::BpfLsm, Engine::Fallback] {
        let plan = median(|| drop(Plan::new(&request, &policy, engine, &probe).unwrap()));
        println!("{engine:?}: plan {plan} us");
        let mut phases = Vec::new();
        let whole = median(|| {
            let plan = Plan::new(&request, &policy, engine, &probe).unwrap();
            let start = std::time::Instant::now();
            let launched = plan.launch().unwrap();
            let after_launch = start.elapsed().as_micros();
            let running = launched.release().unwrap();
            let after_release = start.elapsed().as_micros();
            let exit = running.wait(&[], |_| true).unwrap();
            phases.push([
                after_launch,
                after_release - after_launch,
                start.elapsed().as_micros() - after_release,
            ]);
            assert_eq!(exit.code, 0);
        });
        for (phase, name) in ["launch", "release to exec", "run, end and clean up"]
            .iter()
            .enumerate()
        {
            phases.sort_unstable_by_key(|times| times[phase]);
            println!("{engine:?}: {name} {} us", phases[phases.len() / 2][phase]);
        }
        println!("{engine:?}: plan, launch, wait {whole} us");
    }
}
