//! `[kernel]`, `[process]`, and what `off` means in `[protection]`.

use super::*;

use ringfence::policy::Syscalls;
use ringfence_abi::surface::{MOUNT, PTRACE, SCHEDULER, SIGNALS, USERNS};

#[test]
fn surfaces_add_up_and_know_where_they_were_opened() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("base.toml", "version = 1\n[kernel]\nallow = [\"mount\"]\n");
    write(
        "own.toml",
        "version = 1\nextends = [\"./base.toml\"]\n[kernel]\nallow = [\"userns\", \"mount\"]\n",
    );
    let own: OsString = folder.path().join("own.toml").into();
    let effective = load(std::slice::from_ref(&own), CommandLine::default()).unwrap();
    let (policy, _) = compile(&effective, &variables(), &no_links).unwrap();
    assert_eq!(policy.kernel, MOUNT.union(USERNS));
    let request = Request {
        profiles: vec![own],
        variables: variables(),
        ..Request::default()
    };
    let mut out = Vec::new();
    show(request, false, &mut out).unwrap();
    let shown = String::from_utf8(out).unwrap();
    let openings = shown.split("[kernel]").nth(1).unwrap();
    assert!(
        openings.contains("own.toml:4:10\n    \"userns\""),
        "{shown}"
    );
    assert!(
        openings.contains("base.toml:3:10\n    \"mount\""),
        "{shown}"
    );
}

#[test]
fn nothing_of_the_kernel_is_open_by_default() {
    for shipped in profile::shipped::ALL {
        let effective = load(&[shipped.name.into()], CommandLine::default()).unwrap();
        assert!(effective.kernel.is_empty(), "{}", shipped.name);
        assert!(!effective.privilege_gain, "{}", shipped.name);
    }
}

fn listed(text: &str) -> Vec<&'static str> {
    match policy(text).syscalls {
        Syscalls::Listed(calls) => calls,
        Syscalls::Default => panic!("no list: {text}"),
    }
}

#[test]
fn a_list_of_system_calls_holds_names_and_groups_in_groups() {
    let calls = listed("version = 1\n[process]\nsyscalls = [\"@system-service\", \"mount\"]\n");
    for call in ["mount", "openat", "futex", "sendfile"] {
        assert!(calls.contains(&call), "{call}");
    }
    assert!(!calls.contains(&"umount2"));
    let default = policy("version = 1\n[process]\nsyscalls = \"default\"\n");
    assert_eq!(default.syscalls, Syscalls::Default);
    assert_eq!(
        policy(&files("read = [\"/x\"]")).syscalls,
        Syscalls::Default
    );
}

#[test]
fn lists_of_system_calls_add_up_and_default_takes_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "base.toml",
        "version = 1\n[process]\nsyscalls = [\"read\"]\n",
    );
    let joined = |own: &str| {
        write(
            "own.toml",
            &format!("version = 1\nextends = [\"./base.toml\"]\n[process]\nsyscalls = {own}\n"),
        );
        let effective = load(
            &[folder.path().join("own.toml").into()],
            CommandLine::default(),
        );
        let (policy, _) = compile(&effective.unwrap(), &variables(), &no_links).unwrap();
        policy.syscalls
    };
    assert_eq!(
        joined("[\"openat\"]"),
        Syscalls::Listed(vec!["openat", "read"])
    );
    assert_eq!(joined("\"default\""), Syscalls::Default);
}

#[test]
fn a_wrong_name_is_refused_with_its_place_and_the_nearest() {
    for (lines, message, help) in [
        (
            "[kernel]\nallow = [\"user-ns\"]",
            "no part of the kernel is called `user-ns`",
            "`userns`",
        ),
        (
            "[kernel]\nallow = [\"everything\"]",
            "`everything`",
            "known: bpf, perf",
        ),
        (
            "[kernel]\nalow = []",
            "unknown key `alow` in [kernel]",
            "`allow`",
        ),
        (
            "[process]\nsyscalls = [\"opnat\"]",
            "no system call is called `opnat`",
            "`openat`",
        ),
        (
            "[process]\nsyscalls = [\"@network\"]",
            "no group of system calls is called `@network`",
            "`@network-io`",
        ),
        (
            "[process]\nsyscalls = \"all\"",
            "`syscalls` is \"all\"",
            "\"default\", or a list",
        ),
        ("[process]\nsyscalls = []", "allows none", "\"default\""),
        (
            "[process]\nallow-privilege-gain = \"yes\"",
            "is a string",
            "true or false",
        ),
    ] {
        let error = refusal(&format!("version = 1\n{lines}\n"));
        assert!(
            error.contains(message) && error.contains("ci.toml:3:"),
            "{error}"
        );
        assert!(
            error
                .split("= help:")
                .nth(1)
                .unwrap_or_default()
                .contains(help),
            "{error}"
        );
    }
}

#[test]
fn privilege_gain_is_off_unless_the_profile_allows_it() {
    assert!(!policy(&files("read = [\"/x\"]")).privilege_gain);
    let text = "version = 1\n[process]\nallow-privilege-gain = true\n";
    assert!(policy(text).privilege_gain);
}

#[test]
fn what_is_off_is_not_applied() {
    let off = |key: &str| policy(&format!("version = 1\n[protection]\n{key} = \"off\"\n"));
    assert_eq!(off("files").files.mode, Mode::Off);
    assert!(off("network").network.is_off());
    assert!(off("privilege-gain").privilege_gain);
    let tasks = PTRACE.union(SIGNALS).union(SCHEDULER);
    assert_eq!(off("processes").kernel, tasks);
    assert!(!off("files").network.is_off());
    // It demands nothing, and so accepts nothing less elsewhere.
    assert!(off("files").degradation.demands.is_empty());
}

#[test]
fn an_off_that_would_mean_nothing_clear_is_refused_with_the_way_out() {
    for (key, help) in [
        ("all", "name what is not wanted"),
        ("files-read", "allow `/**` under files.read"),
        ("files-write", "files.write"),
        ("files-metadata", "files.write"),
        ("exec", "files.exec"),
        ("capabilities", "[process] capabilities"),
        ("syscalls", "[kernel] allow"),
        ("limits", "leave the limits out"),
    ] {
        let error = refusal(&format!("version = 1\n[protection]\n{key} = \"off\"\n"));
        assert!(
            error.contains("cannot be off") && error.contains("ci.toml:3:"),
            "{error}"
        );
        assert!(error.contains(help), "{error}");
    }
    let error =
        refusal("version = 1\n[protection]\nfiles = \"off\"\n[files]\nmode = \"enforce\"\n");
    assert!(
        error.contains("on where the profile speaks of it"),
        "{error}"
    );
}

#[test]
fn a_variable_that_uses_its_old_value_has_it_once() {
    let text =
        "version = 1\n[variables]\nCACHE = \"${CACHE}/mine\"\n[files]\nwrite = [\"${CACHE}/**\"]\n";
    let policy = policy(text);
    assert_eq!(rights(&policy, "/home/user/.cache/mine/x"), WRITE);
    assert_eq!(rights(&policy, "/home/user/.cache/mine/mine"), WRITE);
    assert_eq!(rights(&policy, "/home/user/.cache/x"), 0);
}
