//! One kind of denial: what was tried, why it was denied, and what would allow it.

use ringfence_abi::{event::operation, rights};
use serde::{Deserialize, Serialize};

use super::{closed, peer};
use crate::{
    compile::Explainer,
    event::{Cause, Event, Source},
    profile::Right,
};

/// One kind of denial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Denial {
    /// How often.
    pub count: u64,
    /// Whether it was denied; otherwise allowed and reported.
    pub denied: bool,
    /// What was tried.
    pub operation: String,
    /// On which path; empty where there is none.
    pub path: String,
    /// The new path of a rename or link.
    pub other: Option<String>,
    /// By whom the first time, nearest first: `name (pid)`.
    pub programs: Vec<String>,
    /// The program of the profile inside which it was tried, as the profile spells its path; none at large.
    #[serde(default)]
    pub program: Option<String>,
    /// Why.
    pub reason: String,
    /// The rule's own words on why.
    pub because: Option<String>,
    /// A hint.
    pub hint: Option<String>,
    /// Lines for a profile that would allow it.
    pub profile_lines: Vec<String>,
    /// Arguments that would allow it.
    pub flags: Vec<String>,
    /// Rights to its path that no rule gives, see [`ringfence_abi::rights`]; 0 where a rule denies it, or it is about something else.
    #[serde(skip)]
    pub lacks: u8,
    /// A rule expects it, or nothing is there that could be denied.
    pub expected: bool,
    /// The profile allows it: permission bits may be behind it, or an engine that is stricter than the profile.
    pub allowed_by_profile: bool,
}

impl Denial {
    /// Whether it is told unasked.
    pub(super) fn is_news(&self) -> bool {
        !self.expected && !self.allowed_by_profile
    }

    /// The operation of a query for a name.
    pub(super) const RESOLVE: &str = "resolve";

    pub(super) fn of(event: &Event, names: &[String], explainer: &Explainer) -> Self {
        let mut denial = Self {
            count: 1,
            denied: event.denied,
            operation: event.operation_name().to_owned(),
            path: String::from_utf8_lossy(&event.path).into_owned(),
            other: event
                .other
                .as_ref()
                .map(|other| String::from_utf8_lossy(other).into_owned()),
            programs: event
                .chain
                .iter()
                .map(|program| format!("{} ({})", program.name, program.pid))
                .collect(),
            program: explainer.program(event.program),
            reason: fixed_reason(event.cause).to_owned(),
            because: None,
            hint: None,
            profile_lines: Vec::new(),
            flags: Vec::new(),
            lacks: 0,
            // At hooks it would not be asked.
            expected: event.cause == Cause::Absent,
            allowed_by_profile: event.cause == Cause::Other,
        };
        if event.cause == Cause::Closed && event.operation == operation::SOCKET {
            closed::explain_socket(&mut denial, event, explainer);
            return denial;
        }
        if event.source == Source::Filter && event.cause == Cause::Rule {
            closed::explain_unlisted(&mut denial);
            return denial;
        }
        if event.source == Source::Filter && event.cause == Cause::Other {
            closed::explain_other_task(&mut denial);
            return denial;
        }
        if event.cause == Cause::Closed && event.source != Source::Syscall {
            denial.reason = closed::reason(event);
            denial.expected = closed::is_of_another_process(event, explainer);
            denial.hint =
                closed::remedy(event).map(|line| format!("a profile opens it with `{line}`"));
        }
        if peer::explain(&mut denial, event, names, explainer) {
            return denial;
        }
        if event.cause == Cause::Rule {
            denial.explain(&event.path, event, explainer);
            if let Some(other) = &event.other {
                denial.explain(other, event, explainer);
            }
        }
        if event.source == Source::Syscall {
            denial.hint.get_or_insert_with(|| {
                "seen as a system call that failed: the path is what the program passed".to_owned()
            });
        }
        denial
    }

    /// Adds why `path` lacks rights, and what would give them.
    fn explain(&mut self, path: &[u8], event: &Event, explainer: &Explainer) {
        for (bit, right) in [
            (rights::READ, Right::Read),
            (rights::WRITE, Right::Write),
            (rights::EXEC, Right::Exec),
        ] {
            if event.needed & bit == 0 {
                continue;
            }
            let found = explainer.explain_in(event.program, path, right);
            if found.allowed {
                continue;
            }
            match &found.rule {
                Some(rule) => {
                    self.reason = format!("deny rule `{}` ({})", rule.text, rule.origin);
                    self.because = rule.because.clone();
                    self.expected |= rule.expected;
                }
                None => {
                    self.reason = format!("no rule allows to {right} it");
                    self.lacks |= bit;
                }
            }
            self.hint = found.hint;
            if let Some(suggestion) = found.suggestion {
                self.profile_lines.push(suggestion.profile);
                self.flags.extend(suggestion.flag);
            }
        }
    }
}

fn fixed_reason(cause: Cause) -> &'static str {
    match cause {
        Cause::Rule => "no rule allows it",
        Cause::Foreign => "it lies in a mount that is not in this mount namespace",
        Cause::Anonymous => {
            "no path leads to it: memory files are not executed, and neither objects of the kernel nor what was moved out of \
             a mount are opened"
        }
        Cause::TooLong => "its path has more than 4095 bytes",
        Cause::TooDeep => "its path has too many components",
        Cause::Unlinked => "the file has been removed, and a removed file is not executed",
        Cause::RightsDiffer => {
            "the new name would allow other things than the old one; programs like mv copy instead"
        }
        Cause::Internal => "the fence failed to judge it, and denies then",
        Cause::Absent => {
            "nothing is there; the engine looks at its rules first, and so says otherwise"
        }
        Cause::Other => "the profile allows it, and something else does not",
        Cause::Closed => "it is closed to every fenced task",
    }
}
