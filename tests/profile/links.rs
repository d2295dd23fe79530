//! Symbolic links in rules.

use super::*;

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
        ("deny", Some("a key"), true)
    );
    assert_eq!((denied.allowed, denied.suggestion), (false, None));
    let allowed = explainer.explain(b"/a/b", Right::Read);
    assert!(allowed.allowed && allowed.rule.unwrap().origin.starts_with("ci.toml:3:"));
    let unknown = explainer.explain(b"/x/*y z", Right::Write);
    let suggestion = unknown.suggestion.unwrap();
    assert_eq!(suggestion.profile, r"write = ['/x/\*y z']");
    assert_eq!(suggestion.flag.unwrap(), r#"--write "/x/\\*y z""#);
    assert!(
        explainer
            .explain(b"/d/x", Right::Read)
            .hint
            .unwrap()
            .contains("/d/**")
    );
}
