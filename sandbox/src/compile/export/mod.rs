//! A profile for other tools: what of it their formats can say, and what is lost on the way.
//!
//! Pure. Nothing is left out in silence: [`Exported::lost`] has all that the target cannot say, and whoever asked decides
//! whether the rest is good enough.

mod apparmor;
mod beneath;
mod seccomp;

use std::path::Path;

use serde_json::{Value, json};

use super::Explainer;
use crate::{
    policy::{ClosedCall, Limits, Mode, Policy},
    profile::Effective,
};

/// A tool's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A filter of system calls as container engines take it (`docker run --security-opt seccomp=FILE`).
    Seccomp,
    /// An AppArmor profile.
    AppArmor,
    /// Landlock rules as landlockconfig takes them.
    Landlock,
    /// The parts of an OCI bundle's `config.json`.
    Oci,
}

/// What is exported.
pub struct Source<'a> {
    /// The profile.
    pub effective: &'a Effective,
    /// What it compiles to here.
    pub policy: &'a Policy,
    /// Its rules with the values of variables.
    pub explainer: &'a Explainer,
    /// The system calls that its fence closes.
    pub closed: &'a [ClosedCall],
    /// The system calls that are open whatever it lists.
    pub always: &'a [&'a str],
    /// Whether there is something at a path, and whether that is a directory.
    pub look: &'a dyn Fn(&Path) -> Option<bool>,
}

/// What came of it.
#[derive(Debug)]
pub struct Exported {
    /// In the target's format.
    pub text: String,
    /// What the target cannot say, a sentence each.
    pub lost: Vec<String>,
}

/// The profile in the format of `target`.
#[must_use]
pub fn export(source: &Source<'_>, target: Target) -> Exported {
    match target {
        Target::Seccomp => {
            let (filter, mut lost) = seccomp::filter(source);
            lost.extend(not_said(
                source,
                &[Part::Files, Part::Network, Part::Capabilities, Part::Limits],
            ));
            Exported {
                text: written(&filter),
                lost,
            }
        }
        Target::Oci => oci(source),
        Target::AppArmor => apparmor::export(source),
        Target::Landlock => beneath::export(source),
    }
}

/// What a format may have no words for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Files,
    Network,
    Capabilities,
    Limits,
    Syscalls,
}

/// The parts of a profile that a format has no words for, where the profile says something about them.
fn not_said(source: &Source<'_>, parts: &[Part]) -> Vec<String> {
    let policy = source.policy;
    let mut lost = Vec::new();
    for part in parts {
        let sentence = match part {
            Part::Files if policy.files.mode != Mode::Off => "rules about files",
            Part::Network if !policy.network.is_off() => "rules about the network",
            Part::Capabilities => "which capabilities are kept",
            Part::Limits if policy.limits != Limits::default() => "limits",
            Part::Syscalls => "which system calls are closed",
            _ => continue,
        };
        lost.push(format!("{sentence}: the format has no words for them"));
    }
    if !policy.programs.is_empty() {
        lost.push("rights of single programs: the format has no words for them".to_owned());
    }
    for (section, mode) in [
        ("files", policy.files.mode),
        ("network", policy.network.mode),
    ] {
        if mode == Mode::Audit {
            lost.push(format!(
                "[{section}] mode = \"audit\": what is exported denies"
            ));
        }
    }
    lost
}

/// `process`, `linux.seccomp` and `linux.resources` of a bundle (opencontainers/runtime-spec, config.md and
/// config-linux.md).
fn oci(source: &Source<'_>) -> Exported {
    let policy = source.policy;
    let (filter, mut lost) = seccomp::filter(source);
    let kept: Vec<_> = policy
        .capabilities
        .iter()
        .map(|name| format!("CAP_{}", name.to_uppercase()))
        .collect();
    let mut resources = json!({});
    if let Some(bytes) = policy.limits.memory {
        resources["memory"] = json!({ "limit": bytes });
    }
    if let Some(tasks) = policy.limits.pids {
        resources["pids"] = json!({ "limit": tasks });
    }
    if let Some(percent) = policy.limits.cpu_percent {
        resources["cpu"] = json!({ "period": 100_000, "quota": percent * 1000 });
    }
    let mut limits = Vec::new();
    for (kind, value) in [
        ("RLIMIT_NOFILE", policy.limits.open_files),
        ("RLIMIT_FSIZE", policy.limits.file_size),
    ] {
        if let Some(value) = value {
            limits.push(json!({ "type": kind, "hard": value, "soft": value }));
        }
    }
    let configuration = json!({
        "process": {
            "noNewPrivileges": !policy.privilege_gain,
            "capabilities": {
                "bounding": kept, "effective": kept, "permitted": kept, "inheritable": [], "ambient": [],
            },
            "rlimits": limits,
        },
        "linux": { "seccomp": filter, "resources": resources },
    });
    if policy.limits.wall_seconds.is_some() {
        lost.push("the limit of time: the format has no words for it".to_owned());
    }
    lost.extend(not_said(source, &[Part::Files, Part::Network]));
    Exported {
        text: written(&configuration),
        lost,
    }
}

fn written(value: &Value) -> String {
    format!("{value:#}\n")
}
