//! `[[program]]`: rights of one program and what it starts.

use std::sync::Arc;

use super::super::error::Error;
use super::super::layer::{Program, Sections};
use super::super::rule::{Right, Rule};
use super::super::source::Place;
use super::super::tree::{Content, Entry, Node};
use super::files::files;
use super::network::network;
use super::process::kernel;
use super::value::{list, meaning, text, truth, unknown, wrong_kind};
use super::{PROGRAM_KEYS, WHOLE_RUN, extends};

/// The sections in the list `node`.
pub(super) fn programs(profile: &Arc<str>, node: Node) -> Result<Vec<Program>, Error> {
    list(node, "program", "a list of sections: [[program]]")?
        .into_iter()
        .map(|item| program(profile, item))
        .collect()
}

fn program(profile: &Arc<str>, node: Node) -> Result<Program, Error> {
    let Content::Table(entries) = node.value else {
        return Err(wrong_kind(
            &node.place,
            "program",
            &node.value,
            "a section: [[program]]",
        ));
    };
    let mut path = None;
    let mut because = None;
    let mut inherit = true;
    let mut extended = Vec::new();
    let mut sections = Sections::default();
    for entry in entries {
        let Entry { key, place, node } = entry;
        match key.as_str() {
            "path" => {
                let text = text(&node, "path")?;
                path = Some(Rule::in_profile(Right::Exec, &text, profile, &node.place)?);
            }
            "because" => because = Some(text(&node, "because")?),
            "inherit" => inherit = truth(&node, "inherit")?,
            "extends" => extended = extends(node)?,
            "files" => files(&mut sections, profile, &place, node)?,
            "network" => network(&mut sections, profile, &place, node)?,
            "kernel" => sections.kernel = kernel(profile, &place, node)?,
            "program" => sections.programs = programs(profile, node)?,
            key if WHOLE_RUN.contains(&key) => return Err(whole_run(key, &place)),
            _ => return Err(unknown(&key, &place, "[[program]]", &PROGRAM_KEYS)),
        }
    }
    let Some(path) = path else {
        return Err(meaning(
            &node.place,
            "the section has no `path`",
            "add `path = \"/usr/bin/...\"`",
        ));
    };
    Ok(Program {
        path,
        because,
        inherit,
        extends: extended,
        sections,
    })
}

/// What the kernel keeps for a process once and for all cannot differ from program to program.
fn whole_run(section: &str, place: &Place) -> Error {
    let why = match section {
        "process" => {
            "capabilities, system calls and privileges are given up once, and do not change at exec"
        }
        "limits" => "limits are those of the whole fence",
        _ => "what may degrade is asked before the run",
    };
    meaning(
        place,
        &format!("[{section}] cannot stand in a [[program]]: {why}"),
        &format!("write [{section}] once, for the whole profile"),
    )
}
