//! Profiles: shown, tested, compared, exported, and kept in registries.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand};

use super::RuleArguments;

/// `ringfence profile`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum ProfileVerb {
    /// The effective profile, with where each rule came from
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Rules and profiles.
        #[command(flatten)]
        rules: RuleArguments,
    },
    /// Which rule decides about a path, a peer or a socket; exit code 0 if allowed, 1 if denied
    Test {
        /// The path, as the kernel would resolve it
        #[arg(required_unless_present_any = ["connect", "listen", "unix"])]
        path: Option<OsString>,
        /// A peer in place of a path: a name or an address with its port
        #[arg(long, value_name = "PEER", conflicts_with_all = ["path", "read", "write", "exec"])]
        connect: Vec<String>,
        /// An address of one's own, with its port
        #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["path", "read", "write", "exec"])]
        listen: Vec<String>,
        /// A Unix socket: its path, or its abstract name with a leading @
        #[arg(long, value_name = "SOCKET", conflicts_with_all = ["path", "read", "write", "exec"])]
        unix: Vec<OsString>,
        /// Rights to test.
        #[command(flatten)]
        rights: TestedRights,
        /// Ask inside the [[program]] section that an exec of this path enters; given again, inside that one
        #[arg(long = "program", value_name = "PATH")]
        programs: Vec<OsString>,
        /// Profile: a shipped name or a path
        #[arg(short, long = "profile", value_name = "PROFILE")]
        profiles: Vec<OsString>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What any of the profiles allows, with the evidence of all
    Merge {
        /// The profiles' files
        #[arg(required = true, num_args = 1.., value_name = "FILE")]
        profiles: Vec<PathBuf>,
        /// Write the result here; `-`, or without it, to standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// What the second profile allows and the first does not (+), and the other way round (-); exit code 0 if they mean the
    /// same, 1 if not
    Diff {
        /// A shipped name or a path
        first: OsString,
        /// A shipped name or a path
        second: OsString,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The profile's own rules that nothing in the traces needed; exit code 0 if there are none, 1 if there are
    Minimise {
        /// The profile's file
        #[arg(short, long, value_name = "FILE")]
        profile: PathBuf,
        /// What `learn --trace` has written
        #[arg(required = true, num_args = 1.., value_name = "TRACE")]
        traces: Vec<PathBuf>,
    },
    /// The profile in another tool's format; what that cannot say is refused, or named with --lossy
    Export {
        /// Which format.
        #[command(flatten)]
        target: ExportTarget,
        /// Profile: a shipped name or a path; may be given more than once
        #[arg(short, long = "profile", value_name = "PROFILE")]
        profiles: Vec<OsString>,
        /// Write what the format can say, and name the rest on standard error
        #[arg(long)]
        lossy: bool,
    },
    /// Put a profile into a registry of container images; prints the address that pins it
    ///
    /// Credentials are those of `podman login` and `docker login`. Nothing looks into a registry when a container starts:
    /// there, `pull --install` puts a profile where containers find it.
    #[cfg(feature = "registry")]
    Push {
        /// The profile's file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where it goes
        #[arg(value_name = "REGISTRY/NAME:TAG")]
        address: String,
        /// Talk to the registry without TLS; on loopback that is so unless there are certificates for it
        #[arg(long)]
        plain_http: bool,
    },
    /// Get a profile from a registry of container images, and check it
    #[cfg(feature = "registry")]
    Pull(PullArguments),
    /// The JSON Schema of profiles
    Schema,
    /// The shipped profiles
    List,
}

/// Get a profile from a registry of container images, and check it
#[cfg(feature = "registry")]
#[derive(Debug, Args)]
pub struct PullArguments {
    /// Where it is; a digest is what it has to be, whatever the registry says
    #[arg(value_name = "REGISTRY/NAME[:TAG|@sha256:DIGEST]")]
    pub address: String,
    /// Write it here; `-`, or without it, to standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "install")]
    pub output: Option<PathBuf>,
    /// Put it into /etc/ringfence/profiles under this name, where containers find it
    #[arg(long, value_name = "NAME")]
    pub install: Option<String>,
    /// In place of one that is there
    #[arg(long, requires = "install")]
    pub replace: bool,
    /// Talk to the registry without TLS; on loopback that is so unless there are certificates for it
    #[arg(long)]
    pub plain_http: bool,
}

// The format of an export.
#[allow(
    missing_docs,
    reason = "clap would show it in place of what the verb does"
)]
#[derive(Debug, Default, Args)]
#[group(required = true, multiple = false)]
pub struct ExportTarget {
    /// A filter of system calls in JSON, as container engines take it
    #[arg(long)]
    pub seccomp: bool,
    /// An AppArmor profile
    #[arg(long)]
    pub apparmor: bool,
    /// Landlock rules in JSON, as landlockconfig takes them
    #[arg(long)]
    pub landlock: bool,
    /// Capabilities, system calls and limits as parts of an OCI bundle's config.json
    #[arg(long)]
    pub oci: bool,
}

// Which rights are tested; without one, all are.
#[allow(
    missing_docs,
    reason = "clap would show it in place of what the verb does"
)]
#[derive(Debug, Default, Args)]
pub struct TestedRights {
    /// Reading
    #[arg(long)]
    pub read: bool,
    /// Writing
    #[arg(long)]
    pub write: bool,
    /// Executing
    #[arg(long)]
    pub exec: bool,
}
