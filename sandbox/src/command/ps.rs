//! `ringfence ps`: the fences that stand on this host.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::{Failure, run::printable};
use crate::{
    confine::Foreign,
    kernel::{self, Counters, Description, Register, Registered, Subject},
};

/// A fence as a script reads it. What is not known is null.
#[derive(Serialize)]
pub(super) struct Row {
    /// The number of its cgroup.
    pub(super) id: u64,
    /// `standing`; `abandoned` where its supervisor was killed: it stands on, and nobody tells of its denials.
    pub(super) state: &'static str,
    pub(super) engine: &'static str,
    pub(super) profile: Option<String>,
    supervisor: Option<u32>,
    pub(super) tasks: Option<u64>,
    /// When it began, as RFC 3339 has it.
    since: Option<String>,
    denied: Option<u64>,
    audited: Option<u64>,
    lost: Option<u64>,
    errors: Option<u64>,
    dropped: Option<u64>,
    pub(super) command: Option<Vec<String>>,
    pub(super) container: Option<String>,
    cgroup: String,
    version: String,
    /// Why something is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
}

/// Writes the fences to `out`, a line each.
///
/// # Errors
/// If the run-time state cannot be read, or `out` not written.
pub fn ps(json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let rows: Vec<Row> = registered()?.fences.iter().map(Row::of).collect();
    let text = if json {
        let mut text = serde_json::to_string_pretty(&rows)
            .map_err(|error| Failure::Argument(format!("cannot write JSON: {error}")))?;
        text.push('\n');
        text
    } else {
        table(&rows)
    };
    out.write_all(text.as_bytes())
        .map_err(|source| Failure::File {
            action: "write to",
            path: "/dev/stdout".into(),
            source,
        })
}

/// The register, for those who may read it.
pub(super) fn registered() -> Result<Register, Failure> {
    kernel::register().map_err(|error| match error {
        kernel::Error::State { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Failure::Argument(
                "the fences of this host are root's to see: run it with sudo".to_owned(),
            )
        }
        other => other.into(),
    })
}

impl Row {
    pub(super) fn of(fence: &Registered) -> Self {
        let mut unknown = Vec::new();
        let counters = fence.counters.as_ref();
        unknown.extend(counters.err().map(|why| format!("counters: {why}")));
        let count = |field: fn(&Counters) -> u64| counters.ok().map(field);
        let description = fence.description.as_ref();
        unknown.extend(description.err().map(|why| format!("description: {why}")));
        let description = description.ok();
        let (command, container) = match description.map(|one| one.subject.clone()) {
            Some(Subject::Command(words)) => (Some(words), None),
            Some(Subject::Container(id)) => (None, Some(id)),
            None => (None, None),
        };
        Self {
            id: fence.id,
            state: if fence.supervised {
                "standing"
            } else {
                "abandoned"
            },
            engine: engine(fence),
            profile: description.map(|one| one.profile.clone()),
            supervisor: description.map(|one| one.supervisor),
            tasks: tasks(fence),
            since: description.map(|one| humantime::format_rfc3339_millis(began(one)).to_string()),
            denied: count(|counters| counters.denied),
            audited: count(|counters| counters.audited),
            lost: count(|counters| counters.lost),
            errors: count(|counters| counters.errors),
            dropped: count(|counters| counters.dropped),
            command,
            container,
            cgroup: fence.cgroup.display().to_string(),
            version: fence.version.clone(),
            unknown,
        }
    }

    /// What is behind it, in one line.
    pub(super) fn subject(&self) -> String {
        match (&self.command, &self.container) {
            (Some(words), _) => words.join(" "),
            (None, Some(id)) => format!("container {id}"),
            (None, None) => String::new(),
        }
    }
}

pub(super) fn engine(fence: &Registered) -> &'static str {
    if fence.judges { "bpf-lsm" } else { "fallback" }
}

/// Those that carry its label, wherever they stand; beside the fallback engine, those in its cgroup.
pub(super) fn tasks(fence: &Registered) -> Option<u64> {
    if fence.judges {
        return fence.counters.as_ref().ok().map(|counters| counters.tasks);
    }
    let cgroup = Foreign::open(&fence.cgroup, fence.id).ok()?;
    let tasks = cgroup.map_or(Ok(0), |cgroup| cgroup.tasks()).ok()?;
    u64::try_from(tasks).ok()
}

fn began(description: &Description) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(description.since)
}

fn table(rows: &[Row]) -> String {
    let head = [
        "ID",
        "STATE",
        "ENGINE",
        "PROFILE",
        "SUPERVISOR",
        "TASKS",
        "SINCE",
        "DENIED",
        "COMMAND",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    lines.extend(rows.iter().map(|row| {
        [
            row.id.to_string(),
            row.state.to_owned(),
            row.engine.to_owned(),
            row.profile.clone().unwrap_or("?".to_owned()),
            number(row.supervisor.map(u64::from)),
            number(row.tasks),
            row.since.clone().unwrap_or("?".to_owned()),
            number(row.denied),
            printable(&row.subject()),
        ]
    }));
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths);
        let padded: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}
