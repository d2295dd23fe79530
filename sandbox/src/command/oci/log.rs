//! What a container's fence has denied, a line of JSON for each kind, below /run/ringfence/log.

use std::{
    fs::{self, DirBuilder, File},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    command::{Failure, run},
    compile::Explainer,
    event::Event,
    kernel::Totals,
    network::QueryEvent,
    oci::Record,
    policy::{Grade, Standing},
};

/// Where the logs are: in memory, gone with the next boot.
const LOGS: &str = "/run/ringfence/log";
/// Bytes of one log. A container can make up denials without end; what comes after is counted.
const MOST_BYTES: u64 = 1 << 20;
/// Logs that are kept,
const KEPT: usize = 100;
/// and how many may be there beyond that before the oldest are looked for: each has to be asked for its time.
const SLACK: usize = 50;

/// The log of one container. A container does not end because a line finds no room.
pub(super) struct Log {
    file: File,
    bytes: u64,
    record: run::Record,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Begin {
        time: String,
        #[serde(flatten)]
        container: &'a Record,
        engine: &'a str,
        stricter: Vec<String>,
        weaker: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        blind: Option<&'a str>,
    },
    Denial {
        time: String,
        #[serde(flatten)]
        denial: &'a run::Denial,
    },
    Failed {
        time: String,
        reason: &'a str,
    },
    End {
        time: String,
        denied: u64,
        lost: u64,
        errors: u64,
        missed: u64,
        dropped: u64,
        malformed: u64,
        further: u64,
        lost_queries: u64,
    },
}

impl Log {
    /// Begins the log of a container whose cgroup has the number `cgroup`, which no other ever had since the boot; `blind` is why
    /// denials cannot be seen, if they cannot.
    pub(super) fn begin(
        container: &Record,
        cgroup: u64,
        standings: &[Standing],
        blind: Option<&str>,
    ) -> Result<Self, Failure> {
        let folder = Path::new(LOGS);
        let failed = |source| Failure::File {
            action: "write a log in",
            path: folder.to_owned(),
            source,
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed)?;
        // A name is the engine's to choose; none may lead elsewhere.
        let name: String = container
            .id
            .chars()
            .map(|one| if one == '/' { '_' } else { one })
            .take(128)
            .collect();
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(folder.join(format!("{name}-{cgroup}.jsonl")))
            .map_err(failed)?;
        let mut log = Self {
            file,
            bytes: 0,
            record: run::Record::of(standings),
        };
        let graded = |is: fn(Grade) -> bool| {
            let such = standings.iter().filter(move |standing| is(standing.grade));
            such.map(|standing| {
                format!(
                    "{} is {}: {}",
                    standing.protection,
                    standing.grade,
                    standing.why()
                )
            })
            .collect()
        };
        log.bytes += write(
            &mut log.file,
            &Line::Begin {
                time: now(),
                container,
                engine: if container.launcher {
                    "fallback"
                } else {
                    "bpf-lsm"
                },
                stricter: graded(|grade| grade == Grade::Stricter),
                weaker: graded(|grade| grade >= Grade::Weaker),
                blind,
            },
        );
        Ok(log)
    }

    /// Writes the event down if it is the first of its kind and there is room.
    pub(super) fn event(&mut self, event: &Event, explainer: &Explainer) {
        if self.bytes >= MOST_BYTES {
            self.record.further += 1;
            return;
        }
        if let Some(denial) = self.record.add(event, &[], explainer) {
            let time = now();
            self.bytes += write(&mut self.file, &Line::Denial { time, denial });
        }
    }

    /// Writes down what the resolver has to tell, as [`Log::event`].
    pub(super) fn query(&mut self, query: &QueryEvent, explainer: &Explainer) {
        if self.bytes >= MOST_BYTES {
            self.record.further += 1;
            return;
        }
        if let Some(denial) = self.record.add_query(query, explainer) {
            let time = now();
            self.bytes += write(&mut self.file, &Line::Denial { time, denial });
        }
    }

    /// Counts queries that found no room.
    pub(super) fn lost_queries(&mut self, lost: u64) {
        self.record.lost_queries += lost;
    }

    /// Writes down that the container does not start after all.
    pub(super) fn failed(&mut self, reason: &str) {
        let time = now();
        self.bytes += write(&mut self.file, &Line::Failed { time, reason });
    }

    /// Counts an event that makes no sense.
    pub(super) fn malformed(&mut self) {
        self.record.malformed += 1;
    }

    /// Writes the last line.
    pub(super) fn end(&mut self, totals: Totals) {
        let line = Line::End {
            time: now(),
            denied: totals.denied,
            lost: totals.lost,
            errors: totals.errors,
            missed: totals.missed,
            dropped: totals.dropped,
            malformed: self.record.malformed,
            further: self.record.further,
            lost_queries: self.record.lost_queries,
        };
        write(&mut self.file, &line);
    }
}

/// Writes a line; returns its length.
fn write(file: &mut File, line: &Line<'_>) -> u64 {
    let Ok(mut text) = serde_json::to_vec(line) else {
        return 0;
    };
    text.push(b'\n');
    file.write_all(&text).ok();
    text.len() as u64
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// Removes the oldest logs, if there are many.
pub(super) fn prune() {
    let Ok(listing) = fs::read_dir(LOGS) else {
        return;
    };
    let listing: Vec<_> = listing.flatten().collect();
    if listing.len() <= KEPT + SLACK {
        return;
    }
    let mut logs: Vec<_> = listing
        .into_iter()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    logs.sort_unstable();
    let surplus = logs.len().saturating_sub(KEPT);
    for (_, path) in logs.into_iter().take(surplus) {
        fs::remove_file(path).ok();
    }
}
