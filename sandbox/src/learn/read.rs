//! A profile file as a learned profile: rules with the evidence that stands above them, and everything else as it is.

use std::collections::BTreeMap;

use toml_edit::{Array, DocumentMut, Item, RawString, TableLike, Value};

use super::{Evidence, Learned, Question, Run, render::NAMELESS};
use crate::profile::{NetworkRight, Right};

/// Why a file cannot be read as a learned profile.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not TOML.
    #[error("cannot read the profile: {0}")]
    Toml(#[from] toml_edit::TomlError),
    /// A line of evidence was changed into something else.
    #[error("this line of evidence makes no sense: {0}")]
    Evidence(String),
    /// A value is not of the kind that it should be.
    #[error("`{0}` is not what a profile has there")]
    Value(String),
}

/// Reads `text`, a profile in TOML that is known to be one.
///
/// # Errors
/// See [`Unreadable`].
pub fn read(text: &str) -> Result<Learned, Unreadable> {
    let document: DocumentMut = text.parse()?;
    let mut learned = Learned::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#: run ") {
            let (name, run) = run(rest).ok_or_else(|| Unreadable::Evidence(line.to_owned()))?;
            learned.runs.insert(name, run);
        }
    }
    for (key, item) in document.iter() {
        let table = item.as_table_like();
        match (key, table) {
            ("version", _) => {}
            ("extends", _) => {
                for value in array(key, item)?.iter() {
                    learned.extends.insert(word(key, value)?);
                }
            }
            ("files", Some(table)) => files(&mut learned, table)?,
            ("network", Some(table)) => network(&mut learned, table)?,
            ("process", Some(table)) => process(&mut learned, table)?,
            ("kernel", Some(table)) => {
                for (key, item) in table.iter() {
                    if key == "allow" {
                        learned.kernel = words(key, item)?;
                        learned.kernel_questions = questions_among(array(key, item)?)?;
                    } else {
                        keep(&mut learned, "kernel", key, item)?;
                    }
                }
            }
            ("variables" | "limits" | "protection", Some(table)) => {
                for (name, item) in table.iter() {
                    keep(&mut learned, key, name, item)?;
                }
            }
            _ => keep(&mut learned, "", key, item)?,
        }
    }
    Ok(learned)
}

fn files(learned: &mut Learned, table: &dyn TableLike) -> Result<(), Unreadable> {
    for (key, item) in table.iter() {
        let Some(right) = Right::ALL.into_iter().find(|right| right.name() == key) else {
            keep(learned, "files", key, item)?;
            continue;
        };
        let list = array(key, item)?;
        for value in list.iter() {
            let before = comment(value.decor().prefix());
            let evidence = evidence_in(before)?;
            let (path, words) = rule(key, "path", value)?;
            if !words.is_empty() {
                learned.words.insert((right, path.clone()), words);
            }
            learned
                .rules
                .entry((right, path))
                .or_default()
                .join(&evidence);
        }
        let asked = questions_among(list)?.into_iter();
        learned
            .questions
            .extend(asked.map(|(path, question)| ((right, path), question)));
    }
    Ok(())
}

/// What a rule is about, which stands under `about` if it is a table, and what else it says.
fn rule(
    key: &str,
    about: &str,
    value: &Value,
) -> Result<(String, BTreeMap<String, toml::Value>), Unreadable> {
    let mut words = BTreeMap::new();
    let Some(table) = value.as_inline_table() else {
        return Ok((word(key, value)?, words));
    };
    for (word, value) in table.iter().filter(|(word, _)| *word != about) {
        words.insert(word.to_owned(), plain(word, &Item::Value(value.clone()))?);
    }
    let text = table.get(about).and_then(Value::as_str);
    let text = text.ok_or_else(|| Unreadable::Value(key.to_owned()))?;
    Ok((text.to_owned(), words))
}

/// The questions in the comments of a list, by what they are about.
fn questions_among(list: &Array) -> Result<BTreeMap<String, Question>, Unreadable> {
    let comments = list.iter().map(|value| comment(value.decor().prefix()));
    let comments = comments.chain([comment(Some(list.trailing()))]);
    let mut questions = BTreeMap::new();
    for line in comments.flat_map(str::lines) {
        let Some(rest) = line.trim().strip_prefix("#? ") else {
            continue;
        };
        let unclear = || Unreadable::Evidence(line.trim().to_owned());
        let (rule, rest) = rest.split_once(", # ").ok_or_else(unclear)?;
        let rule: Value = rule.parse().map_err(|_| unclear())?;
        let about = rule.as_str().ok_or_else(unclear)?.to_owned();
        let (because, evidence) = rest.split_once("; ").ok_or_else(unclear)?;
        let evidence = self::evidence(evidence).ok_or_else(unclear)?;
        let question = Question {
            because: because.to_owned(),
            evidence,
        };
        questions.insert(about, question);
    }
    Ok(questions)
}

fn network(learned: &mut Learned, table: &dyn TableLike) -> Result<(), Unreadable> {
    for (key, item) in table.iter() {
        if key == "mode" && item.as_str() == Some("off") {
            let decor = table.key(key).map(|key| key.leaf_decor().prefix());
            learned.network = Some(evidence_in(comment(decor.flatten()))?);
            continue;
        }
        let Some(right) = NetworkRight::ALL
            .into_iter()
            .find(|right| right.name() == key)
        else {
            keep(learned, "network", key, item)?;
            continue;
        };
        for value in array(key, item)?.iter() {
            let before = comment(value.decor().prefix());
            let evidence = evidence_in(before)?;
            let (peer, words) = rule(key, "address", value)?;
            if before.lines().any(|line| line.trim() == NAMELESS) {
                learned.nameless.insert((right, peer.clone()));
            }
            if !words.is_empty() {
                learned.peer_words.insert((right, peer.clone()), words);
            }
            learned
                .peers
                .entry((right, peer))
                .or_default()
                .join(&evidence);
        }
    }
    Ok(())
}

fn process(learned: &mut Learned, table: &dyn TableLike) -> Result<(), Unreadable> {
    for (key, item) in table.iter() {
        match key {
            "capabilities" => learned.capabilities = words(key, item)?,
            "syscalls" if item.is_array() => {
                let names = array(key, item)?.iter().map(|value| word(key, value));
                learned.system_calls = Some(names.collect::<Result<_, _>>()?);
            }
            "syscalls" => {}
            _ => keep(learned, "process", key, item)?,
        }
    }
    Ok(())
}

/// A list of words with the evidence above each.
fn words(key: &str, item: &Item) -> Result<BTreeMap<String, Evidence>, Unreadable> {
    let mut words = BTreeMap::new();
    for value in array(key, item)?.iter() {
        let evidence = evidence_in(comment(value.decor().prefix()))?;
        words.insert(word(key, value)?, evidence);
    }
    Ok(words)
}

/// What is not ours to understand.
fn keep(learned: &mut Learned, section: &str, key: &str, item: &Item) -> Result<(), Unreadable> {
    let value = plain(key, item)?;
    let key = if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    };
    learned.rest.insert(key, value);
    Ok(())
}

/// A value without its comments.
fn plain(key: &str, item: &Item) -> Result<toml::Value, Unreadable> {
    let mut document = toml_edit::DocumentMut::new();
    document.insert("value", item.clone());
    let table: toml::Table = document
        .to_string()
        .parse()
        .map_err(|_| Unreadable::Value(key.to_owned()))?;
    let value = table.get("value").cloned();
    value.ok_or_else(|| Unreadable::Value(key.to_owned()))
}

fn array<'a>(key: &str, item: &'a Item) -> Result<&'a Array, Unreadable> {
    item.as_array()
        .ok_or_else(|| Unreadable::Value(key.to_owned()))
}

fn word(key: &str, value: &Value) -> Result<String, Unreadable> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Unreadable::Value(key.to_owned()))
}

fn comment(decor: Option<&RawString>) -> &str {
    decor.and_then(RawString::as_str).unwrap_or_default()
}

/// The evidence among the lines of a comment; none if it was written by hand.
fn evidence_in(comment: &str) -> Result<Evidence, Unreadable> {
    let mut found = Evidence::default();
    for line in comment.lines() {
        if let Some(rest) = line.trim().strip_prefix("#: ")
            && !rest.starts_with("run ")
        {
            let unclear = || Unreadable::Evidence(line.trim().to_owned());
            found.join(&evidence(rest).ok_or_else(unclear)?);
        }
    }
    Ok(found)
}

/// `in 2 of 3 runs: 1f (12), 2e (9); by make, cc`. How many of how many is said for people: the runs tell.
fn evidence(text: &str) -> Option<Evidence> {
    let (_, rest) = text.strip_prefix("in ")?.split_once(" runs: ")?;
    let (runs, programs) = match rest.split_once("; by ") {
        Some((runs, programs)) => (runs, programs),
        None => (rest, ""),
    };
    let mut evidence = Evidence::default();
    for run in runs.split(", ") {
        let (name, count) = run.strip_suffix(')')?.split_once(" (")?;
        evidence.runs.insert(name.to_owned(), count.parse().ok()?);
    }
    evidence.programs = programs
        .split(", ")
        .filter(|program| !program.is_empty())
        .map(str::to_owned)
        .collect();
    Some(evidence)
}

/// `1f, 1234 bytes, 5 tasks: make -j2`
fn run(text: &str) -> Option<(String, Run)> {
    let (facts, command) = text.split_once(": ").or_else(|| text.split_once(':'))?;
    let mut facts = facts.split(", ");
    let name = facts.next()?.to_owned();
    let mut run = Run {
        command: command.to_owned(),
        ..Run::default()
    };
    for fact in facts {
        if let Some(bytes) = fact.strip_suffix(" bytes") {
            run.memory = Some(bytes.parse().ok()?);
        } else if fact == "sampled" {
            run.sampled = true;
        } else {
            run.tasks = Some(fact.strip_suffix(" tasks")?.parse().ok()?);
        }
    }
    Some((name, run))
}
