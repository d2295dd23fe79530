//! What a fence promises, what keeps the promise on this machine, and how well.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that a fence promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Only listed files are read, and only listed directories listed.
    FilesRead,
    /// Only listed files are written, created, removed or renamed.
    FilesWrite,
    /// Mode, owner, times and attributes change only where writing is allowed.
    FilesMetadata,
    /// Only listed files are executed or mapped as code.
    Exec,
    /// Only listed peers are reached.
    Network,
    /// Only listed capabilities are held.
    Capabilities,
    /// Privileges are not gained by set-user-id programs or file capabilities.
    PrivilegeGain,
    /// System calls that manage the kernel are closed.
    Syscalls,
    /// Tasks outside are not traced, read or signalled.
    Processes,
    /// Memory, tasks and time are bounded.
    Limits,
}

/// What enforces a protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// BPF programs on LSM hooks.
    BpfLsm,
    /// BPF programs on a cgroup.
    CgroupBpf,
    /// A seccomp filter.
    Seccomp,
    /// A Landlock domain.
    Landlock,
    /// Read-only and no-exec mounts in a mount namespace of the fence's own.
    Mounts,
    /// Dropped capabilities and no_new_privs.
    Capabilities,
    /// Cgroup controllers.
    Cgroup,
    /// Resource limits of each process.
    Rlimit,
}

/// How well a protection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// As the profile says.
    Exact,
    /// More is denied than the profile says.
    Stricter,
    /// Something is allowed that the profile denies.
    Weaker,
    /// Not kept at all.
    Absent,
}

/// What a profile asks of a protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// Weaker or absent is refused.
    #[default]
    Required,
    /// Weaker or absent is named and run all the same.
    BestEffort,
}

/// The demands of a profile's `[protection]` section; a protection that is not listed is required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// Demand by protection.
    pub demands: std::collections::BTreeMap<Protection, Demand>,
}

/// One protection as it stands on this machine, for this user, under this policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The promise.
    pub protection: Protection,
    /// What keeps it, strongest first; empty if nothing does.
    pub backends: Vec<Backend>,
    /// How well.
    pub grade: Grade,
    /// Why it is not exact; none if it is.
    pub reasons: Vec<String>,
    /// What the user can do about it, if anything.
    pub remedy: Option<String>,
}

impl Standing {
    /// `protection` is kept by `backends` as the profile says.
    #[must_use]
    pub fn exact(protection: Protection, backends: &[Backend]) -> Self {
        Self {
            protection,
            backends: backends.to_vec(),
            grade: Grade::Exact,
            reasons: Vec::new(),
            remedy: None,
        }
    }

    /// Why it is not exact, in one line; empty if it is.
    #[must_use]
    pub fn why(&self) -> String {
        self.reasons.join("; ")
    }
}

impl Degradation {
    /// What the profile asks of `protection`.
    #[must_use]
    pub fn demand(&self, protection: Protection) -> Demand {
        self.demands.get(&protection).copied().unwrap_or_default()
    }

    /// The standings that a required protection does not bear.
    #[must_use]
    pub fn refused<'a>(&self, standings: &'a [Standing]) -> Vec<&'a Standing> {
        standings
            .iter()
            .filter(|standing| {
                standing.grade >= Grade::Weaker
                    && self.demand(standing.protection) == Demand::Required
            })
            .collect()
    }
}

impl Protection {
    /// Every protection, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::FilesRead,
        Self::FilesWrite,
        Self::FilesMetadata,
        Self::Exec,
        Self::Network,
        Self::Capabilities,
        Self::PrivilegeGain,
        Self::Syscalls,
        Self::Processes,
        Self::Limits,
    ];

    /// The name that profiles and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FilesRead => "files-read",
            Self::FilesWrite => "files-write",
            Self::FilesMetadata => "files-metadata",
            Self::Exec => "exec",
            Self::Network => "network",
            Self::Capabilities => "capabilities",
            Self::PrivilegeGain => "privilege-gain",
            Self::Syscalls => "syscalls",
            Self::Processes => "processes",
            Self::Limits => "limits",
        }
    }
}

impl Backend {
    /// The name that reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BpfLsm => "bpf-lsm",
            Self::CgroupBpf => "cgroup-bpf",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Mounts => "mounts",
            Self::Capabilities => "capabilities",
            Self::Cgroup => "cgroup",
            Self::Rlimit => "rlimit",
        }
    }
}

impl Grade {
    /// The word that reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Stricter => "stricter",
            Self::Weaker => "weaker",
            Self::Absent => "absent",
        }
    }
}

impl Demand {
    /// The word that profiles and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best-effort",
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
