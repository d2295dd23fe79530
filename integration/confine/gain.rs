//! Set-user-id programs: without effect by default, and where the profile lets them gain, with the fence standing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringfence::confine::{Engine, Error, Plan, Probe, User};
use ringfence::policy::Policy;
use ringfence_abi::rights::{EXEC, READ};

use crate::kit::{copy, is_root, place, policy, request, run, system};
use crate::rules::{Rule, file, tree};

/// A copy of `program` that runs as root for everybody.
fn set_user_id(program: &str, folder: &Path) -> PathBuf {
    let name = Path::new(program).file_name().unwrap();
    let path = folder.join(name);
    copy(program, &path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    path
}

fn rules(folder: &Path) -> Vec<Rule> {
    let mut rules = system();
    rules.push(tree(folder.to_str().unwrap(), READ | EXEC));
    rules
}

fn gaining(rules: &[Rule]) -> Policy {
    let mut policy = policy(rules);
    policy.privilege_gain = true;
    policy
}

/// What `program` with `arguments` prints as the user nobody.
fn printed(program: &Path, arguments: &str, policy: &Policy, engine: Engine) -> (u8, String) {
    let folder = place();
    let out = folder.path().join("out");
    fs::write(&out, "").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o666)).unwrap();
    // The descriptor is passed on, so that nothing needs to be written inside.
    let file = fs::OpenOptions::new().write(true).open(&out).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    // SAFETY: a descriptor of this function, which loses its close-on-exec flag.
    unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
    let script = format!("{} {arguments} >&{number}", program.display());
    let mut request = request("bash", &["-c", &script]);
    request.user = Some(User::parse("65534:65534").unwrap());
    request.keep = vec![number];
    let exit = run(&request, policy, engine).unwrap();
    (exit.code, fs::read_to_string(&out).unwrap())
}

fn status_line<'a>(status: &'a str, key: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key} in {status}"))
        .trim()
}

#[test]
fn a_set_user_id_program_gains_nothing_by_default_and_root_where_it_is_allowed() {
    if !is_root() {
        eprintln!("skipped: a_set_user_id_program_gains_nothing_by_default needs root");
        return;
    }
    let folder = place();
    let id = set_user_id("/usr/bin/id", folder.path());
    let rules = rules(folder.path());
    for engine in [Engine::BpfLsm, Engine::Fallback] {
        let plain = printed(&id, "-u", &policy(&rules), engine);
        assert_eq!(plain, (0, "65534\n".to_owned()), "{engine:?}");
        let gained = printed(&id, "-u", &gaining(&rules), engine);
        assert_eq!(gained, (0, "0\n".to_owned()), "{engine:?}");
    }
}

#[test]
fn a_program_that_gains_has_at_most_the_capabilities_that_are_kept() {
    if !is_root() {
        eprintln!("skipped: a_program_that_gains_has_at_most_the_capabilities needs root");
        return;
    }
    let folder = place();
    let cat = set_user_id("/usr/bin/cat", folder.path());
    let mut policy = gaining(&rules(folder.path()));
    for (kept, mask) in [
        (vec![], "0000000000000000"),
        (vec!["net_bind_service".to_owned()], "0000000000000400"),
    ] {
        policy.capabilities = kept;
        for engine in [Engine::BpfLsm, Engine::Fallback] {
            let (code, status) = printed(&cat, "/proc/self/status", &policy, engine);
            assert_eq!(code, 0, "{engine:?}");
            for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
                assert_eq!(status_line(&status, set), mask, "{engine:?} {set}");
            }
            assert_eq!(status_line(&status, "Uid:").split('\t').nth(1), Some("0"));
            assert_eq!(status_line(&status, "NoNewPrivs:"), "0");
            assert_eq!(status_line(&status, "Seccomp:"), "2", "{engine:?}");
            // The program that does not gain holds what is kept, and not what the launch needed.
            let (_, status) = printed(
                Path::new("/usr/bin/cat"),
                "/proc/self/status",
                &policy,
                engine,
            );
            for set in ["CapPrm:", "CapEff:", "CapInh:", "CapBnd:", "CapAmb:"] {
                assert_eq!(status_line(&status, set), mask, "{engine:?} {set}");
            }
        }
    }
}

#[test]
fn a_program_that_gains_is_held_to_the_rules() {
    if !is_root() {
        eprintln!("skipped: a_program_that_gains_is_held_to_the_rules needs root");
        return;
    }
    let folder = place();
    let cat = set_user_id("/usr/bin/cat", folder.path());
    let secret = place();
    let path = secret.path().join("secret");
    fs::write(&path, "secret").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut rules = rules(folder.path());
    let read = |rules: &[Rule]| {
        let arguments = path.display().to_string();
        printed(&cat, &arguments, &gaining(rules), Engine::Fallback)
    };
    assert_eq!(read(&rules), (1, String::new()));
    // Root's own file, which nobody else could read: the rule was all that was missing.
    rules.push(file(path.to_str().unwrap(), READ));
    assert_eq!(read(&rules), (0, "secret".to_owned()));
}

#[test]
fn a_caller_that_cannot_let_gain_is_told_so() {
    let asked = std::thread::spawn(|| {
        // Of this thread alone.
        caps::clear(None, caps::CapSet::Effective).unwrap();
        caps::clear(None, caps::CapSet::Permitted).unwrap();
        let probe = Probe::new().unwrap();
        let request = request("true", &[]);
        Plan::new(&request, &gaining(&[]), Engine::BpfLsm, &probe).map(|_| ())
    });
    let error = asked.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::PrivilegeGain), "{error}");
    assert_eq!(error.exit_code(), 125);
    assert!(error.to_string().contains("--user"), "{error}");
}
