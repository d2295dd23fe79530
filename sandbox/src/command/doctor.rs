//! `ringfence doctor`: which protection this kernel and this user can have, by what, and how to turn on what is off.

use std::{io::Write, path::Path};

use serde::Serialize;

use super::{
    Failure, Place,
    look::look,
    run::{try_engine, way_to_hooks},
};
use crate::{
    compile,
    confine::{self, Engine, Probe},
    kernel::{self, Host},
    oci::install::{self, Installed},
    policy::Standing,
    profile::{self, CommandLine},
};

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    kernel: String,
    user: u32,
    engines: Vec<EngineReport>,
    /// The engine that a run takes.
    chosen: &'static str,
    containers: Vec<ContainersReport>,
}

/// An engine of containers that has ringfence as a runtime.
#[derive(Debug, Serialize)]
struct ContainersReport {
    engine: &'static str,
    /// Whether all of it is as this version installs it.
    current: bool,
    /// Why not.
    reason: Option<String>,
    /// What to do about it.
    remedy: Option<String>,
}

/// One engine.
#[derive(Debug, Serialize)]
struct EngineReport {
    engine: &'static str,
    available: bool,
    /// Why not.
    reason: Option<String>,
    /// What to do about it.
    remedy: Option<String>,
    /// What it would enforce of the built-in profile.
    protections: Vec<Standing>,
    /// What it does not stop whatever the profile says, and no protection promises.
    not_stopped: &'static [&'static str],
}

/// Writes the table to `out`, or JSON.
///
/// # Errors
/// If this host cannot be probed, or `out` cannot be written.
pub fn doctor(json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let report = examine()?;
    let text = if json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::Argument(format!("cannot write JSON: {error}")))?;
        text + "\n"
    } else {
        table(&report)
    };
    out.write_all(text.as_bytes())
        .map_err(|source| Failure::File {
            action: "write to",
            path: "/dev/stdout".into(),
            source,
        })
}

fn examine() -> Result<Report, Failure> {
    let host = Host::probe();
    // What an earlier run has found out is found out again.
    if host.privileged {
        kernel::Engine::forget_refusal()?;
    }
    let probe = Probe::new()?;
    let place = Place::find(None)?;
    let effective = profile::load(&[], CommandLine::default())?;
    let (policy, _) = compile::compile(&effective, &place.variables(), &look)?;
    let (reason, remedy) = match host.obstacle() {
        Some((reason, remedy)) => (Some(reason), remedy),
        None => match try_engine(&probe) {
            Ok(()) => (None, None),
            Err(failure) => (
                Some(failure.to_string()),
                kernel::Engine::is_refused()
                    .then(|| format!("{}; the fallback is what it has", way_to_hooks())),
            ),
        },
    };
    let available = reason.is_none();
    let best = EngineReport {
        engine: "bpf-lsm",
        available,
        protections: if available {
            confine::standings(&policy, Engine::BpfLsm, &probe, place.user.as_ref())?
        } else {
            Vec::new()
        },
        reason,
        remedy,
        not_stopped: &[],
    };
    // What stands beside the fallback engine is as much of it as Landlock is.
    let mut probe = probe;
    probe.way_to_hooks = way_to_hooks();
    if probe.cgroup.is_some() {
        let beside = kernel::Engine::open_watch();
        probe.cgroup_programs = beside.as_ref().is_ok_and(kernel::Engine::has_network);
        let had = beside.and_then(|engine| engine.has_unix());
        probe.unix_programs = had.map_err(|error| error.to_string());
    }
    let fallback = match confine::standings(&policy, Engine::Fallback, &probe, place.user.as_ref())
    {
        Ok(protections) => {
            let refused = policy.degradation.refused(&protections);
            EngineReport {
                engine: "fallback",
                available: refused.is_empty(),
                reason: (!refused.is_empty()).then(|| {
                    let names: Vec<_> = refused
                        .iter()
                        .map(|standing| standing.protection.name())
                        .collect();
                    format!("less than required: {}", names.join(", "))
                }),
                remedy: None,
                protections,
                not_stopped: confine::NOT_STOPPED_BY_FALLBACK,
            }
        }
        Err(error) => EngineReport {
            engine: "fallback",
            available: false,
            reason: Some(error.to_string()),
            remedy: None,
            protections: Vec::new(),
            not_stopped: confine::NOT_STOPPED_BY_FALLBACK,
        },
    };
    Ok(Report {
        kernel: host.release.clone(),
        user: probe.uid,
        chosen: match (best.available, fallback.available) {
            (true, _) => "bpf-lsm",
            (false, true) => "fallback",
            (false, false) => "none",
        },
        engines: vec![best, fallback],
        containers: install::installed(Path::new("/"), &install::own_program()?)?
            .into_iter()
            .map(containers)
            .collect(),
    })
}

fn containers((engine, plan): Installed) -> ContainersReport {
    let (current, reason, remedy) = match plan {
        Ok(changes) if changes.is_empty() => (true, None, None),
        Ok(_) => (
            false,
            Some("a file is of another version: containers may take longer to start".to_owned()),
            Some(format!("sudo ringfence oci install {}", engine.name())),
        ),
        Err(error) => (false, Some(error.to_string()), None),
    };
    ContainersReport {
        engine: engine.name(),
        current,
        reason,
        remedy,
    }
}

fn table(report: &Report) -> String {
    let mut lines = vec![
        format!("kernel {}, user {}", report.kernel, report.user),
        format!("a run takes the engine: {}", report.chosen),
    ];
    for engine in &report.engines {
        let state = if engine.available {
            "available"
        } else {
            "not available"
        };
        lines.push(String::new());
        lines.push(format!("{}: {state}", engine.engine));
        lines.extend(explained(engine.reason.as_ref(), engine.remedy.as_ref()));
        if engine.protections.is_empty() {
            continue;
        }
        lines.push(format!(
            "  {:<16} {:<9} {}",
            "PROTECTION", "STATE", "BACKEND"
        ));
        for standing in &engine.protections {
            let backends: Vec<_> = standing
                .backends
                .iter()
                .map(|backend| backend.name())
                .collect();
            lines.push(format!(
                "  {:<16} {:<9} {}",
                standing.protection.name(),
                standing.grade.name(),
                backends.join(", ")
            ));
            let reasons = standing.reasons.iter();
            lines.extend(reasons.map(|reason| format!("      {reason}")));
        }
        lines.extend(ways_out(&engine.protections));
        lines.extend(
            engine
                .not_stopped
                .iter()
                .map(|what| format!("  not stopped: {what}")),
        );
    }
    for engine in &report.containers {
        let state = if engine.current {
            ""
        } else {
            ", not of this version"
        };
        lines.push(String::new());
        lines.push(format!(
            "containers of {}: the runtime is installed{state}",
            engine.engine
        ));
        lines.extend(explained(engine.reason.as_ref(), engine.remedy.as_ref()));
    }
    lines.join("\n") + "\n"
}

/// What can be done, once each, and for which protections.
fn ways_out(protections: &[Standing]) -> Vec<String> {
    let mut ways: Vec<(&str, Vec<&str>)> = Vec::new();
    for standing in protections {
        let Some(remedy) = standing.remedy.as_deref() else {
            continue;
        };
        let name = standing.protection.name();
        match ways.iter_mut().find(|(other, _)| *other == remedy) {
            Some((_, names)) => names.push(name),
            None => ways.push((remedy, vec![name])),
        }
    }
    let told =
        |(remedy, names): (&str, Vec<&str>)| format!("  way out of {}: {remedy}", names.join(", "));
    ways.into_iter().map(told).collect()
}

fn explained(reason: Option<&String>, remedy: Option<&String>) -> Vec<String> {
    let reason = reason.map(|reason| format!("  why       {reason}"));
    let remedy = remedy.map(|remedy| format!("  way out   {remedy}"));
    reason.into_iter().chain(remedy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Grade, Protection};

    #[test]
    fn a_way_out_is_told_once_with_all_that_it_helps() {
        let standing = |protection, remedy: Option<&str>| Standing {
            grade: Grade::Stricter,
            remedy: remedy.map(str::to_owned),
            ..Standing::exact(protection, &[])
        };
        let protections = [
            standing(Protection::FilesRead, Some("use another kernel")),
            standing(Protection::Network, Some("name whom it may reach")),
            standing(Protection::Limits, None),
            standing(Protection::Exec, Some("use another kernel")),
        ];
        assert_eq!(
            ways_out(&protections),
            [
                "  way out of files-read, exec: use another kernel",
                "  way out of network: name whom it may reach",
            ]
        );
    }
}
