//! The formats: text for people, JSON, JUnit for test reports, SARIF for code scanning, Markdown for summaries, and the
//! commands that GitHub reads from a log.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use super::finding::{Finding, Findings, printable};
use crate::policy::number_of;

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// The findings as they are.
    Json,
    /// A test case for each finding, and one for the whole.
    Junit,
    /// Static Analysis Results Interchange Format 2.1.0.
    Sarif,
    /// A table.
    Markdown,
    /// Workflow commands: each finding is an annotation.
    Github,
}

/// The findings in one format.
///
/// # Errors
/// Where a library cannot write it.
pub fn write(findings: &Findings, format: Format) -> Result<String, String> {
    match format {
        Format::Text => Ok(text(findings)),
        Format::Json => serde_json::to_string_pretty(findings)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string()),
        Format::Junit => junit(findings),
        Format::Sarif => sarif(findings),
        Format::Markdown => Ok(markdown(findings)),
        Format::Github => Ok(github(findings)),
    }
}

fn text(findings: &Findings) -> String {
    let mut text = String::new();
    for finding in &findings.new {
        push(&mut text, format_args!("new: {}\n", finding.line()));
        if finding.taken_in {
            push(
                &mut text,
                format_args!("     taken into {}\n", findings.profile),
            );
        } else if let Some(allow) = &finding.allow {
            push(
                &mut text,
                format_args!("     to allow it: {}\n", printable(allow)),
            );
        }
    }
    for lost in &findings.lost {
        push(&mut text, format_args!("not whole: {lost}\n"));
    }
    push(&mut text, format_args!("{}\n", conclusion(findings)));
    text
}

fn conclusion(findings: &Findings) -> String {
    let taken_in = findings.new.iter().filter(|one| one.taken_in).count();
    let taken_in = match taken_in {
        0 => String::new(),
        number => format!(", {number} taken in"),
    };
    format!(
        "{} new of {}{taken_in}; profile {}, command `{}` (exit code {})",
        findings.new.len(),
        number_of(findings.acts, "kind of acts", "kinds of acts"),
        findings.profile,
        printable(&findings.command),
        findings.exit
    )
}

fn junit(findings: &Findings) -> Result<String, String> {
    let mut suite = TestSuite::new(findings.profile.clone());
    suite.add_test_case(TestCase::new(
        printable(&format!("`{}` was recorded", findings.command)),
        if findings.lost.is_empty() {
            TestCaseStatus::success()
        } else {
            failure(&findings.lost.join("; "))
        },
    ));
    for finding in &findings.new {
        let name = format!("{} {}", finding.kind, finding.subject);
        suite.add_test_case(TestCase::new(printable(&name), failure(&finding.line())));
    }
    let mut report = Report::new("ringfence check");
    report.add_test_suite(suite);
    report.to_string().map_err(|error| error.to_string())
}

fn failure(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message);
    status
}

fn sarif(findings: &Findings) -> Result<String, String> {
    let mut kinds: Vec<&str> = findings.new.iter().map(|one| one.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let rules: Vec<_> = kinds
        .iter()
        .map(|kind| json!({ "id": kind, "shortDescription": { "text": format!("new behaviour: {kind}") } }))
        .collect();
    let results: Vec<_> = findings
        .new
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.kind,
                "level": "error",
                "message": { "text": finding.line() },
                // What has to be changed is the profile.
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": findings.profile } } }],
                "partialFingerprints": { "behaviour/v1": format!("{}:{}", finding.kind, finding.subject) },
            })
        })
        .collect();
    let log = json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": { "driver": {
                "name": "ringfence",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log)
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

fn markdown(findings: &Findings) -> String {
    let mut text = format!("### ringfence: {}\n", cell(&conclusion(findings)));
    if !findings.new.is_empty() {
        text.push_str("\n| what | on | by | how often | why |\n|---|---|---|---|---|\n");
    }
    for finding in &findings.new {
        let secret = finding.secret.as_ref();
        let secret = secret.map(|secret| format!(" **{}**", cell(secret)));
        push(
            &mut text,
            format_args!(
                "| {} | `{}`{} | {} | {} | {} |\n",
                cell(&finding.what),
                cell(&finding.subject),
                secret.unwrap_or_default(),
                cell(&finding.programs.join(", ")),
                finding.count,
                cell(&finding.reason)
            ),
        );
    }
    for lost in &findings.lost {
        push(&mut text, format_args!("\nNot whole: {}\n", cell(lost)));
    }
    text
}

/// A path may hold what ends a cell or a code span.
fn cell(text: &str) -> String {
    printable(text).replace('|', "\\|").replace('`', "'")
}

fn github(findings: &Findings) -> String {
    let mut text = String::new();
    for finding in &findings.new {
        push(
            &mut text,
            format_args!(
                "::error file={},title={}::{}\n",
                property(&findings.profile),
                property(&title(finding)),
                escaped(&finding.line())
            ),
        );
    }
    for lost in &findings.lost {
        push(&mut text, format_args!("::error::{}\n", escaped(lost)));
    }
    push(&mut text, format_args!("{}\n", conclusion(findings)));
    text
}

fn title(finding: &Finding) -> String {
    format!("new behaviour: {}", finding.kind)
}

/// The message of a workflow command.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property of one.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

/// Appends to a string, which takes everything.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        Findings {
            profile: "ci.toml".to_owned(),
            command: "make".to_owned(),
            acts: 7,
            new: vec![Finding {
                kind: "read".to_owned(),
                what: "open".to_owned(),
                subject: "/root/.ssh/id|x\n::error::no".to_owned(),
                programs: vec!["cat".to_owned()],
                count: 2,
                reason: "no rule allows to read it".to_owned(),
                secret: Some("private keys".to_owned()),
                allow: None,
                taken_in: false,
            }],
            ..Findings::default()
        }
    }

    #[test]
    fn every_format_names_what_is_new() {
        for format in [
            Format::Text,
            Format::Json,
            Format::Junit,
            Format::Sarif,
            Format::Markdown,
            Format::Github,
        ] {
            let text = write(&findings(), format).unwrap();
            assert!(text.contains("/root/.ssh/id"), "{format:?}: {text}");
        }
    }

    #[test]
    fn what_was_taken_in_needs_no_line() {
        let mut findings = findings();
        findings.new[0].allow = Some("read = [\"/x\"]".to_owned());
        let told = |findings: &Findings| write(findings, Format::Text).unwrap();
        assert!(told(&findings).contains("to allow it: read"));
        findings.new[0].taken_in = true;
        let text = told(&findings);
        assert!(!text.contains("to allow it"), "{text}");
        assert!(text.contains("taken into ci.toml"), "{text}");
        assert!(
            text.contains("1 new of 7 kinds of acts, 1 taken in;"),
            "{text}"
        );
    }

    #[test]
    fn a_path_cannot_add_lines() {
        let github = write(&findings(), Format::Github).unwrap();
        let commands = github.lines().filter(|line| line.starts_with("::error"));
        assert_eq!(commands.count(), 1, "{github}");
        let markdown = write(&findings(), Format::Markdown).unwrap();
        let rows = markdown.lines().filter(|line| line.starts_with("| open"));
        assert_eq!(rows.count(), 1, "{markdown}");
    }

    #[test]
    fn junit_fails_for_what_is_new_and_sarif_is_json() {
        let junit = write(&findings(), Format::Junit).unwrap();
        assert!(junit.contains(r#"failures="1""#), "{junit}");
        let sarif = write(&findings(), Format::Sarif).unwrap();
        let log: serde_json::Value = serde_json::from_str(&sarif).unwrap();
        assert_eq!(log["runs"][0]["results"][0]["ruleId"], "read");
    }

    #[test]
    fn nothing_new_is_said_as_well() {
        let none = Findings::default();
        assert!(write(&none, Format::Text).unwrap().starts_with("0 new"));
        assert!(!write(&none, Format::Junit).unwrap().contains("<failure"));
    }
}
