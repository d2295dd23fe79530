//! `profile test`: which rule decides about a path, a peer or a socket.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::look::look;
use super::peer::Asked;
use super::{Error, Request, commented};
use crate::compile::{Deciding, Explainer, Explanation, NetworkExplanation, Suggestion, follow};
use crate::policy::NetworkQuestion;
use crate::profile::{self, Right};

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The programs that are entered one after the other before it is asked, by their paths; none for the profile at large.
    pub programs: Vec<PathBuf>,
    /// The path, if one is asked about.
    pub path: Option<PathBuf>,
    /// The rights to it.
    pub rights: Vec<Right>,
    /// Peers that would be reached.
    pub connect: Vec<String>,
    /// Addresses that would be bound.
    pub listen: Vec<String>,
    /// Unix sockets that would be reached.
    pub unix: Vec<OsString>,
}

/// `profile test`: which rule decides whether a path may be used for each of some rights, and why. Relative paths are taken
/// from `cwd`; links are followed, as the kernel would. Returns whether all is allowed.
///
/// # Errors
///
/// If the profile has an error, a program has no section, or `out` cannot be written.
pub fn test(
    request: Request,
    question: &Question,
    cwd: &Path,
    json: bool,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let (_, explainer) = request.load()?;
    let resolved = |path: &Path| follow(cwd.join(path).as_os_str().as_bytes(), &look);
    let mut program = 0;
    for path in &question.programs {
        program = enter(&explainer, program, &resolved(path))?;
    }
    if let Some(path) = &question.path {
        let path = resolved(path);
        let rights = question.rights.iter();
        let explanations: Vec<_> = rights
            .map(|&right| explainer.explain_in(program, &path, right))
            .collect();
        if json {
            serde_json::to_writer_pretty(&mut *out, &explanations)?;
            writeln!(out)?;
        } else {
            for explanation in &explanations {
                explain(explanation, out)?;
            }
        }
        return Ok(explanations.iter().all(|explanation| explanation.allowed));
    }
    let explanations = network(&explainer, program, question, &resolved)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &explanations)?;
        writeln!(out)?;
    } else {
        for explanation in &explanations {
            explain_network(explanation, out)?;
        }
    }
    Ok(explanations.iter().all(|explanation| explanation.allowed))
}

/// What is asked about the network.
fn network(
    explainer: &Explainer,
    program: u8,
    question: &Question,
    resolved: &dyn Fn(&Path) -> Vec<u8>,
) -> Result<Vec<NetworkExplanation>, Error> {
    let mut explanations = Vec::new();
    for text in &question.connect {
        let asked = Asked::parse(text)?;
        explanations.push(explainer.explain_network(program, &asked.connect()));
    }
    for text in &question.listen {
        let asked = Asked::parse(text)?;
        explanations.push(explainer.explain_network(program, &asked.listen()?));
    }
    for text in &question.unix {
        explanations.push(match text.as_bytes() {
            [b'@', name @ ..] => {
                explainer.explain_network(program, &NetworkQuestion::Abstract(name))
            }
            _ => {
                let path = resolved(Path::new(text));
                explainer.explain_network(program, &NetworkQuestion::Socket(&path))
            }
        });
    }
    Ok(explanations)
}

/// The program that an exec of `path` enters from inside `program`.
fn enter(explainer: &Explainer, program: u8, path: &[u8]) -> Result<u8, Error> {
    match explainer.entered(program, path) {
        0 => {
            let sections = &explainer.sections[usize::from(program)].entries;
            let known: Vec<_> = sections
                .iter()
                .filter_map(|&entry| explainer.program(entry))
                .collect();
            Err(Error::NoProgram {
                path: String::from_utf8_lossy(path).into_owned(),
                inside: explainer.program(program),
                known: if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                },
            })
        }
        entered => Ok(entered),
    }
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
    write!(out, "{verdict}: {} {path}", explanation.right)?;
    if let Some(program) = &explanation.program {
        write!(out, " in program `{}`", commented(program))?;
    }
    writeln!(out)?;
    decided(explanation.rule.as_ref(), out)?;
    if let Some(program) = &explanation.enters {
        writeln!(out, "  enters program `{}`", commented(program))?;
    }
    let suggestion = explanation.suggestion.as_ref();
    let inside = explanation.program.is_some();
    remedy(
        explanation.hint.as_deref(),
        suggestion,
        "files",
        inside,
        out,
    )
}

/// An explanation about the network for people.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn explain_network(explanation: &NetworkExplanation, out: &mut dyn Write) -> io::Result<()> {
    let verdict = if explanation.allowed {
        "allowed"
    } else {
        "denied"
    };
    write!(
        out,
        "{verdict}: {} {}",
        explanation.right, explanation.address
    )?;
    if let Some(program) = &explanation.program {
        write!(out, " in program `{}`", commented(program))?;
    }
    writeln!(out)?;
    decided(explanation.rule.as_ref(), out)?;
    let suggestion = explanation.suggestion.as_ref();
    let inside = explanation.program.is_some();
    remedy(
        explanation.hint.as_deref(),
        suggestion,
        "network",
        inside,
        out,
    )
}

/// The rule that decides.
fn decided(rule: Option<&Deciding>, out: &mut dyn Write) -> io::Result<()> {
    match rule {
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
            writeln!(out)
        }
        None => writeln!(out, "  no rule allows it"),
    }
}

/// What else helps, and what would allow it: a line in `section`, which is that of a program if it was asked `inside` one.
fn remedy(
    hint: Option<&str>,
    suggestion: Option<&Suggestion>,
    section: &str,
    inside: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let Some(hint) = hint {
        writeln!(out, "  {}", commented(hint))?;
    }
    if let Some(suggestion) = suggestion {
        write!(out, "  to allow it: {} in [{section}]", suggestion.profile)?;
        if inside {
            write!(out, " of the [[program]]")?;
        }
        match &suggestion.flag {
            Some(flag) => writeln!(out, ", or {flag}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}
