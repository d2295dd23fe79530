//! `ringfence metrics`: the fences of this host in the text format of Prometheus.

use std::io::Write;

use super::{
    Failure,
    ps::{Row, engine, registered, tasks},
};
use crate::{
    kernel::{Registered, Version},
    telemetry::{self, Fence, Host},
};

/// Writes the metrics to `out`.
///
/// # Errors
/// If the run-time state cannot be read, or `out` not written.
pub fn metrics(out: &mut dyn Write) -> Result<(), Failure> {
    let register = registered()?;
    let host = Host {
        fences: register.fences.iter().map(sample).collect(),
        versions: register.versions.iter().map(version).collect(),
    };
    let text = telemetry::metrics(&host)?;
    out.write_all(text.as_bytes())
        .map_err(|source| Failure::File {
            action: "write to",
            path: "/dev/stdout".into(),
            source,
        })
}

fn sample(fence: &Registered) -> Fence {
    let row = Row::of(fence);
    // Arguments can hold secrets, and make a label that is never the same.
    let command = row.command.and_then(|words| words.into_iter().next());
    Fence {
        id: fence.id,
        engine: engine(fence),
        profile: row.profile.unwrap_or_default(),
        subject: row.container.or(command).unwrap_or_default(),
        supervised: fence.supervised,
        tasks: tasks(fence),
        counters: fence.counters.as_ref().ok().map(|counters| {
            [
                counters.denied,
                counters.audited,
                counters.lost,
                counters.errors,
                counters.dropped,
            ]
        }),
    }
}

fn version(version: &Version) -> (String, Option<u64>) {
    (version.name.clone(), version.missed().ok())
}
