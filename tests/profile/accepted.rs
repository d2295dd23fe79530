//! What is accepted, and how profiles are joined.

use super::*;

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
                [limits]\npids = 3\nmemory = \"1KiB\"\n[protection]\nfiles-read = \"required\"\nall = \"best-effort\"\nexec = \"required\"\n";
    let effective = read(text).unwrap();
    assert_eq!(effective.files_mode, Mode::Audit);
    assert_eq!(effective.network_mode, Mode::Off);
    assert_eq!(effective.capabilities, ["net_raw"]);
    assert_eq!(
        (effective.limits.pids, effective.limits.memory),
        (Some(3), Some(1024))
    );
    let demand = |protection| effective.degradation.demand(protection);
    assert_eq!(demand(Protection::FilesRead), Demand::Required);
    assert_eq!(demand(Protection::FilesWrite), Demand::BestEffort);
    assert_eq!(demand(Protection::Exec), Demand::Required);
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
