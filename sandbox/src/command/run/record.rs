//! What one run leaves behind for `ringfence why`: every kind of denial with its explanation.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use ringfence_abi::{event::operation, rights};
use serde::{Deserialize, Serialize};

use super::{
    Options, closed, engine::Enforcer, narrator::Narrator, peer, prepare::Prepared,
    traffic::Destination,
};
use crate::{
    command::Failure,
    compile::Explainer,
    event::{Cause, Event, Peer, Source},
    kernel::Totals,
    network::QueryEvent,
    policy::{Grade, Protection, Standing},
    profile::Right,
};

/// Kinds of denials that are kept apart; more are only counted.
const KINDS: usize = 10_000;
const FILE: &str = "last-run.json";

/// Where the kernel's own files are, which engines treat by themselves.
const KERNEL_FILES: [&str; 2] = ["/proc", "/sys"];
/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Seconds since 1970 when it began.
    pub began: u64,
    /// The command, bytes that are not UTF-8 replaced.
    pub command: Vec<String>,
    /// Name of the profile.
    pub profile: String,
    /// Name of the engine.
    pub engine: String,
    /// Why it is not the best engine.
    pub engine_reason: Option<String>,
    /// What was enforced less than exactly, a sentence each.
    pub degraded: Vec<String>,
    /// The command's exit code.
    pub exit: Option<u8>,
    /// Whether its time was up.
    pub timed_out: bool,
    /// Processes that outlived the command and were ended.
    pub leftover: usize,
    /// The engine's own count.
    pub denied: u64,
    /// Events that found no room.
    pub lost: u64,
    /// Denials for an error of the fence itself.
    pub errors: u64,
    /// Queries for names that found no room to be told.
    pub lost_queries: u64,
    /// Events that made no sense.
    pub malformed: u64,
    /// Why denials could not be seen, if they could not.
    pub blind: Option<String>,
    /// Where the engine was stricter than the profile: a protection and how, each way by itself.
    pub stricter: Vec<(String, String)>,
    /// Runs of the kernel's half that the kernel has left out.
    pub missed: u64,
    /// Packets that the net below the hooks held back.
    pub dropped: u64,
    /// What passed between the command and its peers, if that was counted.
    pub destinations: Vec<Destination>,
    /// Each kind of denial, in the order of its first appearance.
    pub denials: Vec<Denial>,
    /// Denials of further kinds.
    pub further: u64,
    #[serde(skip)]
    kinds: HashMap<Kind, usize>,
    #[serde(skip)]
    queries: HashMap<(String, String), usize>,
}

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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    operation: u16,
    program: u8,
    denied: bool,
    missing: u8,
    detail: u32,
    surface: u8,
    path: Vec<u8>,
    other: Option<Vec<u8>>,
    peer: Option<Peer>,
}

impl Record {
    pub(super) fn begin(
        options: &Options,
        prepared: &Prepared,
        enforcer: &Enforcer,
        standings: &[Standing],
    ) -> Self {
        let began = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        Self {
            began,
            command: options
                .command
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            profile: prepared.policy.profile.clone(),
            engine: enforcer.name().to_owned(),
            engine_reason: enforcer.reason().map(|reason| reason.text.clone()),
            degraded: super::summary::degraded(standings),
            ..Self::of(standings)
        }
    }

    /// One that knows where the engine is stricter than the profile, and nothing else yet.
    pub(in crate::command) fn of(standings: &[Standing]) -> Self {
        let stricter = standings
            .iter()
            .filter(|standing| standing.grade == Grade::Stricter);
        let named = stricter.flat_map(|standing| {
            let name = standing.protection.name();
            let reasons = standing.reason.split("; ");
            reasons.map(move |reason| (name.to_owned(), reason.to_owned()))
        });
        Self {
            stricter: named.collect(),
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, totals: Totals, malformed: u64) {
        self.malformed = malformed;
        self.denied = totals.denied;
        self.lost = totals.lost;
        self.errors = totals.errors;
        self.missed = totals.missed;
        self.dropped = totals.dropped;
    }

    /// Counts an event; returns its kind the first time. `names` are those that led to its peer.
    pub(in crate::command) fn add(
        &mut self,
        event: &Event,
        names: &[String],
        explainer: &Explainer,
    ) -> Option<&Denial> {
        let kind = Kind {
            operation: event.operation,
            program: event.program,
            denied: event.denied,
            missing: event.needed & !event.granted,
            detail: event.detail,
            surface: event.surface,
            path: event.path.clone(),
            other: event.other.clone(),
            peer: event.peer,
        };
        if let Some(&at) = self.kinds.get(&kind) {
            self.denials[at].count += 1;
            return None;
        }
        if self.denials.len() == KINDS {
            self.further += 1;
            return None;
        }
        self.kinds.insert(kind, self.denials.len());
        let mut denial = Denial::of(event, names, explainer);
        if denial.allowed_by_profile && event.operation != operation::SOCKET {
            denial.hint = Some(self.stricter_for(event.needed, &event.path));
        }
        self.denials.push(denial);
        self.denials.last()
    }

    /// Counts a query; returns its kind the first time.
    pub(in crate::command) fn add_query(
        &mut self,
        query: &QueryEvent,
        explainer: &Explainer,
    ) -> Option<&Denial> {
        let denial = peer::of_query(query, explainer);
        // The two families of addresses are asked for one after the other, and mean one thing.
        let kind = (denial.path.clone(), denial.reason.clone());
        if let Some(&at) = self.queries.get(&kind) {
            self.denials[at].count += 1;
            return None;
        }
        if self.denials.len() == KINDS {
            self.further += 1;
            return None;
        }
        self.queries.insert(kind, self.denials.len());
        self.denials.push(denial);
        self.denials.last()
    }

    /// What may lie behind a denial that the profile has no part in.
    fn stricter_for(&self, needed: u8, path: &[u8]) -> String {
        // What is said of a file system of the kernel's is why a path in it is denied, and no other.
        let place = KERNEL_FILES.iter().find(|place| lies_in(path, place));
        let is_about = |reason: &str| match place {
            Some(place) => names(reason, place),
            None => !KERNEL_FILES.iter().any(|place| names(reason, place)),
        };
        let reasons: Vec<&str> = [
            (rights::READ, Protection::FilesRead),
            (rights::WRITE, Protection::FilesWrite),
            // That the kernel's settings are not written is kept with the system calls that change them.
            (rights::WRITE, Protection::Syscalls),
            (rights::EXEC, Protection::Exec),
        ]
        .into_iter()
        .filter(|(right, _)| needed & right != 0)
        .flat_map(|(_, protection)| {
            let all = self.stricter.iter();
            all.filter(move |(name, _)| name == protection.name())
        })
        .map(|(_, reason)| reason.as_str())
        .filter(|reason| is_about(reason))
        .collect();
        if reasons.is_empty() {
            return "permission bits, an attribute or a limit may deny it".to_owned();
        }
        format!(
            "this engine is stricter than the profile: {}",
            reasons.join("; ")
        )
    }

    /// Keeps the record as the last run's. A run does not fail because it cannot.
    pub(super) fn save(&self, narrator: &mut Narrator<'_>) {
        if let Err(failure) = self.write() {
            narrator.note(&failure.to_string());
        }
    }

    fn write(&self) -> Result<(), Failure> {
        let Some(directory) = state_directory() else {
            return Ok(());
        };
        let failed = |source| Failure::File {
            action: "keep the record of this run in",
            path: directory.clone(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&directory).map_err(failed)?;
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        file.write_all(&text).map_err(failed)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(failed)?;
        let last = directory.join(FILE);
        // To rename over a file waits on some file systems for the disk (Documentation/admin-guide/ext4.rst, `auto_da_alloc`: what replaces
        // another by a rename is written out): nobody misses the record of the run before for a moment.
        match fs::remove_file(&last) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        file.persist(last).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// The record of the caller's last run.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn last_run() -> Result<Record, Failure> {
    let path = state_directory()
        .ok_or_else(|| Failure::Argument("neither XDG_STATE_HOME nor HOME is set".to_owned()))?
        .join(FILE);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::Argument(format!(
                "there is no last run of yours to explain ({} is not there)",
                path.display()
            )));
        }
        other => other.map_err(|source| unreadable(&path, source))?,
    };
    serde_json::from_slice(&text).map_err(|error| unreadable(&path, error.into()))
}

fn unreadable(path: &Path, source: io::Error) -> Failure {
    Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

/// Where state of the caller's lives (XDG Base Directory Specification).
pub(super) fn state_directory() -> Option<PathBuf> {
    let given = env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    given
        .filter(|given| given.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))
        .map(|state| state.join("ringfence"))
}

impl Denial {
    /// Whether it is told unasked.
    pub(super) fn is_news(&self) -> bool {
        !self.expected && !self.allowed_by_profile
    }

    /// The operation of a query for a name.
    pub(super) const RESOLVE: &str = "resolve";

    fn of(event: &Event, names: &[String], explainer: &Explainer) -> Self {
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
        if event.cause == Cause::Closed && event.source == Source::Hook {
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

/// Whether `path` is below `place`.
fn lies_in(path: &[u8], place: &str) -> bool {
    let below = path.strip_prefix(place.as_bytes());
    below.is_some_and(|below| below.starts_with(b"/"))
}

/// Whether a reason speaks of `place` or of something below it.
fn names(reason: &str, place: &str) -> bool {
    let mut words = reason.split([' ', ',']);
    words.any(|word| word == place || lies_in(word.as_bytes(), place))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stricter(protection: Protection, reason: &str) -> Standing {
        Standing {
            grade: Grade::Stricter,
            reason: reason.to_owned(),
            ..Standing::exact(protection, &[])
        }
    }

    #[test]
    fn a_denial_is_laid_to_what_is_said_of_its_place() {
        const LATER: &str = "what is listed in / and does not exist yet cannot be made or written";
        const SETTINGS: &str = "nothing in /proc and /sys can be written";
        let record = Record::of(&[
            stricter(Protection::FilesWrite, &format!("{LATER}; other")),
            stricter(Protection::Syscalls, SETTINGS),
        ]);
        let hint = |path: &str| record.stricter_for(rights::WRITE, path.as_bytes());
        for path in ["/proc/1/comm", "/sys/power/state"] {
            assert!(hint(path).ends_with(SETTINGS), "{}", hint(path));
            assert!(!hint(path).contains(LATER), "{}", hint(path));
        }
        for path in ["/procedure", "/srv/new"] {
            assert!(
                hint(path).ends_with(&format!("{LATER}; other")),
                "{}",
                hint(path)
            );
        }
        let reading = record.stricter_for(rights::READ, b"/proc/1/comm");
        assert!(reading.contains("permission bits"), "{reading}");
    }
}
