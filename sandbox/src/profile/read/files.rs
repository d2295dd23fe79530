//! `[files]`: rules about paths.

use std::sync::Arc;

use super::super::error::Error;
use super::super::layer::Sections;
use super::super::rule::{Right, Rule};
use super::super::source::Place;
use super::super::tree::{Content, Node};
use super::value::{list, meaning, section, text, truth, unknown, word};
use super::{FILES_KEYS, RULE_KEYS};
use crate::policy::Mode;

/// Adds what the section `node` of the profile `profile` says to `sections`.
pub(super) fn files(
    sections: &mut Sections,
    profile: &Arc<str>,
    place: &Place,
    node: Node,
) -> Result<(), Error> {
    for entry in section(place, node, "files")? {
        if entry.key == "mode" {
            let modes = [Mode::Enforce, Mode::Audit, Mode::Off];
            sections.files_mode = Some(word(&entry.node, "mode", &modes, Mode::name)?);
            continue;
        }
        let right = Right::ALL
            .into_iter()
            .find(|right| right.name() == entry.key);
        let Some(right) = right else {
            return Err(unknown(&entry.key, &entry.place, "[files]", &FILES_KEYS));
        };
        let expected = "a list of rules, as in `[\"/usr/**\"]`";
        for item in list(entry.node, right.name(), expected)? {
            sections.rules.push(rule(profile, right, item)?);
        }
    }
    Ok(())
}

fn rule(profile: &Arc<str>, right: Right, node: Node) -> Result<Rule, Error> {
    let Node { place, value } = node;
    let entries = match value {
        Content::Text(path) => return Rule::in_profile(right, &path, profile, &place),
        Content::Table(entries) => entries,
        other => {
            return Err(meaning(
                &place,
                &format!("a rule is {}", other.kind()),
                "write a string, or a table as in `{ path = \"/x\", because = \"...\" }`",
            ));
        }
    };
    let mut path = None;
    let mut because = None;
    let mut expected = false;
    for entry in entries {
        match entry.key.as_str() {
            "path" => path = Some((text(&entry.node, "path")?, entry.node.place)),
            "because" => because = Some(text(&entry.node, "because")?),
            "expected" => expected = truth(&entry.node, "expected")?,
            _ => return Err(unknown(&entry.key, &entry.place, "a rule", &RULE_KEYS)),
        }
    }
    let Some((path, place)) = path else {
        return Err(meaning(
            &place,
            "the rule has no `path`",
            "add `path = \"/...\"`",
        ));
    };
    let mut rule = Rule::in_profile(right, &path, profile, &place)?;
    rule.because = because;
    rule.expected = expected;
    Ok(rule)
}
