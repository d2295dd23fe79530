//! What a case comes to: from what it did behind the fence, what it does without one, and what the list says.

use std::path::Path;

use globset::{Glob, GlobMatcher};

use super::attacker::{End, Line};
use super::case::{Case, Unfenced, World};
use super::stage::{Engine, User};

/// The result of a case under one engine, for one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The attack works without a fence and not behind it.
    Held(String),
    /// It works behind the fence.
    Escaped(String),
    /// What is allowed goes on working.
    Works(String),
    /// It does not work here for anybody.
    NotApplicable(String),
    /// The case proves nothing, and must be mended.
    Unproven(String),
}

/// What the fence answers to what it forbids. A system call that is not there is one that seccomp took away; the
/// fallback hides what it closes.
const REFUSALS: [i32; 5] = [
    libc::EACCES,
    libc::EPERM,
    libc::EROFS,
    libc::EXDEV,
    libc::ENOSYS,
];
/// What a kernel without the thing answers.
const NOT_THERE: [i32; 8] = [
    libc::ENOSYS,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ESOCKTNOSUPPORT,
    libc::EPROTOTYPE,
    libc::ENODEV,
    libc::ENXIO,
    libc::EOPNOTSUPP,
];

impl Outcome {
    /// Judges one case. `control` is `None` where none was run.
    pub(super) fn of(
        case: &Case,
        user: User,
        engine: Engine,
        fenced: Option<&Line>,
        control: Option<&Line>,
    ) -> Self {
        let Some(fenced) = fenced else {
            return Self::Unproven("the attacker said nothing of it".into());
        };
        let inside = &fenced.detail;
        match fenced.end {
            End::Escaped if case.world == World::Works => return Self::Works(inside.clone()),
            _ if case.world == World::Works => {
                return Self::Unproven(format!("does not work any more: {inside}"));
            }
            End::Escaped => return Self::Escaped(inside.clone()),
            _ if case.unfenced == Unfenced::Root && user == User::Nobody => {
                return Self::NotApplicable("needs root".into());
            }
            _ if case.unfenced == Unfenced::User && user == User::Root => {
                return Self::NotApplicable("gives root nothing".into());
            }
            End::Broken => return Self::Unproven(format!("behind the fence: {inside}")),
            End::Refused if control.is_some_and(|control| control.end == End::Absent) => {}
            End::Refused if !is_refusal(inside, engine) => {
                return Self::Unproven(format!("{inside} is not how a fence refuses"));
            }
            End::Refused | End::Nothing | End::Absent => {}
        }
        let held = || Self::Held(inside.clone());
        if matches!(case.unfenced, Unfenced::Harmful(_)) {
            return held();
        }
        let Some(control) = control else {
            return Self::Unproven("there was no control".into());
        };
        match control.end {
            End::Escaped if fenced.end == End::Absent => {
                Self::Unproven(format!("only behind the fence: {inside}"))
            }
            End::Escaped => held(),
            End::Absent => Self::NotApplicable(control.detail.clone()),
            End::Refused if NOT_THERE.iter().any(|errno| is(&control.detail, *errno)) => {
                Self::NotApplicable(format!("this kernel: {}", control.detail))
            }
            End::Refused | End::Nothing | End::Broken => Self::Unproven(format!(
                "does not work without a fence either: {}",
                control.detail
            )),
        }
    }

    /// In one word, for the table.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Held(_) => "held",
            Self::Escaped(_) => "escaped",
            Self::Works(_) => "works",
            Self::NotApplicable(_) => "not applicable",
            Self::Unproven(_) => "unproven",
        }
    }

    /// What was seen.
    pub(super) fn detail(&self) -> &str {
        match self {
            Self::Held(detail)
            | Self::Escaped(detail)
            | Self::Works(detail)
            | Self::NotApplicable(detail)
            | Self::Unproven(detail) => detail,
        }
    }
}

fn is(name: &str, errno: i32) -> bool {
    super::attacker::name(errno) == name
}

fn is_refusal(name: &str, engine: Engine) -> bool {
    let hidden = engine == Engine::Fallback && is(name, libc::ENOENT);
    hidden || REFUSALS.iter().any(|errno| is(name, *errno))
}

/// What is known to escape: lines `floor engine user case: why`, each but the last word a glob.
pub(super) struct Known {
    lines: Vec<(String, [GlobMatcher; 4])>,
}

impl Known {
    /// Reads the list; a line that cannot be understood is an error, not a line less.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let mut lines = Vec::new();
        for line in text.lines() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("{}: `{line}`: {why}", file.display());
            let (subject, why) = line.split_once(": ").ok_or_else(|| wrong("no reason"))?;
            if why.trim().is_empty() {
                return Err(wrong("no reason"));
            }
            let globs: Result<Vec<_>, _> = subject
                .split(' ')
                .map(|word| Glob::new(word).map(|glob| glob.compile_matcher()))
                .collect();
            let globs = globs.map_err(|error| wrong(&error.to_string()))?;
            let globs = <[GlobMatcher; 4]>::try_from(globs)
                .map_err(|_| wrong("a line is `floor engine user case: why`"))?;
            lines.push((line.to_owned(), globs));
        }
        Ok(Self { lines })
    }

    /// The line that knows of this.
    pub(super) fn line(&self, words: [&str; 4]) -> Option<&str> {
        let covers = |globs: &[GlobMatcher; 4]| {
            globs
                .iter()
                .zip(words)
                .all(|(glob, word)| glob.is_match(word))
        };
        self.lines
            .iter()
            .find(|(_, globs)| covers(globs))
            .map(|(line, _)| line.as_str())
    }

    /// Lines for this floor and engine that cover none of these cases: they were for cases that are gone.
    pub(super) fn stale(&self, floor: &str, engine: Engine, cases: &[&str]) -> Vec<&str> {
        let is_here =
            |globs: &[GlobMatcher; 4]| globs[0].is_match(floor) && globs[1].is_match(engine.name());
        let covers = |globs: &[GlobMatcher; 4]| cases.iter().any(|case| globs[3].is_match(case));
        let stale = self
            .lines
            .iter()
            .filter(|(_, globs)| is_here(globs) && !covers(globs));
        stale.map(|(line, _)| line.as_str()).collect()
    }
}
