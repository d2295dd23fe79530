//! Surfaces of the kernel that a profile opens or closes, and what is said of them.

use ringfence::confine::{Engine, Probe};
use ringfence::policy::{
    FilePolicy, Grade, Mode, NetworkPolicy, Policy, ProgramPolicy, Protection, Syscalls,
};
use ringfence_abi::rights::READ;
use ringfence_abi::surface::{self, Surfaces};

use crate::kit::{is_root, place, policy, run, shell, system};
use crate::rules::{Rule, automaton, file};

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
        (standing.grade, standing.why())
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
        let said = found.why().contains("/usr/bin/tool");
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
        assert!(!exact.why().contains("/usr/bin/tool"), "{protection}");
    }
}
