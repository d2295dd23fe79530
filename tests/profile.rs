//! The profile language from the outside: what is accepted, what is refused and how the refusal reads.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringfence::command::profile::{Request, schema, show, test};
use ringfence::compile::{self, Entry, Explainer, compile};
use ringfence::policy::{Demand, Mode, NetworkPolicy, Policy, Protection};
use ringfence::profile::{self, CommandLine, Effective, Right, Rule, Variables, from_text, load};
use ringfence_abi::rights::{EXEC, READ, WRITE};

fn variables() -> Variables {
    Variables::new()
        .with("CWD", "/work")
        .with("HOME", "/home/user")
        .with("TMP", "/tmp/run-1")
        .with("CONFIG", "/home/user/.config")
        .with("CACHE", "/home/user/.cache")
        .with("USER", "user")
        .with("UID", "1000")
}

fn no_links(_: &[u8]) -> Entry {
    Entry::Missing
}

fn read(text: &str) -> Result<Effective, profile::Error> {
    from_text("ci.toml", text.as_bytes(), false, CommandLine::default())
}

fn refusal(text: &str) -> String {
    read(text).expect_err("should be refused").to_string()
}

fn policy(text: &str) -> Policy {
    compile(&read(text).unwrap(), &variables(), &no_links)
        .unwrap()
        .0
}

fn files(lines: &str) -> String {
    format!("version = 1\n[files]\n{lines}\n")
}

fn rights(policy: &Policy, path: &str) -> u8 {
    policy.files.automaton.rights(path.as_bytes())
}

// What a refusal looks like.

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_spelling() {
    let error = refusal("version = 1\n[files]\nwirte = [\"/x\"]\n");
    insta::assert_snapshot!(error, @r#"
    unknown key `wirte` in [files]
     --> ci.toml:3:1
      |
    3 | wirte = ["/x"]
      | ^^^^^
      |
      = help: did you mean `write`?
    "#);
}

#[test]
fn a_wrong_rule_is_refused_with_a_caret_below_it() {
    let error = refusal(&files("read = [\n  \"/a\",\n  \"src/**\",\n]"));
    insta::assert_snapshot!(error);
    let error = refusal(&files("read = [\"/a/[z-a]\"]"));
    insta::assert_snapshot!(error);
}

#[test]
fn a_syntax_error_is_refused_with_its_place() {
    insta::assert_snapshot!(refusal("version = 1\n[files\nread = 3"));
    let json = from_text(
        "ci.json",
        b"{\"version\": 1,\n \"files\": {]}",
        true,
        CommandLine::default(),
    );
    insta::assert_snapshot!(json.unwrap_err().to_string());
}

#[test]
fn every_wrong_profile_is_refused_with_line_column_and_a_way_out() {
    for (text, line, message, help) in [
        (
            "version = 2\n[files]\nread=[\"/x\"]",
            1,
            "not known",
            "newer ringfence",
        ),
        (
            "[files]\nread=[\"/x\"]",
            1,
            "`version` is missing",
            "version = 1",
        ),
        ("version = 1\n[files]\n", 2, "[files] is empty", "remove it"),
        (
            "version = 1\nnetwrk = 1",
            2,
            "unknown key `netwrk`",
            "`network`",
        ),
        (
            "version = 1\n[files]\nread = \"/x\"",
            3,
            "`read` is a string",
            "list of rules",
        ),
        (
            "version = 1\n[files]\nread = [3]",
            3,
            "a rule is an integer",
            "because",
        ),
        (
            "version = 1\n[files]\nread = [{ because = \"x\" }]",
            3,
            "no `path`",
            "path = ",
        ),
        (
            "version = 1\n[files]\nread = [{ path = \"/x\", expect = true }]",
            3,
            "unknown key `expect`",
            "`expected`",
        ),
        (
            "version = 1\n[files]\nmode = \"enforced\"",
            3,
            "\"enforced\"",
            "\"enforce\" or \"audit\"",
        ),
        (
            "version = 1\n[files]\nread = [\"/a\\u0000b\"]",
            3,
            "NUL",
            "remove it",
        ),
        (
            "version = 1\n[files]\nread = [\"\"]",
            3,
            "empty",
            "absolute",
        ),
        (
            "version = 1\n[files]\nread = [\"/a**\"]",
            3,
            "whole component",
            "/**",
        ),
        (
            "version = 1\n[network]\nmode = \"audit\"",
            3,
            "cannot be audited",
            "\"off\"",
        ),
        (
            "version = 1\n[network]\nconnect = [\"x:443\"]",
            3,
            "not enforced by this version",
            "no network",
        ),
        (
            "version = 1\n[process]\ncapabilities = [\"net_rwa\"]",
            3,
            "no capability",
            "`net_raw`",
        ),
        (
            "version = 1\n[limits]\nmemory = \"2 gallons\"",
            3,
            "no such amount",
            "2GiB",
        ),
        (
            "version = 1\n[limits]\nopen_files = 3",
            3,
            "unknown key",
            "`open-files`",
        ),
        (
            "version = 1\n[protection]\nfile = \"required\"",
            3,
            "unknown key `file`",
            "`files`",
        ),
        (
            "version = 1\n[protection]\nexec = \"maybe\"",
            3,
            "\"maybe\"",
            "best-effort",
        ),
        (
            "version = 1\nextends = [\"bas\"]",
            2,
            "no shipped profile",
            "`base`",
        ),
        (
            "version = 1\nname = \"a\\nb\"\nextends=[\"base\"]",
            2,
            "control characters",
            "plain",
        ),
    ] {
        let error = refusal(text);
        assert!(error.contains(message), "{text}\n{error}");
        assert!(
            error.contains(&format!("ci.toml:{line}:")),
            "{text}\n{error}"
        );
        assert!(error.contains('^'), "{text}\n{error}");
        let way_out = error.split("= help:").nth(1).unwrap_or_default();
        assert!(way_out.contains(help), "{text}\n{error}");
    }
}

#[test]
fn a_profile_that_says_nothing_is_refused() {
    for text in [
        "",
        "# nothing\n",
        "version = 1\n",
        "version = 1\nname = \"x\"\n",
    ] {
        assert!(refusal(text).contains("is empty"), "{text}");
    }
}

#[test]
fn a_profile_that_is_not_utf8_is_refused_with_the_byte() {
    let bytes = b"version = 1\n# \xff\n";
    let error = from_text("ci.toml", bytes, false, CommandLine::default()).unwrap_err();
    assert!(error.to_string().contains("byte 14 is 0xff"), "{error}");
}

#[test]
fn a_profile_that_is_too_large_is_refused_with_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.toml");
    let file = fs::File::create(&path).unwrap();
    file.set_len(profile::MAX_BYTES + 1).unwrap();
    let error = load(&[path.into()], CommandLine::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("16777217 bytes"), "{error}");
}

#[test]
fn a_missing_profile_is_refused_with_its_name() {
    let error = load(&["./none.toml".into()], CommandLine::default()).unwrap_err();
    assert!(error.to_string().contains("none.toml"), "{error}");
    let error = load(&["untrustd".into()], CommandLine::default()).unwrap_err();
    assert!(
        error.to_string().contains("did you mean `untrusted`?"),
        "{error}"
    );
}

#[test]
fn a_variable_that_is_not_set_is_refused_with_the_known_ones() {
    let effective = read(&files("read = [\"${HOEM}/x\"]")).unwrap();
    let error = compile(&effective, &variables(), &no_links)
        .unwrap_err()
        .to_string();
    assert!(error.contains("ci.toml:3:"), "{error}");
    assert!(
        error.contains("did you mean `${HOME}`?") && error.contains("${CWD}"),
        "{error}"
    );
}

#[test]
fn profiles_that_extend_each_other_are_refused_with_the_cycle() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, extends: &str| {
        let text = format!("version = 1\nextends = [\"{extends}\"]\n");
        fs::write(directory.path().join(name), text).unwrap();
    };
    write("a.toml", "b.toml");
    write("b.toml", "./c.toml");
    write("c.toml", "a.toml");
    let path: OsString = directory.path().join("a.toml").into();
    let error = load(&[path], CommandLine::default())
        .unwrap_err()
        .to_string();
    let order = ["a.toml -> ", "b.toml -> ", "c.toml -> "].map(|part| error.find(part));
    assert!(
        order[0] < order[1] && order[1] < order[2] && order[0].is_some(),
        "{error}"
    );
}

// What is accepted.

#[test]
fn a_path_in_extends_is_taken_from_the_profiles_own_directory() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    fs::write(
        directory.path().join("parent.toml"),
        files("read = [\"/parent\"]"),
    )
    .unwrap();
    let child = directory.path().join("sub/child.toml");
    let text = "version = 1\nextends = [\"../parent.toml\"]\n[files]\nread = [\"/child\"]\n";
    fs::write(&child, text).unwrap();
    let effective = load(&[child.into()], CommandLine::default()).unwrap();
    assert_eq!(effective.lineage, ["parent", "child"]);
    let texts: Vec<_> = effective.rules.iter().map(Rule::shown).collect();
    assert_eq!(texts, ["/parent", "/child"]);
    assert!(
        effective.rules[0]
            .origin
            .to_string()
            .ends_with("parent.toml:3:9")
    );
}

#[test]
fn lists_add_up_and_of_single_values_the_childs_holds() {
    let text = "version = 1\nextends = [\"base\"]\n[files]\nmode = \"audit\"\nread = [\"/mine\"]\n\
                [network]\nmode = \"off\"\n[process]\ncapabilities = [\"CAP_NET_RAW\", \"net_raw\"]\n\
                [limits]\npids = 3\nmemory = \"1KiB\"\n[protection]\nfiles-read = \"required\"\nall = \"off\"\nfiles = \"best-effort\"\n";
    let effective = read(text).unwrap();
    assert_eq!(effective.files_mode, Mode::Audit);
    assert_eq!(effective.network, NetworkPolicy::Open);
    assert_eq!(effective.capabilities, ["net_raw"]);
    assert_eq!(
        (effective.limits.pids, effective.limits.memory),
        (Some(3), Some(1024))
    );
    let demand = |protection| effective.degradation.demand(protection);
    assert_eq!(demand(Protection::FilesRead), Demand::Required);
    assert_eq!(demand(Protection::FilesWrite), Demand::BestEffort);
    assert_eq!(demand(Protection::Network), Demand::Off);
    assert!(effective.rules.len() > 10);
}

#[test]
fn json_of_the_same_schema_is_accepted() {
    let json = br#"{"version": 1, "files": {"read": ["/x", {"path": "/y", "because": "z"}]}}"#;
    let effective = from_text("ci.json", json, true, CommandLine::default()).unwrap();
    assert_eq!(effective.rules.len(), 2);
    let json = br#"{"version": 1, "files": {"raed": ["/x"]}}"#;
    let error = from_text("ci.json", json, true, CommandLine::default()).unwrap_err();
    assert!(
        error.to_string().contains("did you mean `read`?"),
        "{error}"
    );
    let json = br#"{"version": 1, "version": 1}"#;
    assert!(from_text("ci.json", json, true, CommandLine::default()).is_err());
}

#[test]
fn a_newline_in_a_rule_is_matched() {
    let policy = policy(&files("read = [\"/a\\nb\", \"/c/*\"]"));
    assert_eq!(rights(&policy, "/a\nb"), READ);
    assert_eq!(rights(&policy, "/c/\n"), READ);
    assert_eq!(rights(&policy, "/a"), 0);
}

#[test]
fn a_rule_may_be_written_twice() {
    let policy = policy(&files("read = [\"/a\", \"/a\", \"/a/**\", \"/a/**\"]"));
    assert_eq!(rights(&policy, "/a/b"), READ);
    assert_eq!(rights(&policy, "/ab"), 0);
}

#[test]
fn a_profile_of_a_megabyte_is_compiled() {
    let mut text = files("read = [");
    text.truncate(text.len() - 1);
    for number in 0..20_000 {
        writeln!(
            text,
            "  \"/usr/share/package-{number:07}/documentation/file-{number}.txt\","
        )
        .unwrap();
    }
    text.push(']');
    assert!(text.len() > 1_000_000);
    let policy = policy(&text);
    assert_eq!(
        rights(
            &policy,
            "/usr/share/package-0019999/documentation/file-19999.txt"
        ),
        READ
    );
    assert_eq!(
        rights(
            &policy,
            "/usr/share/package-0019999/documentation/file-19998.txt"
        ),
        0
    );
}

#[test]
fn entangled_patterns_are_refused_with_the_bound() {
    // The automaton has to remember which of the last 24 bytes were an `a`.
    let mut text = files("read = [");
    for number in 0..20 {
        write!(text, "\"/*a{}{number}\", ", "?".repeat(24)).unwrap();
    }
    text.push(']');
    let error = compile(&read(&text).unwrap(), &variables(), &no_links)
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(error, compile::Error::TooComplex { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("most 2097152"), "{error}");
    assert!(error.to_string().contains("*a??"), "{error}");
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_its_size() {
    // Every name differs from its beginning, so that nothing is shared.
    let mut text = files("read = [");
    let mut seed = 1u64;
    for _ in 0..12_000 {
        let mut name = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            write!(name, "{:08x}", seed >> 32).unwrap();
        }
        writeln!(text, "\"/{name}\",").unwrap();
    }
    text.push(']');
    let error = compile(&read(&text).unwrap(), &variables(), &no_links).map(|_| ());
    match error {
        Err(compile::Error::TooLarge { words, most, .. }) => assert!(words > most),
        other => panic!("{other:?}"),
    }
}

// What rules mean.

#[test]
fn deny_beats_allow_in_any_order_and_from_any_profile() {
    let policy = policy(&files(
        "deny = [\"/a/secret/**\"]\nread = [\"/a/**\", \"/a/secret/x\"]",
    ));
    assert_eq!(rights(&policy, "/a/b"), READ);
    assert_eq!(rights(&policy, "/a/secret"), 0);
    assert_eq!(rights(&policy, "/a/secret/x"), 0);
    assert_eq!(rights(&policy, "/a/secrets"), READ);
}

#[test]
fn rights_are_independent() {
    let policy = policy(&files(
        "read = [\"/r\"]\nwrite = [\"/w\"]\nexec = [\"/{e,r}\"]",
    ));
    assert_eq!(rights(&policy, "/r"), READ | EXEC);
    assert_eq!(rights(&policy, "/w"), WRITE);
    assert_eq!(rights(&policy, "/e"), EXEC);
}

#[test]
fn a_subtree_holds_its_directory_and_a_slash_alone_is_the_root_directory() {
    let tree = policy(&files("read = [\"/a/**\", \"/b/\", \"/\"]"));
    for path in ["/a", "/a/x/y", "/b", "/b/x", "/"] {
        assert_eq!(rights(&tree, path), READ, "{path}");
    }
    for path in ["/c", "/ab"] {
        assert_eq!(rights(&tree, path), 0, "{path}");
    }
    assert_eq!(rights(&policy(&files("read = [\"/**\"]")), "/c"), READ);
}

#[test]
fn values_of_variables_are_literal() {
    let variables = Variables::new()
        .with("CWD", OsStr::from_bytes(b"/w*[a]{b,c}\xff"))
        .with("ROOT", "/");
    let text = "version = 1\n[variables]\nMINE = \"${CWD}/*\"\n[files]\nread = [\"${CWD}/**\"]\nwrite = [\"${MINE}\"]\nexec = [\"${ROOT}/x\", \"${ROOT}usr\"]\n";
    let policy = compile(&read(text).unwrap(), &variables, &no_links)
        .unwrap()
        .0;
    let of = |path: &[u8]| policy.files.automaton.rights(path);
    assert_eq!(of(b"/w*[a]{b,c}\xff/x"), READ);
    assert_eq!(of(b"/w*[a]{b,c}\xff/*"), READ | WRITE);
    assert_eq!(of(b"/wx[a]{b,c}\xff/x"), 0);
    assert_eq!((of(b"/x"), of(b"/usr")), (EXEC, EXEC));
}

#[test]
fn the_root_as_working_directory_means_everything_below() {
    let variables = Variables::new().with("CWD", "/");
    let text = files("read = [\"${CWD}/**\"]\ndeny = [\"${CWD}/x/\"]");
    let policy = compile(&read(&text).unwrap(), &variables, &no_links)
        .unwrap()
        .0;
    assert_eq!(rights(&policy, "/y"), READ);
    assert_eq!(rights(&policy, "/x/y"), 0);
}

#[test]
fn bytes_that_are_not_utf8_can_be_written_in_a_profile() {
    let policy = policy(&files(r"read = ['/caf\xe9/*']"));
    assert_eq!(policy.files.automaton.rights(b"/caf\xe9/\xff"), READ);
    assert_eq!(policy.files.automaton.rights(b"/caf\xe8/\xff"), 0);
}

// Links.

fn usr_merged(path: &[u8]) -> Entry {
    match path {
        b"/bin" => Entry::Link(b"usr/bin".to_vec()),
        b"/usr/bin/sh" => Entry::Link(b"dash".to_vec()),
        b"/usr" | b"/usr/bin" | b"/etc" | b"/proc" | b"/work" | b"/work/real" => Entry::Directory,
        b"/usr/bin/dash" => Entry::Other,
        b"/work/link" => Entry::Link(b"/etc".to_vec()),
        b"/loop" => Entry::Link(b"/loop".to_vec()),
        b"/etc/mtab" => Entry::Link(b"/proc/self/mounts".to_vec()),
        b"/proc/self" => Entry::Link(b"4711".to_vec()),
        _ => Entry::Missing,
    }
}

fn with_links(text: &str) -> (Policy, Explainer) {
    compile(&read(text).unwrap(), &variables(), &usr_merged).unwrap()
}

#[test]
fn a_rule_covers_what_its_links_lead_to() {
    let (policy, _) = with_links(&files("exec = [\"/bin/sh\"]\nread = [\"/bin/*\"]"));
    assert_eq!(rights(&policy, "/usr/bin/dash"), EXEC | READ);
    assert_eq!(rights(&policy, "/bin/sh"), EXEC | READ);
    assert_eq!(rights(&policy, "/usr/bin/bash"), READ);
}

#[test]
fn an_allow_rule_does_not_follow_a_link_that_a_fenced_program_may_have_made() {
    let text = files("read = [\"/work/link/passwd\"]\nwrite = [\"/work/**\"]");
    let (policy, explainer) = with_links(&text);
    assert_eq!(rights(&policy, "/etc/passwd"), 0);
    let explanation = explainer.explain(b"/etc/passwd", Right::Read);
    assert!(explanation.hint.unwrap().contains("may have made it"));
}

#[test]
fn a_deny_rule_follows_every_link() {
    let text =
        files("read = [\"/etc/**\"]\ndeny = [\"/work/link/shadow\"]\nwrite = [\"/work/**\"]");
    let (policy, _) = with_links(&text);
    assert_eq!(rights(&policy, "/etc/shadow"), 0);
    assert_eq!(rights(&policy, "/etc/passwd"), READ);
}

#[test]
fn a_link_that_leads_each_process_elsewhere_or_in_a_circle_is_not_followed() {
    let (policy, explainer) = with_links(&files("read = [\"/etc/mtab\", \"/loop/x\"]"));
    assert_eq!(rights(&policy, "/proc/4711/mounts"), 0);
    assert_eq!(explainer.rules[0].unfollowed.len(), 2);
    let effective = read(&files("read = [\"/proc/self/status\"]")).unwrap();
    let error = compile(&effective, &variables(), &usr_merged).unwrap_err();
    assert!(error.to_string().contains("/proc/[0-9]*/"), "{error}");
}

#[test]
fn on_the_command_line_a_directory_means_everything_below() {
    let rule = |text| Rule::from_command_line(Right::Read, OsStr::new(text), Path::new("/work"));
    let command_line = CommandLine {
        rules: vec![
            rule("real").unwrap(),
            rule("file").unwrap(),
            rule("/bin/sh").unwrap(),
        ],
        ..CommandLine::default()
    };
    let text = files("mode = \"enforce\"");
    let effective = from_text("ci.toml", text.as_bytes(), false, command_line).unwrap();
    let (policy, _) = compile(&effective, &variables(), &usr_merged).unwrap();
    assert_eq!(rights(&policy, "/work/real/x"), READ);
    assert_eq!(rights(&policy, "/work/file"), READ);
    assert_eq!(rights(&policy, "/work/file/x"), 0);
    assert_eq!(rights(&policy, "/usr/bin/dash/x"), 0);
}

// Explanations.

#[test]
fn an_explanation_names_the_rule_and_the_line_to_paste() {
    let text = files(
        "read = [\"/a/**\", \"/d\"]\ndeny = [{ path = \"/a/key\", because = \"a key\", expected = true }]",
    );
    let (_, explainer) = compile(&read(&text).unwrap(), &variables(), &no_links).unwrap();
    let denied = explainer.explain(b"/a/key", Right::Read);
    let rule = denied.rule.unwrap();
    assert_eq!(
        (rule.right, rule.because.as_deref(), rule.expected),
        (Right::Deny, Some("a key"), true)
    );
    assert_eq!((denied.allowed, denied.suggestion), (false, None));
    let allowed = explainer.explain(b"/a/b", Right::Read);
    assert!(allowed.allowed && allowed.rule.unwrap().origin.starts_with("ci.toml:3:"));
    let unknown = explainer.explain(b"/x/*y z", Right::Write);
    let suggestion = unknown.suggestion.unwrap();
    assert_eq!(suggestion.profile, r"write = ['/x/\*y z']");
    assert_eq!(suggestion.flag, r#"--write "/x/\\*y z""#);
    assert!(
        explainer
            .explain(b"/d/x", Right::Read)
            .hint
            .unwrap()
            .contains("/d/**")
    );
}

// Round trips and shipped profiles.

fn shown(request: Request) -> String {
    let mut out = Vec::new();
    show(request, false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_profile_survives_being_shown_and_read() {
    for shipped in profile::shipped::ALL {
        let request = Request {
            profiles: vec![shipped.name.into()],
            variables: variables(),
            ..Request::default()
        };
        let text = shown(request.clone());
        let effective = load(&request.profiles, CommandLine::default()).unwrap();
        let again = read(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", shipped.name));
        let look = ringfence::command::look::look;
        let before = compile(&effective, &variables(), &look).unwrap().0;
        let after = compile(&again, &variables(), &no_links).unwrap().0;
        assert_eq!(
            before.files.automaton, after.files.automaton,
            "{}",
            shipped.name
        );
    }
}

#[test]
fn a_profile_survives_being_written_and_read() {
    let text = "version = 1\nname = \"x\"\n[files]\nread = [{ path = \"/a{b,c}\", because = \"d\" }, \"${HOME}/**\"]\n\
                [limits]\nmemory = \"2GiB\"\ncpu = 1.5\ntime = \"10m\"\n[protection]\nexec = \"off\"\n";
    let document = read(text).unwrap().to_document();
    let toml = toml::to_string(&document).unwrap();
    let json = serde_json::to_vec(&document).unwrap();
    assert_eq!(read(&toml).unwrap().to_document(), document);
    let from_json = from_text("ci.json", &json, true, CommandLine::default()).unwrap();
    assert_eq!(from_json.to_document(), document);
}

#[test]
fn every_shipped_profile_has_its_name_and_a_purpose() {
    for shipped in profile::shipped::ALL {
        let effective = load(&[shipped.name.into()], CommandLine::default()).unwrap();
        assert_eq!(effective.name, shipped.name);
        assert!(effective.because.is_some());
    }
}

#[test]
fn the_schema_accepts_every_shipped_profile_and_refuses_a_wrong_one() {
    let mut out = Vec::new();
    schema(&mut out).unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for shipped in profile::shipped::ALL {
        let profile: serde_json::Value = toml::from_str(shipped.text).unwrap();
        if let Err(error) = validator.validate(&profile) {
            panic!("{}: {error}", shipped.name);
        }
    }
    for wrong in [
        "version = 2",
        "version = 1\nfoo = 1",
        "version = 1\n[files]\nwirte = [\"/x\"]",
        "version = 1\n[protection]\nfoo = \"off\"",
    ] {
        let profile: serde_json::Value = toml::from_str(wrong).unwrap();
        assert!(!validator.is_valid(&profile), "{wrong}");
    }
}

#[test]
fn the_default_profile_denies_secrets_writing_and_execution_of_what_was_written() {
    let effective = load(&[], CommandLine::default()).unwrap();
    let at_home = variables().with("CWD", "/home/user");
    let (policy, _) = compile(&effective, &at_home, &no_links).unwrap();
    for path in ["/usr/bin/ls", "/opt/x/y"] {
        assert_eq!(rights(&policy, path), READ | EXEC, "{path}");
    }
    for path in [
        "/etc/hosts",
        "/home/user/notes.txt",
        "/home/user/.config/app.toml",
    ] {
        assert_eq!(rights(&policy, path), READ, "{path}");
    }
    assert_eq!(rights(&policy, "/tmp/run-1/x"), READ | WRITE);
    for path in [
        "/etc/shadow",
        "/etc/sudoers.d/x",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssl/private/x.key",
        "/home/user/.ssh/id_ed25519",
        "/home/user/.aws/credentials",
        "/home/user/.netrc",
        "/home/user/.cargo/credentials.toml",
        "/home/user/.config/gh/hosts.yml",
        "/home/user/.mozilla/x",
        "/home/user/.bash_history",
        "/home/user/.docker/config.json",
        "/home/other/x",
        "/tmp/x",
        "/root/x",
        "/var/log/x",
        "/home/user/.local/share/keyrings/login.keyring",
    ] {
        assert_eq!(rights(&policy, path), 0, "{path}");
    }
    assert_eq!(policy.network, NetworkPolicy::None);
    assert!(policy.capabilities.is_empty());
}

#[test]
fn no_shipped_profile_allows_everything() {
    for shipped in profile::shipped::ALL {
        let effective = load(&[shipped.name.into()], CommandLine::default()).unwrap();
        let (policy, _) = compile(&effective, &variables(), &no_links).unwrap();
        for path in [
            "/etc/shadow",
            "/home/user/.ssh/id_rsa",
            "/root/x",
            "/home/other/x",
            "/dev/sda",
            "/proc/1/mem",
        ] {
            assert_eq!(rights(&policy, path), 0, "{} {path}", shipped.name);
        }
        for path in ["/usr/bin/ls", "/etc/passwd", "/usr/lib/x.so"] {
            assert_eq!(rights(&policy, path) & WRITE, 0, "{} {path}", shipped.name);
        }
    }
}

#[test]
fn profile_test_answers_for_a_path_and_names_the_rule() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("file", directory.path().join("link")).unwrap();
    let real = directory.path().canonicalize().unwrap();
    let path = real.join("p.toml");
    fs::write(
        &path,
        files(&format!("read = [\"{}/file\"]", real.display())),
    )
    .unwrap();
    let ask = |path: &str, right| {
        let request = Request {
            profiles: vec![real.join("p.toml").into()],
            variables: variables(),
            ..Request::default()
        };
        let mut out = Vec::new();
        let allowed = test(request, Path::new(path), &real, &[right], false, &mut out).unwrap();
        (allowed, String::from_utf8(out).unwrap())
    };
    let (allowed, text) = ask("link", Right::Read);
    assert!(
        allowed && text.contains("allowed: read") && text.contains("p.toml:3:9"),
        "{text}"
    );
    let (allowed, text) = ask("link", Right::Write);
    assert!(
        !allowed && text.contains("no rule allows it") && text.contains("--write"),
        "{text}"
    );
}
