//! The command line from the outside: what bad input gives, and the verbs that run nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

/// One run of the program in a folder of its own.
fn run(words: &[&str]) -> (Option<i32>, String, String) {
    run_in(&TempDir::new().unwrap(), words)
}

fn run_in(folder: &TempDir, words: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(words)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("XDG_STATE_HOME", folder.path().join("state"))
        .output()
        .unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// It ends with 125, says all of this, and nothing on standard output.
fn refuses(words: &[&str], complaints: &[&str]) {
    let (code, out, err) = run(words);
    assert_eq!(code, Some(125), "{words:?}: {err}");
    assert_eq!(out, "", "{words:?}");
    for complaint in complaints {
        assert!(
            err.contains(complaint),
            "{words:?}: no {complaint:?} in {err}"
        );
    }
}

/// With a profile of this text as `wrong.toml`.
fn refuses_profile(text: &str, complaints: &[&str]) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("wrong.toml"), text).unwrap();
    for verb in [
        &["run", "-p", "./wrong.toml", "--", "true"][..],
        &["profile", "show", "-p", "./wrong.toml"],
        &["profile", "test", "-p", "./wrong.toml", "/x"],
    ] {
        let (code, out, err) = run_in(&folder, verb);
        assert_eq!(code, Some(125), "{verb:?}: {err}");
        assert_eq!(out, "", "{verb:?}");
        for complaint in complaints {
            assert!(
                err.contains(complaint),
                "{verb:?}: no {complaint:?} in {err}"
            );
        }
    }
}

#[test]
fn an_unknown_verb_is_refused_with_the_nearest() {
    refuses(&["rum", "--", "true"], &["rum", "run"]);
}

#[test]
fn an_unknown_option_is_refused_with_the_nearest_and_is_not_the_command() {
    refuses(
        &["run", "--wirte", ".", "--", "true"],
        &["--wirte", "--write"],
    );
}

#[test]
fn an_option_of_the_command_is_the_commands() {
    let (code, _, err) = run(&[
        "run",
        "--dry-run",
        "--best-effort",
        "all",
        "sh",
        "--write",
        "x",
    ]);
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn no_command_is_refused() {
    refuses(&["run"], &["COMMAND"]);
}

#[test]
fn an_unknown_profile_is_refused_by_name() {
    refuses(&["run", "-p", "pyhton", "--", "true"], &["pyhton"]);
}

#[test]
fn an_unknown_capability_is_refused_with_the_nearest() {
    refuses(
        &["run", "--capability", "net_bind_servic", "--", "true"],
        &["net_bind_servic", "did you mean `net_bind_service`?"],
    );
}

#[test]
fn an_unknown_protection_is_refused_with_the_known_ones() {
    refuses(
        &["run", "--best-effort", "flies", "--", "true"],
        &["flies", "files-read", "all"],
    );
}

#[test]
fn a_wrong_limit_is_refused() {
    refuses(
        &["run", "--memory", "2 elephants", "--", "true"],
        &["memory"],
    );
    refuses(&["run", "--time", "soon", "--", "true"], &["time"]);
    refuses(&["run", "--pids", "few", "--", "true"], &["--pids"]);
    refuses(&["run", "--pids", "0", "--", "true"], &["--pids", "0"]);
    refuses(
        &["run", "--open-files", "0", "--", "true"],
        &["--open-files", "0"],
    );
}

#[test]
fn an_unknown_part_of_the_kernel_or_system_call_is_refused_with_the_nearest() {
    for (words, complaints) in [
        (
            ["--allow-kernel", "usrns"],
            ["part of the kernel `usrns`", "`userns`"],
        ),
        (
            ["--syscalls", "read,opnat"],
            ["system call `opnat`", "`openat`"],
        ),
        (
            ["--syscalls", "@network"],
            ["group of system calls `@network`", "`@network-io`"],
        ),
    ] {
        let [option, value] = words;
        refuses(&["run", option, value, "--", "true"], &complaints);
    }
}

#[test]
fn flags_of_process_and_kernel_mean_what_the_profile_says() {
    let (code, out, err) = run(&[
        "profile",
        "show",
        "-p",
        "base",
        "--allow-kernel",
        "userns,mount",
        "--syscalls",
        "@system-service,ptrace",
        "--allow-privilege-gain",
    ]);
    assert_eq!(code, Some(0), "{err}");
    for line in [
        "syscalls = [\"@system-service\", \"ptrace\"]",
        "allow-privilege-gain = true",
        "    # command line\n    \"userns\",",
    ] {
        assert!(out.contains(line), "no {line:?} in {out}");
    }
}

#[test]
fn a_wrong_rule_of_the_command_line_is_refused() {
    refuses(&["run", "--read", "", "--", "true"], &[]);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest() {
    refuses_profile(
        "version = 1\n[files]\nwirte = [\"/x\"]\n",
        &["wirte", "wrong.toml:3", "write"],
    );
}

#[test]
fn a_wrong_pattern_is_refused_with_its_place() {
    refuses_profile(
        "version = 1\n[files]\nread = [\"/x[\"]\n",
        &["/x[", "wrong.toml:3"],
    );
}

#[test]
fn an_unset_variable_is_refused_by_name() {
    refuses_profile(
        "version = 1\n[files]\nread = [\"${NOWHERE}/x\"]\n",
        &["NOWHERE"],
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for words in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let (code, out, err) = run(words);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
        assert!(out.contains("ringfence"), "{words:?}");
    }
}

#[test]
fn the_help_of_each_verb_begins_with_what_the_list_says_of_it() {
    for words in [&[][..], &["profile"], &["oci"]] {
        let (_, list, _) = run(&[words, &["--help"]].concat());
        let lines = list.lines().skip_while(|line| *line != "Commands:");
        let lines = lines.skip(1).take_while(|line| !line.is_empty());
        for line in lines.filter(|line| !line.starts_with("   ")) {
            let (verb, does) = line.trim().split_once("  ").unwrap();
            if verb == "help" {
                continue;
            }
            let (_, help, _) = run(&[words, &[verb, "--help"]].concat());
            assert!(help.starts_with(does.trim()), "{verb}: {help}");
        }
    }
}

#[test]
fn the_test_verb_says_yes_with_0_and_no_with_1() {
    let test = ["profile", "test", "-p", "untrusted"];
    let (code, out, _) = run(&[&test[..], &["--read", "/etc/passwd"]].concat());
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("by read rule `/etc/{passwd"), "{out}");
    let (code, out, _) = run(&[&test[..], &["--read", "/etc/shadow"]].concat());
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("deny"), "{out}");
    let (code, out, _) = run(&[&test[..], &["--write", "/etc/passwd"]].concat());
    assert_eq!(code, Some(1), "{out}");
}

#[test]
fn a_secret_is_one_in_each_of_the_places_where_its_program_keeps_it() {
    let folder = TempDir::new().unwrap();
    for path in [
        ".mozilla/firefox/x.default/logins.json",
        ".config/mozilla/firefox/x.default/logins.json",
        ".composer/auth.json",
        ".config/composer/auth.json",
        ".gem/credentials",
        ".local/share/gem/credentials",
        ".erlang.cookie",
        ".cache/huggingface/token",
    ] {
        let path = folder.path().join(path);
        let test = ["profile", "test", "-p", "untrusted", "--read"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .args(test)
            .arg(&path)
            .current_dir(&folder)
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME");
        let out = command.output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains("deny rule"), "{}: {said}", path.display());
    }
}

#[test]
fn what_is_shown_is_a_profile_that_says_the_same() {
    let folder = TempDir::new().unwrap();
    for name in ["untrusted", "python", "git", "c-build", "shell"] {
        let (code, shown, err) = run_in(&folder, &["profile", "show", "-p", name]);
        assert_eq!(code, Some(0), "{err}");
        fs::write(folder.path().join("shown.toml"), &shown).unwrap();
        let again = [
            "profile",
            "test",
            "-p",
            "./shown.toml",
            "--read",
            "/etc/passwd",
        ];
        assert_eq!(run_in(&folder, &again).0, Some(0), "{name}");
        let denied = [
            "profile",
            "test",
            "-p",
            "./shown.toml",
            "--read",
            "/etc/shadow",
        ];
        assert_eq!(run_in(&folder, &denied).0, Some(1), "{name}");
    }
}

#[test]
fn what_is_shown_as_json_is_json() {
    let (_, out, _) = run(&["profile", "show", "-p", "git", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["name"], "git");
}

#[test]
fn the_list_names_every_shipped_profile() {
    let (code, out, _) = run(&["profile", "list"]);
    assert_eq!(code, Some(0));
    for name in [
        "base",
        "coreutils",
        "untrusted",
        "python",
        "git",
        "c-build",
        "shell",
    ] {
        assert!(
            out.lines()
                .any(|line| line.split_whitespace().next() == Some(name)),
            "no {name} in {out}"
        );
    }
}

#[test]
fn the_schema_is_a_schema() {
    let (code, out, _) = run(&["profile", "schema"]);
    assert_eq!(code, Some(0));
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(value["properties"]["files"].is_object(), "{out}");
}

#[test]
fn without_a_last_run_there_is_nothing_to_explain() {
    refuses(&["why"], &["no last run"]);
}

const EXPORTED: &str = "version = 1\nname = \"mine\"\n[files]\nread = [\"/usr/share/*.d/**\", \"/etc/hosts\"]\nwrite = [\"/tmp\"]\n\
                        deny = [\"/etc/[a-c]x\"]\n[process]\ncapabilities = [\"chown\"]\n[kernel]\nallow = [\"mount\"]\n\
                        [network]\nconnect = [\"a.test:443\"]\n[limits]\nmemory = \"1MiB\"\n";

/// The exported text, after what is lost has been refused and named.
fn exported(flag: &str, lost: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("mine.toml"), EXPORTED).unwrap();
    let words = ["profile", "export", flag, "-p", "./mine.toml"];
    let (code, out, err) = run_in(&folder, &words);
    assert_eq!((code, out.as_str()), (Some(125), ""), "{flag}");
    let lossy = [&words[..], &["--lossy"]].concat();
    let (code, out, told) = run_in(&folder, &lossy);
    assert_eq!(code, Some(0), "{told}");
    for sentence in lost {
        assert!(
            err.contains(sentence) && told.contains(sentence),
            "{sentence} in {err} and {told}"
        );
    }
    out
}

#[test]
fn an_exported_filter_closes_what_the_fence_does() {
    let text = exported(
        "--seccomp",
        &["rules about files", "rules about the network", "limits"],
    );
    let filter: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(filter["defaultAction"], "SCMP_ACT_ALLOW");
    let rules = filter["syscalls"].as_array().unwrap();
    let closes = |name: &str| {
        rules.iter().any(|rule| {
            let mut names = rule["names"].as_array().unwrap().iter();
            names.any(|one| one == name) && rule.get("args").is_none()
        })
    };
    assert!(closes("bpf") && closes("kexec_load") && !closes("mount") && !closes("read"));

    let text = exported("--oci", &["rules about files", "rules about the network"]);
    let parts: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parts["process"]["capabilities"]["bounding"][0], "CAP_CHOWN");
    assert_eq!(parts["process"]["noNewPrivileges"], true);
    assert_eq!(parts["linux"]["resources"]["memory"]["limit"], 1 << 20);
}

#[test]
fn exported_paths_keep_their_meaning_or_are_named() {
    let text = exported(
        "--apparmor",
        &[
            "AppArmor compares families, not peers",
            "which system calls",
        ],
    );
    for rule in [
        "\"/usr/share/*.d{,/,/**}\" r,",
        "\"/etc/hosts{,/}\" r,",
        "\"/tmp{,/}\" wkl,",
        "deny \"/etc/[a-c]x{,/}\" mrwklx,",
        "capability chown,",
        "network inet stream,",
        "# Not said: connect a.test:443",
    ] {
        assert!(text.contains(rule), "{rule} in {text}");
    }
    let lost = [
        "read /usr/share/*.d/**: Landlock has no patterns",
        "write /tmp: Landlock has no rules about a directory alone",
        "deny /etc/[a-c]x: Landlock takes nothing away",
        "compares ports of TCP alone",
    ];
    let text = exported("--landlock", &lost);
    let rules: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        rules["pathBeneath"][0]["parent"],
        serde_json::json!(["/etc/hosts"])
    );
    assert_eq!(rules["netPort"][0]["port"], serde_json::json!([443]));
    assert!(!text.contains("/tmp"));
}

#[test]
fn profiles_that_differ_in_the_network_alone_differ() {
    let folder = TempDir::new().unwrap();
    let profile = |name: &str, rules: &str| {
        let text = format!("version = 1\n[network]\n{rules}\n");
        fs::write(folder.path().join(name), text).unwrap();
    };
    profile("a.toml", "connect = [\"a.test:443\"]");
    profile("b.toml", "connect = [\"b.test:443\", \"a.test:443\"]");
    profile(
        "c.toml",
        "connect = [\"a.test:443\"]\ndeny = [\"192.0.2.1\"]",
    );
    let diff = |first: &str, second: &str| {
        let (code, out, _) = run_in(&folder, &["profile", "diff", first, second]);
        (code, out)
    };
    assert_eq!(diff("./a.toml", "./a.toml"), (Some(0), String::new()));
    let (code, out) = diff("./a.toml", "./b.toml");
    assert_eq!(code, Some(1));
    assert!(out.starts_with("+ network connect b.test:443"), "{out}");
    let (code, out) = diff("./a.toml", "./c.toml");
    assert_eq!(code, Some(1));
    assert!(
        out.contains("- network what the other denies by `192.0.2.1`"),
        "{out}"
    );
}

#[test]
fn an_output_called_by_a_hyphen_is_standard_output() {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("a.toml"),
        "version = 1\n[files]\nread = [\"/etc/hostname\"]\n",
    )
    .unwrap();
    let words = ["profile", "merge", "a.toml", "a.toml"];
    let (_, plain, _) = run_in(&folder, &words);
    assert!(plain.contains("/etc/hostname"), "{plain}");
    let (code, out, err) = run_in(&folder, &[&words[..], &["-o", "-"]].concat());
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), plain.as_str(), "")
    );
    assert!(!folder.path().join("-").exists());
}

#[test]
fn a_profile_that_is_not_there_to_be_merged_into_is_begun_with_output() {
    refuses(
        &["learn", "--merge", "ci.toml", "--", "true"],
        &["no ci.toml", "`-o ci.toml`"],
    );
}
