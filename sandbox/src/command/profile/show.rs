//! `profile show`: what a profile comes to, with where everything came from.

use std::io::{self, Write};

use super::json::as_json;
use super::{Error, Request, commented, link_text};
use crate::compile::{Bound, BoundNetwork, Cover, Explainer, Meaning, Section};
use crate::policy::Sni;
use crate::profile::{
    self, NetworkRight, Opening, Program, Right, RuleEntry, RuleTable, SyscallChoice,
};

/// `profile show`: the effective profile as TOML that says the same without extending anything, with a comment for each
/// rule that says where it came from; or as JSON.
///
/// # Errors
///
/// If the profile has an error, or `out` cannot be written.
pub fn show(request: Request, json: bool, out: &mut dyn Write) -> Result<(), Error> {
    let (effective, explainer) = request.load()?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &as_json(&effective, &explainer))?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "# {}", commented(&effective.lineage.join(" + ")))?;
    let document = effective.to_document();
    writeln!(out, "version = 1")?;
    writeln!(out, "name = {}", quoted(&effective.name))?;
    if let Some(because) = &effective.because {
        writeln!(out, "because = {}", quoted(because))?;
    }
    show_files("files", &explainer.sections[0], &explainer, out)?;
    show_network("network", &explainer.sections[0], &explainer, out)?;
    writeln!(out, "\n[process]")?;
    writeln!(out, "capabilities = {}", toml_list(&effective.capabilities))?;
    match &effective.syscalls {
        SyscallChoice::Default => writeln!(out, "syscalls = \"default\"")?,
        SyscallChoice::Listed(names) => writeln!(out, "syscalls = {}", toml_list(names))?,
    }
    writeln!(out, "allow-privilege-gain = {}", effective.privilege_gain)?;
    show_kernel("kernel", &effective.kernel, out)?;
    let rest = profile::Document {
        limits: document.limits,
        protection: document.protection,
        ..profile::Document::default()
    };
    // What is left are plain tables; the library writes them, behind the version, which stands above already.
    let rest = toml::to_string(&rest).map_err(io::Error::other)?;
    if let Some((_, tables)) = rest.split_once('\n') {
        write!(out, "{tables}")?;
    }
    let mut numbers = 1..;
    show_programs(
        "program",
        &effective.programs,
        &mut numbers,
        &explainer,
        out,
    )?;
    Ok(())
}

/// The sections of `programs`, which are `table` in TOML's words; `numbers` are those that they and what is in them have.
fn show_programs(
    table: &str,
    programs: &[Program],
    numbers: &mut std::ops::RangeFrom<usize>,
    explainer: &Explainer,
    out: &mut dyn Write,
) -> io::Result<()> {
    for program in programs {
        let number = numbers.next().unwrap_or_default();
        // Numbered alike: see `compile::Section`.
        let Some(section) = explainer.sections.get(number) else {
            return Err(io::Error::other("a program has no number"));
        };
        writeln!(out, "\n[[{table}]]")?;
        if let Some(path) = section.path.map(|path| &explainer.rules[path]) {
            writeln!(out, "# {}", commented(&path.rule.origin.to_string()))?;
            writeln!(out, "path = {}", quoted(&path_text(path)))?;
        }
        if let Some(because) = &program.because {
            writeln!(out, "because = {}", quoted(because))?;
        }
        if !program.inherit {
            writeln!(out, "inherit = false")?;
        }
        show_files(&format!("{table}.files"), section, explainer, out)?;
        show_network(&format!("{table}.network"), section, explainer, out)?;
        show_kernel(&format!("{table}.kernel"), &program.sections.kernel, out)?;
        let inner = format!("{table}.program");
        show_programs(&inner, &program.sections.programs, numbers, explainer, out)?;
    }
    Ok(())
}

/// All that the path of a program covers, as one pattern.
fn path_text(path: &Bound) -> String {
    let covers: Vec<_> = path.covers.iter().map(|cover| cover.glob.text()).collect();
    match &covers[..] {
        [one] => one.clone(),
        several => format!("{{{}}}", several.join(",")),
    }
}

/// The section's own rules.
fn show_files(
    table: &str,
    section: &Section,
    explainer: &Explainer,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "\n[{table}]")?;
    writeln!(out, "mode = {}", quoted(section.mode.name()))?;
    for right in Right::ALL {
        let of_right = || {
            let rules = explainer.rules[section.own.clone()].iter();
            rules.filter(move |bound| bound.rule.right == right)
        };
        if of_right().next().is_none() {
            continue;
        }
        writeln!(out, "{right} = [")?;
        for bound in of_right() {
            show_rule(bound, out)?;
        }
        writeln!(out, "]")?;
    }
    Ok(())
}

/// The section's own rules about the network.
fn show_network(
    table: &str,
    section: &Section,
    explainer: &Explainer,
    out: &mut dyn Write,
) -> io::Result<()> {
    let network = &section.network;
    writeln!(out, "\n[{table}]")?;
    writeln!(out, "mode = {}", quoted(network.mode.name()))?;
    let around = &explainer.sections[usize::from(section.parent)].network;
    let said = section.path.is_none() || network.sni != around.sni;
    if said && (network.sni != Sni::default() || section.path.is_some()) {
        writeln!(out, "sni = {}", quoted(network.sni.name()))?;
    }
    for right in NetworkRight::ALL {
        let own = explainer.network[network.own.clone()].iter();
        let of_right: Vec<_> = own.filter(|bound| bound.rule.right == right).collect();
        if of_right.is_empty() {
            continue;
        }
        writeln!(out, "{right} = [")?;
        for bound in of_right {
            show_network_rule(bound, out)?;
        }
        writeln!(out, "]")?;
    }
    Ok(())
}

fn show_network_rule(bound: &BoundNetwork, out: &mut dyn Write) -> io::Result<()> {
    let rule = &bound.rule;
    let written = rule.shown();
    let texts = bound.texts();
    let origin = commented(&rule.origin.to_string());
    if texts == [written.as_str()] {
        writeln!(out, "    # {origin}")?;
    } else {
        writeln!(out, "    # {origin}: {}", commented(&written))?;
    }
    if let Meaning::Socket(socket) = &bound.meaning {
        for one in &socket.unfollowed {
            let link = link_text(&one.link.path, &one.link.target);
            writeln!(out, "    # not followed: {link}: {}", one.reason)?;
        }
    }
    for text in texts {
        if rule.because.is_none() && !rule.expected {
            writeln!(out, "    {},", quoted(&text))?;
        } else {
            let table = inline_table("address", &text, rule.because.as_deref(), rule.expected);
            writeln!(out, "    {table},")?;
        }
    }
    Ok(())
}

fn show_kernel(section: &str, openings: &[Opening], out: &mut dyn Write) -> io::Result<()> {
    if openings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n[{section}]\nallow = [")?;
    for opening in openings {
        writeln!(out, "    # {}", commented(&opening.origin.to_string()))?;
        writeln!(out, "    {},", quoted(opening.surface.name))?;
    }
    writeln!(out, "]")
}

fn show_rule(bound: &Bound, out: &mut dyn Write) -> io::Result<()> {
    let rule = &bound.rule;
    let written = rule.shown();
    let is_same = bound.covers.len() == 1 && bound.covers[0].glob.text() == written;
    if is_same {
        writeln!(out, "    # {}", commented(&rule.origin.to_string()))?;
    } else {
        let origin = commented(&rule.origin.to_string());
        writeln!(out, "    # {origin}: {}", commented(&written))?;
    }
    for one in &bound.unfollowed {
        let link = link_text(&one.link.path, &one.link.target);
        writeln!(out, "    # not followed: {link}: {}", one.reason)?;
    }
    for cover in &bound.covers {
        let entry = match rule_entry(bound, cover) {
            RuleEntry::Text(path) => quoted(&path),
            RuleEntry::Table(table) => inline_table(
                "path",
                &table.path,
                table.because.as_deref(),
                table.expected,
            ),
        };
        let links: Vec<_> = cover
            .links
            .iter()
            .map(|link| link_text(&link.path, &link.target))
            .collect();
        if links.is_empty() {
            writeln!(out, "    {entry},")?;
        } else {
            writeln!(out, "    {entry}, # by {}", links.join(", "))?;
        }
    }
    Ok(())
}

fn rule_entry(bound: &Bound, cover: &Cover) -> RuleEntry {
    let path = cover.glob.text();
    if bound.rule.because.is_none() && !bound.rule.expected {
        return RuleEntry::Text(path);
    }
    RuleEntry::Table(RuleTable {
        path,
        because: bound.rule.because.clone(),
        expected: bound.rule.expected,
    })
}

fn inline_table(key: &str, value: &str, because: Option<&str>, expected: bool) -> String {
    let mut text = format!("{{ {key} = {}", quoted(value));
    if let Some(because) = because {
        text.push_str(&format!(", because = {}", quoted(because)));
    }
    if expected {
        text.push_str(", expected = true");
    }
    text.push_str(" }");
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml_list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}
