//! `profile test`: which rule decides about a path.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::look::look;
use super::{Error, Request, commented};
use crate::compile::{Explainer, Explanation, follow};
use crate::profile::{self, Right};

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The programs that are entered one after the other before it is asked, by their paths; none for the profile at large.
    pub programs: Vec<PathBuf>,
    /// The path.
    pub path: PathBuf,
    /// The rights.
    pub rights: Vec<Right>,
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
    let path = resolved(&question.path);
    let explanations: Vec<_> = question
        .rights
        .iter()
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
    Ok(explanations.iter().all(|explanation| explanation.allowed))
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
    if let Some(program) = &explanation.enters {
        writeln!(out, "  enters program `{}`", commented(program))?;
    }
    if let Some(hint) = &explanation.hint {
        writeln!(out, "  {}", commented(hint))?;
    }
    if let Some(suggestion) = &explanation.suggestion {
        write!(out, "  to allow it: {} in [files]", suggestion.profile)?;
        if explanation.program.is_some() {
            write!(out, " of the [[program]]")?;
        }
        match &suggestion.flag {
            Some(flag) => writeln!(out, ", or {flag}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}
