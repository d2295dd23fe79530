//! `ringfence profile`: shows, tests, describes and lists profiles. Runs nothing.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use super::look::look;
use crate::compile::{self, Bound, Cover, Explainer, Explanation, explainer, follow};
use crate::policy::{Limits, NetworkPolicy};
use crate::profile::{
    self, CommandLine, Effective, Opening, Right, RuleEntry, RuleTable, SyscallChoice, Variables,
};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile could not be loaded.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// The profile could not be compiled.
    #[error(transparent)]
    Compile(#[from] compile::Error),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
    /// The answer could not be put into its format.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Which profile is meant.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names and paths; none for the default profile.
    pub profiles: Vec<OsString>,
    /// What flags add.
    pub command_line: CommandLine,
    /// Values of variables.
    pub variables: Variables,
}

impl Request {
    fn load(self) -> Result<(Effective, Explainer), Error> {
        let effective = profile::load(&self.profiles, self.command_line)?;
        let explainer = explainer(&effective, &self.variables, &look)?;
        Ok((effective, explainer))
    }
}

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
    show_files(&effective, &explainer, out)?;
    writeln!(out, "\n[network]")?;
    writeln!(out, "mode = {}", quoted(network_word(effective.network)))?;
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
    Ok(())
}

/// `profile test`: which rule decides whether `path` may be used for each of `rights`, and why. A relative path is taken
/// from `cwd`; links are followed, as the kernel would. Returns whether all is allowed.
///
/// # Errors
///
/// If the profile has an error, or `out` cannot be written.
pub fn test(
    request: Request,
    path: &Path,
    cwd: &Path,
    rights: &[Right],
    json: bool,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let (_, explainer) = request.load()?;
    let path = follow(cwd.join(path).as_os_str().as_bytes(), &look);
    let explanations: Vec<_> = rights
        .iter()
        .map(|&right| explainer.explain(&path, right))
        .collect();
    if json {
        serde_json::to_writer_pretty(&mut *out, &explanations)?;
        writeln!(out)?;
    } else {
        for explanation in &explanations {
            explain(explanation, out)?;
        }
    }
    Ok(explanations.iter().all(|explanation| explanation.allowed))
}

/// `profile schema`: the JSON Schema of profile files.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn schema(out: &mut dyn Write) -> Result<(), Error> {
    serde_json::to_writer_pretty(&mut *out, &profile::schema())?;
    writeln!(out)?;
    Ok(())
}

/// `profile list`: the shipped profiles, and what they are for.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn list(out: &mut dyn Write) -> Result<(), Error> {
    for shipped in profile::shipped::ALL {
        let effective = profile::load(&[shipped.name.into()], CommandLine::default())?;
        let because = effective.because.unwrap_or_default();
        writeln!(out, "{:<12} {because}", shipped.name)?;
    }
    Ok(())
}

/// An explanation for people.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn explain(explanation: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    let verdict = if explanation.allowed {
        "allowed"
    } else {
        "denied"
    };
    let path = profile::pattern::escape(explanation.path.as_bytes());
    writeln!(out, "{verdict}: {} {path}", explanation.right)?;
    match &explanation.rule {
        Some(rule) => {
            write!(
                out,
                "  by {} rule `{}` ({})",
                rule.right,
                commented(&rule.text),
                rule.origin
            )?;
            if rule.covers != rule.text {
                write!(out, ", which covers `{}`", rule.covers)?;
            }
            if let Some(because) = &rule.because {
                write!(out, ": {}", commented(because))?;
            }
            writeln!(out)?;
        }
        None => writeln!(out, "  no rule allows it")?,
    }
    if let Some(hint) = &explanation.hint {
        writeln!(out, "  {}", commented(hint))?;
    }
    if let Some(suggestion) = &explanation.suggestion {
        writeln!(
            out,
            "  to allow it: {} in [files], or {}",
            suggestion.profile, suggestion.flag
        )?;
    }
    Ok(())
}

fn show_files(effective: &Effective, explainer: &Explainer, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n[files]")?;
    writeln!(out, "mode = {}", quoted(effective.files_mode.name()))?;
    for right in Right::ALL {
        let of_right = || {
            let rules = explainer.rules.iter();
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
            RuleEntry::Table(table) => inline_table(&table),
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

fn inline_table(table: &RuleTable) -> String {
    let mut text = format!("{{ path = {}", quoted(&table.path));
    if let Some(because) = &table.because {
        text.push_str(&format!(", because = {}", quoted(because)));
    }
    if table.expected {
        text.push_str(", expected = true");
    }
    text.push_str(" }");
    text
}

fn as_json(effective: &Effective, explainer: &Explainer) -> Value {
    let rules: Vec<Value> = explainer
        .rules
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
    let document = effective.to_document();
    json!({
        "version": 1,
        "name": effective.name,
        "because": effective.because,
        "lineage": effective.lineage,
        "files": { "mode": effective.files_mode, "rules": rules },
        "network": { "mode": network_word(effective.network) },
        "process": {
            "capabilities": effective.capabilities,
            "syscalls": syscalls_json(&effective.syscalls),
            "allow-privilege-gain": effective.privilege_gain,
        },
        "kernel": { "allow": kernel_json(&effective.kernel) },
        "limits": limits_json(&effective.limits),
        "protection": document.protection,
    })
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

const fn network_word(network: NetworkPolicy) -> &'static str {
    match network {
        NetworkPolicy::None => "enforce",
        NetworkPolicy::Open => "off",
    }
}

fn link_text(path: &[u8], target: &[u8]) -> String {
    format!(
        "{} -> {}",
        commented(&String::from_utf8_lossy(path)),
        commented(&String::from_utf8_lossy(target))
    )
}

/// `text` without what would end a comment or steer a terminal.
fn commented(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml_list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}
