//! What one run leaves behind for `ringfence why`: every kind of denial with its explanation.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use ringfence_abi::event::operation;
use serde::{Deserialize, Serialize};

use super::{
    Options, denial::Denial, engine::Enforcer, narrator::Narrator, peer, prepare::Prepared,
    stricter, traffic::Destination,
};
use crate::{
    command::Failure,
    compile::Explainer,
    confine::ClosedTotals,
    event::{Event, Peer},
    kernel::Totals,
    network::QueryEvent,
    policy::Standing,
};

/// Kinds of denials that are kept apart; more are only counted.
const KINDS: usize = 10_000;
const FILE: &str = "last-run.json";

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

impl Kind {
    fn of(event: &Event) -> Self {
        Self {
            operation: event.operation,
            program: event.program,
            denied: event.denied,
            missing: event.needed & !event.granted,
            detail: event.detail,
            surface: event.surface,
            path: event.path.clone(),
            other: event.other.clone(),
            peer: event.peer,
        }
    }
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
        Self {
            stricter: stricter::ways(standings),
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
        let kind = Kind::of(event);
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
        let has_hint = [operation::SOCKET, operation::SYSTEM_CALL].contains(&event.operation);
        if denial.allowed_by_profile && !has_hint {
            denial.hint = Some(stricter::hint(&self.stricter, event.needed, &event.path));
        }
        self.denials.push(denial);
        self.denials.last()
    }

    /// Counts what the filter of system calls has refused, of which the first of each kind was added.
    pub(super) fn count_closed(&mut self, totals: &ClosedTotals) {
        for (event, count) in &totals.kinds {
            self.denied += count;
            match self.kinds.get(&Kind::of(event)) {
                Some(&at) => self.denials[at].count += count - 1,
                None => self.further += count - 1,
            }
        }
        self.denied += totals.further;
        self.further += totals.further;
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
