//! What the subjects share: a policy from rules, a command, and a run of it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ringfence::confine::{Engine, Error, Exit, Plan, Probe, Request};
use ringfence::policy::{Degradation, FilePolicy, Limits, Mode, NetworkPolicy, Policy, Syscalls};
use ringfence_abi::rights::{EXEC, READ, WRITE};
use ringfence_abi::surface::Surfaces;

use crate::rules::{Rule, automaton, file, tree};

pub(crate) fn policy(rules: &[Rule]) -> Policy {
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
pub(crate) fn system() -> Vec<Rule> {
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

pub(crate) fn request(command: &str, arguments: &[&str]) -> Request {
    Request {
        command: command.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        directory: "/".into(),
        ..Request::default()
    }
}

pub(crate) fn shell(script: &str) -> Request {
    request("sh", &["-c", script])
}

pub(crate) fn run(request: &Request, policy: &Policy, engine: Engine) -> Result<Exit, Error> {
    let probe = Probe::new()?;
    let plan = Plan::new(request, policy, engine, &probe)?;
    plan.launch()?.release()?.wait(&[], |_| true)
}

/// The exit code of a script with nothing but the launch around it.
pub(crate) fn code(script: &str) -> u8 {
    run(&shell(script), &policy(&[]), Engine::BpfLsm)
        .unwrap()
        .code
}

/// The exit code of a script behind the fallback engine.
pub(crate) fn fenced(script: &str, rules: &[Rule]) -> u8 {
    run(&shell(script), &policy(rules), Engine::Fallback)
        .unwrap()
        .code
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(crate) fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    place
}

pub(crate) fn copy(from: &str, to: &Path) {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
}
