//! What can go wrong between here and the kernel, by step.

use std::{io, path::PathBuf};

use nix::errno::Errno;

/// A step of the kernel room that failed. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the user cannot have BPF LSM programs.
    #[error("BPF LSM cannot be used: {0}")]
    Unavailable(String),
    /// What a command does cannot be recorded.
    #[error("a run cannot be recorded here: {0}")]
    Recording(String),
    /// The kernel's type information lacks something that the programs read.
    #[error("the kernel's type information has no `{0}`, which the programs need")]
    Layout(String),
    /// The kernel's type information cannot be read.
    #[error("cannot read the kernel's type information /sys/kernel/btf/vmlinux: {0}")]
    Btf(String),
    /// Another process has removed the programs while a fence was to be made of them.
    #[error("the programs were unloaded while the fence was set up; run it again")]
    Removed,
    /// The object was refused.
    #[error("cannot load the BPF object: {0}")]
    Object(#[from] aya::EbpfError),
    /// One program was refused.
    #[error("the kernel refuses the program for `{hook}`: {reason}")]
    Program {
        /// The hook.
        hook: String,
        /// The kernel's words, verifier log included.
        reason: String,
    },
    /// The kernel takes no program for its LSM hooks: it has refused the first without having looked at it.
    #[error(
        "the kernel refuses to load programs for LSM hooks ({0}): this host forbids them, although `bpf` is in lsm="
    )]
    Forbidden(Errno),
    /// A pinned object cannot be made or opened.
    #[error("cannot pin or open {path}: {reason}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The directory for run-time state cannot be set up.
    #[error("cannot set up {path}: {source}")]
    State {
        /// What was to be made.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A map operation failed.
    #[error("cannot {action} map `{map}`: {reason}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// On which map.
        map: &'static str,
        /// Why not.
        reason: String,
    },
    /// The profile needs a larger table than there is.
    #[error(
        "the profile needs {words} words of table and there is room for {limit}; use fewer rules, or rules with fewer \
         `**` inside"
    )]
    TooLarge {
        /// What it needs.
        words: usize,
        /// What there is.
        limit: usize,
    },
    /// The profile gives rights of their own to more programs than there are numbers for.
    #[error(
        "the profile has {programs} programs with rights of their own, and there is room for {most}"
    )]
    Programs {
        /// How many it has.
        programs: usize,
        /// How many there can be.
        most: usize,
    },
    /// A compiled table is damaged.
    #[error("the compiled policy is damaged: {0}")]
    Damaged(String),
    /// The engine did not do what it must.
    #[error(
        "the engine is loaded but did not {wanted} {act} in its self-test; nothing was started (is `bpf` in the list of \
         /sys/kernel/security/lsm?)"
    )]
    SelfTest {
        /// What was tried.
        act: &'static str,
        /// What should have come of it.
        wanted: &'static str,
    },
    /// Rules about addresses cannot be kept.
    #[error(
        "rules about addresses and hosts need programs on a cgroup (CONFIG_CGROUP_BPF), which the kernel refuses: {0}"
    )]
    NoNetwork(String),
    /// Traffic cannot be counted.
    #[error("the kernel refuses the programs that count traffic, so run it without --stats: {0}")]
    NoCounting(String),
    /// Unix sockets cannot be judged.
    #[error("whom Unix sockets reach cannot be judged on a cgroup: {0}")]
    NoUnix(String),
    /// A policy cannot take the place of another.
    #[error("{0}; start it anew")]
    Fixed(&'static str),
    /// A policy took the place of another in part.
    #[error(
        "some programs have the new policy and some the old one, which could not be put back ({0}); end it with `ringfence stop`"
    )]
    Torn(String),
    /// There are too many fences.
    #[error("there are {0} fences already, which is all that there is room for")]
    TooMany(u32),
}

impl Error {
    /// Whether the kernel has refused a program, and will refuse it again.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Program { .. } | Self::Forbidden(_))
    }

    pub(super) fn map(
        action: &'static str,
        map: &'static str,
        reason: impl std::fmt::Display,
    ) -> Self {
        Self::Map {
            action,
            map,
            reason: reason.to_string(),
        }
    }

    pub(super) fn state(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::State {
            path: path.into(),
            source,
        }
    }

    pub(super) fn pin(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::Pin {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
