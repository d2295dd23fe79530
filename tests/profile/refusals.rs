//! What a refusal looks like.

use super::*;

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
