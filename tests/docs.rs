//! The documents say what is so: their profiles are read and compiled, their table of patterns is tried, and what they
//! refer to is there.

use std::fs;
use std::path::{Path, PathBuf};

use ringfence::compile::{Entry, Explainer, compile};
use ringfence::policy::Policy;
use ringfence::profile::{CommandLine, Right, Rule, Variables, from_text};
use ringfence_abi::rights::READ;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of `language` in a document, each with its line.
fn blocks(document: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in document.lines().enumerate() {
        match &mut open {
            None if line == format!("```{language}") => open = Some((index + 2, String::new())),
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

fn variables() -> Variables {
    Variables::new()
        .with("CWD", "/home/ann/work")
        .with("HOME", "/home/ann")
        .with("TMP", "/tmp/ringfence-x")
        .with("USER", "ann")
        .with("UID", "1000")
        .with("CACHE", "/home/ann/.cache")
        .with("CONFIG", "/home/ann/.config")
}

fn compiled(name: &str, profile: &str, command_line: CommandLine) -> (Policy, Explainer) {
    let effective = from_text(name, profile.as_bytes(), false, command_line)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    compile(&effective, &variables(), &|_| Entry::Missing)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
fn every_profile_compiles(document: &str, at_least: usize) {
    let blocks = blocks(&text(document), "toml");
    assert!(blocks.len() >= at_least, "{document} has lost its examples");
    for (line, block) in blocks {
        compiled(
            &format!("{document}:{line}"),
            &block,
            CommandLine::default(),
        );
    }
}

#[test]
fn every_profile_of_the_reference_compiles() {
    every_profile_compiles("docs/profile.md", 7);
}

#[test]
fn every_profile_of_the_readme_compiles() {
    every_profile_compiles("README.md", 1);
}

#[test]
fn the_whole_example_gives_what_its_words_say() {
    let (_, block) = blocks(&text("docs/profile.md"), "toml").remove(0);
    let (policy, explainer) = compiled("docs/profile.md", &block, CommandLine::default());
    let allowed = |path: &str, right| -> bool { explainer.explain(path.as_bytes(), right).allowed };
    assert!(allowed("/home/ann/work/src/main.c", Right::Read));
    assert!(allowed("/home/ann/work/out/main.o", Right::Write));
    assert!(!allowed("/home/ann/work/src/main.c", Right::Write));
    assert!(allowed("/home/ann/work/tools/gen", Right::Exec));
    assert!(!allowed("/home/ann/work/deploy/.env", Right::Read));
    assert!(!allowed("/home/ann/work/.cache/x", Right::Read));
    assert_eq!(policy.limits.wall_seconds, Some(5400));
    assert_eq!(policy.limits.cpu_percent, Some(150));
}

#[test]
fn every_part_of_the_kernel_and_every_group_of_calls_is_in_the_reference() {
    let document = text("docs/profile.md");
    let rows: Vec<&str> = document
        .lines()
        .skip_while(|line| *line != "| name | what it opens |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let parts: Vec<String> = ringfence_abi::surface::ALL
        .iter()
        .map(|surface| format!("| `{}` | {} |", surface.name, surface.text))
        .collect();
    assert_eq!(rows, parts);
    for group in ringfence::profile::syscall::groups() {
        assert!(document.contains(&format!("`{group}`")), "{group}");
    }
}

/// The paths between back quotes in a cell of a table.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_of_the_table_of_patterns_is_so() {
    let document = text("docs/profile.md");
    let rows: Vec<&str> = document
        .lines()
        .skip_while(|line| !line.starts_with("| pattern |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 12, "the table of patterns is gone");
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let [_, pattern, covers, others, _] = cells[..] else {
            panic!("a row has three cells: {row}");
        };
        let pattern = quoted(pattern)[0];
        // As a profile would have it: what is special on the command line, it is not.
        let profile = format!("version = 1\n[files]\nread = ['{pattern}']\n");
        let (policy, explainer) = compiled(pattern, &profile, CommandLine::default());
        let reads = |path: &str| {
            let asked = explainer.explain(path.as_bytes(), Right::Read).allowed;
            let run = policy.files.automaton.rights(path.as_bytes()) & READ != 0;
            assert_eq!(asked, run, "{pattern} on {path}: rule and automaton differ");
            run
        };
        for path in quoted(covers) {
            assert!(reads(path), "{pattern} does not cover {path}");
        }
        for path in quoted(others) {
            assert!(!reads(path), "{pattern} covers {path}");
        }
    }
}

#[test]
fn a_directory_of_the_command_line_means_everything_below() {
    let rule = Rule::from_command_line(Right::Read, "out".as_ref(), Path::new("/home/ann/work"));
    let command_line = CommandLine {
        rules: vec![rule.unwrap()],
        ..CommandLine::default()
    };
    let effective = from_text(
        "test",
        b"version = 1\n[files]\nread = [\"/x\"]\n",
        false,
        command_line,
    );
    let (policy, _) = compile(&effective.unwrap(), &variables(), &|_| Entry::Directory).unwrap();
    assert_eq!(policy.files.automaton.rights(b"/home/ann/work/out/a"), READ);
    assert_eq!(policy.files.automaton.rights(b"/x/a"), 0);
}

#[test]
fn the_readme_has_the_command_that_ci_runs() {
    assert!(text("README.md").contains("    cargo xtask test "));
    assert!(text(".ci/run").contains("exec cargo xtask test"));
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut documents: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/profile.md",
        "docs/learn.md",
        "docs/ci.md",
        "docs/performance.md",
        "docs/containers.md",
        "docs/threat-model.md",
    ]
    .map(|name| root().join(name))
    .into();
    let decisions = fs::read_dir(root().join("docs/decisions")).unwrap();
    documents.extend(decisions.map(|entry| entry.unwrap().path()));
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap();
            if target.is_empty() || target.starts_with("https://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(
                path.exists(),
                "{}: {target} is not there",
                document.display()
            );
        }
    }
}

#[test]
fn decisions_are_numbered_in_order() {
    let mut names: Vec<String> = fs::read_dir(root().join("docs/decisions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        let number = index + 1;
        assert!(
            name.starts_with(&format!("{number:04}-")),
            "{name} should be number {number}"
        );
        let title = text(&format!("docs/decisions/{name}"));
        assert!(title.starts_with(&format!("# {number}. ")), "{name}: title");
    }
}
