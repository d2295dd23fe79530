//! `profile show --json`.

use serde_json::{Value, json};

use super::link_text;
use crate::compile::{Cover, Explainer, Section};
use crate::policy::Limits;
use crate::profile::{Effective, Opening, Program, SyscallChoice};

/// The effective profile, rules with all that they cover.
pub(super) fn as_json(effective: &Effective, explainer: &Explainer) -> Value {
    let document = effective.to_document();
    json!({
        "version": 1,
        "name": effective.name,
        "because": effective.because,
        "lineage": effective.lineage,
        "files": files_json(&explainer.sections[0], explainer),
        "network": network_json(&explainer.sections[0], explainer),
        "process": {
            "capabilities": effective.capabilities,
            "syscalls": syscalls_json(&effective.syscalls),
            "allow-privilege-gain": effective.privilege_gain,
        },
        "kernel": { "allow": kernel_json(&effective.kernel) },
        "limits": limits_json(&effective.limits),
        "protection": document.protection,
        "program": programs_json(&effective.programs, &mut (1..), explainer),
    })
}

fn files_json(section: &Section, explainer: &Explainer) -> Value {
    let rules: Vec<Value> = explainer.rules[section.own.clone()]
        .iter()
        .map(|bound| {
            let covers: Vec<_> = bound.covers.iter().map(cover_json).collect();
            let unfollowed: Vec<_> = bound
                .unfollowed
                .iter()
                .map(|one| {
                    let link = link_text(&one.link.path, &one.link.target);
                    json!({ "link": link, "reason": one.reason })
                })
                .collect();
            json!({
                "right": bound.rule.right,
                "text": bound.rule.shown(),
                "origin": bound.rule.origin.to_string(),
                "because": bound.rule.because,
                "expected": bound.rule.expected,
                "covers": covers,
                "unfollowed": unfollowed,
            })
        })
        .collect();
    json!({ "mode": section.mode, "rules": rules })
}

fn network_json(section: &Section, explainer: &Explainer) -> Value {
    let own = &explainer.network[section.network.own.clone()];
    let rules: Vec<Value> = own
        .iter()
        .map(|bound| {
            json!({
                "right": bound.rule.right,
                "text": bound.rule.shown(),
                "origin": bound.rule.origin.to_string(),
                "because": bound.rule.because,
                "expected": bound.rule.expected,
                "covers": bound.texts(),
            })
        })
        .collect();
    json!({ "mode": section.network.mode, "sni": section.network.sni.name(), "rules": rules })
}

/// Numbered as [`Section`] numbers them.
fn programs_json(
    programs: &[Program],
    numbers: &mut std::ops::RangeFrom<usize>,
    explainer: &Explainer,
) -> Vec<Value> {
    let mut written = Vec::new();
    for program in programs {
        let section = numbers
            .next()
            .and_then(|number| explainer.sections.get(number));
        let inner = programs_json(&program.sections.programs, numbers, explainer);
        written.extend(section.map(|section| {
            json!({
                "path": program.path.shown(),
                "origin": program.path.origin.to_string(),
                "because": program.because,
                "inherit": program.inherit,
                "files": files_json(section, explainer),
                "network": network_json(section, explainer),
                "kernel": { "allow": kernel_json(&program.sections.kernel) },
                "program": inner,
            })
        }));
    }
    written
}

fn cover_json(cover: &Cover) -> Value {
    let links: Vec<_> = cover
        .links
        .iter()
        .map(|link| link_text(&link.path, &link.target))
        .collect();
    json!({ "path": cover.glob.text(), "links": links })
}

fn syscalls_json(choice: &SyscallChoice) -> Value {
    match choice {
        SyscallChoice::Default => json!("default"),
        SyscallChoice::Listed(names) => json!(names),
    }
}

fn kernel_json(openings: &[Opening]) -> Vec<Value> {
    let entry = |opening: &Opening| json!({ "name": opening.surface.name, "origin": opening.origin.to_string() });
    openings.iter().map(entry).collect()
}

fn limits_json(limits: &Limits) -> Value {
    json!({
        "memory": limits.memory,
        "pids": limits.pids,
        "time": limits.wall_seconds,
        "cpu": limits.cpu_percent,
        "open-files": limits.open_files,
        "file-size": limits.file_size,
    })
}
