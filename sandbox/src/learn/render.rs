//! A learned profile as TOML, the evidence of each rule as a comment above it.
//!
//! `#:` begins evidence and `#?` a question; [`super::read`] reads both again.

use std::{collections::BTreeMap, fmt::Write as _};

use toml_edit::Value;

use super::{Evidence, Learned, Question};
use crate::profile::{NetworkRight, Right};

/// What a profile says first.
const HEADING: &str = "\
# Learned by `ringfence learn`. Lines that begin with `#:` are evidence and those with `#?` are questions: `ringfence profile
# merge` reads them. To allow what a question is about, remove the sign and all that follows the rule.
";

/// Above a rule about an address: whoever reviews it may know better.
pub(super) const NAMELESS: &str = "# no name is known that leads there";

/// The profile as a file.
#[must_use]
pub fn render(learned: &Learned) -> String {
    let mut text = HEADING.to_owned();
    for (name, run) in &learned.runs {
        let memory = run.memory.map(|bytes| format!(", {bytes} bytes"));
        let tasks = run.tasks.map(|tasks| format!(", {tasks} tasks"));
        let sampled = run.sampled.then(|| ", sampled".to_owned());
        let peak = [memory, tasks, sampled]
            .into_iter()
            .flatten()
            .collect::<String>();
        push(
            &mut text,
            format_args!("#: run {name}{peak}: {}\n", run.command),
        );
    }
    text.push_str("version = 1\n");
    section(&mut text, learned, "");
    if !learned.extends.is_empty() {
        let names: Vec<_> = learned.extends.iter().map(|name| quoted(name)).collect();
        push(
            &mut text,
            format_args!("extends = [{}]\n", names.join(", ")),
        );
    }
    section(&mut text, learned, "variables");
    files(&mut text, learned);
    network(&mut text, learned);
    process(&mut text, learned);
    if !learned.kernel.is_empty() || !learned.kernel_questions.is_empty() {
        text.push_str("\n[kernel]\n");
        list(
            &mut text,
            learned,
            "allow",
            &learned.kernel,
            &learned.kernel_questions,
        );
    }
    for name in ["limits", "protection"] {
        section(&mut text, learned, name);
    }
    if let Some(programs) = learned.rest.get("program") {
        let table = toml::Table::from_iter([("program".to_owned(), programs.clone())]);
        text.push('\n');
        text.push_str(&table.to_string());
    }
    text
}

fn files(text: &mut String, learned: &Learned) {
    let mode = rest(learned, "files");
    if learned.rules.is_empty() && learned.questions.is_empty() && mode.is_empty() {
        return;
    }
    text.push_str("\n[files]\n");
    text.push_str(&mode);
    for right in Right::ALL {
        let rules = learned.rules.iter().filter(|((of, _), _)| *of == right);
        let questions = learned.questions.iter().filter(|((of, _), _)| *of == right);
        let mut lines = String::new();
        for ((_, path), evidence) in rules {
            lines.push_str(&evidence_line(learned, evidence));
            let rule = rule("path", path, learned.words.get(&(right, path.clone())));
            push(&mut lines, format_args!("    {rule},\n"));
        }
        for ((_, path), question) in questions {
            lines.push_str(&question_line(learned, path, question));
        }
        if !lines.is_empty() {
            push(text, format_args!("{} = [\n{lines}]\n", right.name()));
        }
    }
}

/// A rule as text, or as a table if it says more than what it is about.
fn rule(key: &str, text: &str, words: Option<&BTreeMap<String, toml::Value>>) -> String {
    let text = quoted(text);
    let Some(words) = words else {
        return text;
    };
    let words = words
        .iter()
        .map(|(key, value)| format!(", {key} = {value}"));
    format!("{{ {key} = {text}{} }}", words.collect::<String>())
}

fn network(text: &mut String, learned: &Learned) {
    let rest = rest(learned, "network");
    if learned.network.is_none() && learned.peers.is_empty() && rest.is_empty() {
        return;
    }
    text.push_str("\n[network]\n");
    if let Some(evidence) = &learned.network {
        text.push_str(evidence_line(learned, evidence).trim_start());
        text.push_str("mode = \"off\"\n");
    }
    for right in NetworkRight::ALL {
        let rules = learned.peers.iter().filter(|((of, _), _)| *of == right);
        let mut lines = String::new();
        for ((_, peer), evidence) in rules {
            lines.push_str(&evidence_line(learned, evidence));
            let key = (right, peer.clone());
            if learned.nameless.contains(&key) {
                push(&mut lines, format_args!("    {NAMELESS}\n"));
            }
            let words = learned.peer_words.get(&key);
            push(
                &mut lines,
                format_args!("    {},\n", rule("address", peer, words)),
            );
        }
        if !lines.is_empty() {
            push(text, format_args!("{} = [\n{lines}]\n", right.name()));
        }
    }
    text.push_str(&rest);
}

fn process(text: &mut String, learned: &Learned) {
    let rest = rest(learned, "process");
    if learned.capabilities.is_empty() && learned.system_calls.is_none() && rest.is_empty() {
        return;
    }
    text.push_str("\n[process]\n");
    if !learned.capabilities.is_empty() {
        let questions = BTreeMap::new();
        list(
            text,
            learned,
            "capabilities",
            &learned.capabilities,
            &questions,
        );
    }
    if let Some(calls) = &learned.system_calls {
        text.push_str("syscalls = [\n");
        for name in calls {
            push(text, format_args!("    {},\n", quoted(name)));
        }
        text.push_str("]\n");
    }
    text.push_str(&rest);
}

/// A list of words with their evidence.
fn list(
    text: &mut String,
    learned: &Learned,
    key: &str,
    words: &BTreeMap<String, Evidence>,
    questions: &BTreeMap<String, Question>,
) {
    push(text, format_args!("{key} = [\n"));
    for (word, evidence) in words {
        text.push_str(&evidence_line(learned, evidence));
        push(text, format_args!("    {},\n", quoted(word)));
    }
    for (word, question) in questions {
        text.push_str(&question_line(learned, word, question));
    }
    text.push_str("]\n");
}

/// `#? "~/.netrc", # a password; in 1 of 1 runs: 1f (1)`
fn question_line(learned: &Learned, about: &str, question: &Question) -> String {
    let evidence = evidence_text(learned, &question.evidence);
    format!(
        "    #? {}, # {}; {evidence}\n",
        quoted(about),
        question.because
    )
}

fn evidence_line(learned: &Learned, evidence: &Evidence) -> String {
    if evidence.runs.is_empty() {
        return String::new();
    }
    format!("    #: {}\n", evidence_text(learned, evidence))
}

/// `in 2 of 3 runs: 1f (12), 2e (9); by make, cc`
fn evidence_text(learned: &Learned, evidence: &Evidence) -> String {
    let runs: Vec<_> = evidence
        .runs
        .iter()
        .map(|(run, count)| format!("{run} ({count})"))
        .collect();
    let programs: Vec<_> = evidence.programs.iter().map(String::as_str).collect();
    let by = if programs.is_empty() {
        String::new()
    } else {
        format!("; by {}", programs.join(", "))
    };
    format!(
        "in {} of {} runs: {}{by}",
        evidence.runs.len(),
        learned.runs.len(),
        runs.join(", ")
    )
}

/// A section of which everything was written by hand; the top of the profile has no name.
fn section(text: &mut String, learned: &Learned, name: &str) {
    let lines = rest(learned, name);
    if lines.is_empty() {
        return;
    }
    if !name.is_empty() {
        push(text, format_args!("\n[{name}]\n"));
    }
    text.push_str(&lines);
}

/// What was written by hand in one section.
fn rest(learned: &Learned, section: &str) -> String {
    let mut lines = String::new();
    for (key, value) in &learned.rest {
        let (of, key) = key.split_once('.').unwrap_or(("", key));
        if of == section && key != "program" {
            push(&mut lines, format_args!("{key} = {value}\n"));
        }
    }
    lines
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Appends to a string, which takes everything.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}
