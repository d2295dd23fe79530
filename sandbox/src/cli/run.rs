//! Running a command: the rules, limits and engine of its fence.

use std::{ffi::OsString, os::fd::RawFd, path::PathBuf};

use clap::{Args, ValueEnum};

// Rules of the command line, added to those of the profiles.
#[allow(
    missing_docs,
    reason = "clap would show it in place of what the verb does"
)]
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Rules")]
pub struct RuleArguments {
    /// Profile: a shipped name or a path; may be given more than once
    #[arg(short, long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<OsString>,
    /// Allow to read; an existing directory means everything below it, too
    #[arg(long, value_name = "PATH")]
    pub read: Vec<OsString>,
    /// Allow to write, create, remove and rename
    #[arg(long, value_name = "PATH")]
    pub write: Vec<OsString>,
    /// Allow to execute and to map as code
    #[arg(long, value_name = "PATH")]
    pub exec: Vec<OsString>,
    /// Deny, whatever else allows it
    #[arg(long, value_name = "PATH")]
    pub deny: Vec<OsString>,
    /// Allow to reach a peer, as in example.com:443 or udp://10.0.0.0/8:53
    #[arg(long, value_name = "PEER", conflicts_with = "network")]
    pub connect: Vec<OsString>,
    /// Allow to bind an address, as in 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", conflicts_with = "network")]
    pub listen: Vec<OsString>,
    /// Allow to reach a Unix socket: a path, or an abstract name with a leading @
    #[arg(long, value_name = "SOCKET")]
    pub unix: Vec<OsString>,
    /// Deny a peer or a Unix socket, whatever else allows it
    #[arg(long, value_name = "PEER")]
    pub deny_network: Vec<OsString>,
    /// Whether the name that a TLS client asks for is compared with the rules
    #[arg(long, value_name = "WHEN")]
    pub sni: Option<SniArgument>,
    /// Keep a capability
    #[arg(long = "capability", value_name = "NAME", value_delimiter = ',')]
    pub capabilities: Vec<String>,
    /// Open a part of the kernel that is closed, as in userns
    #[arg(long = "allow-kernel", value_name = "NAME", value_delimiter = ',')]
    pub kernel: Vec<String>,
    /// Allow no system calls but these and those that the profile lists: names, groups as in @system-service
    #[arg(long = "syscalls", value_name = "NAME", value_delimiter = ',')]
    pub syscalls: Vec<String>,
    /// Let set-user-id programs and file capabilities give their privileges, up to the capabilities that are kept
    #[arg(long)]
    pub allow_privilege_gain: bool,
    /// Network: none, or open (not restricted)
    #[arg(long, value_name = "WHAT")]
    pub network: Option<NetworkArgument>,
    /// Report what would be denied, and allow it
    #[arg(long)]
    pub audit: bool,
    /// Accept that these protections are weaker or absent here; `all` for all
    #[arg(long, value_name = "PROTECTION", value_delimiter = ',')]
    pub best_effort: Vec<String>,
}

/// What the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkArgument {
    /// No sockets but Unix sockets, whatever profiles allow.
    None,
    /// Not restricted.
    Open,
}

/// Whether the name that a TLS client asks for is compared with the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SniArgument {
    /// A connection to a name begins with a TLS greeting that says an allowed one.
    Required,
    /// A TLS greeting that says a name says an allowed one.
    IfPresent,
    /// It is not looked at.
    Off,
}

/// Limits of the fence.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArguments {
    /// Memory of all tasks together, as in 2GiB
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Tasks at a time
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub pids: Option<u64>,
    /// Wall time, as in 10m
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Processor share, as in 150% or 1.5
    #[arg(long, value_name = "SHARE")]
    pub cpu: Option<String>,
    /// Open files of each process
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub open_files: Option<u64>,
    /// Largest file that may be written, as in 1GiB
    #[arg(long, value_name = "BYTES")]
    pub file_size: Option<String>,
}

/// Run a command behind a fence
///
/// Without --profile the built-in profile `untrusted` applies: no network, none of the well-known files with secrets,
/// writes only to a private temporary directory. The environment is passed on as it is. Exit codes: the command's
/// own, 128+n if signal n ended it, 124 if its time was up, 125 if the fence could not stand, 126 if the command
/// cannot be run, 127 if it was not found.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Run as this user: name, uid, or uid:gid; under sudo the invoking user is the default
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Let the command inherit this descriptor besides 0, 1 and 2
    #[arg(long = "keep-fd", value_name = "NUMBER")]
    pub keep: Vec<RawFd>,
    /// Wait for tasks that outlive the command, instead of ending them
    #[arg(long)]
    pub wait_all: bool,
    /// Which engine
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    pub engine: EngineArgument,
    /// Say nothing about denials
    #[arg(short, long)]
    pub quiet: bool,
    /// Tell in the end what passed between the command and each peer
    #[arg(long)]
    pub stats: bool,
    /// Append each event to this file as a line of JSON
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Show what would be done and enforced, and run nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    // Headings hold for all that comes behind.
    /// Rules.
    #[command(flatten)]
    pub rules: RuleArguments,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArguments,
}

/// Which engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineArgument {
    /// BPF LSM where it can be had, else the fallback.
    #[default]
    Auto,
    /// BPF LSM or nothing.
    BpfLsm,
    /// Landlock, mounts and seccomp.
    Fallback,
}
