//! Round trips, and what the verbs show.

use super::*;

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
                [limits]\nmemory = \"2GiB\"\ncpu = 1.5\ntime = \"10m\"\n[protection]\nexec = \"best-effort\"\n";
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
    assert!(!policy.network.is_off());
    assert!(policy.capabilities.is_empty());
}

#[test]
fn certificates_of_authorities_are_read_where_their_links_lead() {
    let effective = load(&["base".into()], CommandLine::default()).unwrap();
    let (policy, _) = compile(&effective, &variables(), &no_links).unwrap();
    for path in [
        "/etc/ssl/certs/ca-certificates.crt",
        "/usr/share/ca-certificates/mozilla/one.crt",
        // What the host's owner has added (update-ca-certificates(8)).
        "/usr/local/share/ca-certificates/own.crt",
    ] {
        assert_eq!(rights(&policy, path), READ, "{path}");
    }
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
        let question = Question {
            path: Some(path.into()),
            rights: vec![right],
            ..Question::default()
        };
        let allowed = test(request, &question, &real, false, &mut out).unwrap();
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
