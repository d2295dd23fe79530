//! Containers.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// `ringfence oci`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum OciVerb {
    /// Stand for runc, crun or youki: takes its command line, and hands over to it
    ///
    /// What `create` and `run` start is fenced, and so is what `exec` adds. Engines call it by a name that stands for the
    /// runtime: a link to ringfence that is called ringfence-runc, ringfence-crun or ringfence-youki.
    Runtime {
        /// How the runtime is set up.
        #[command(flatten)]
        setup: OciSetup,
        /// The runtime's own command line
        #[arg(last = true, value_name = "ARGUMENTS")]
        words: Vec<OsString>,
    },
    /// Run a bundle without an engine
    Run {
        /// How the runtime is set up.
        #[command(flatten)]
        setup: OciSetup,
        /// The container's name; one is made up if none is given
        #[arg(long)]
        id: Option<String>,
        /// The bundle's directory
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
    },
    /// Set up the fence of the container whose state is on standard input (an OCI hook: createRuntime and poststop)
    Hook {
        /// Profile of containers that name none
        #[arg(short, long, value_name = "PROFILE")]
        profile: Option<String>,
        /// The bundle was changed for the fallback engine
        #[arg(long, hide = true)]
        fallback: bool,
        /// Record the container instead, and write its profile here
        #[arg(long, value_name = "FILE")]
        learn: Option<PathBuf>,
    },
    /// Tell an engine of the runtime `ringfence`: write its configuration, and print it
    Install(EngineArguments),
    /// Take `install` back
    Uninstall(EngineArguments),
}

/// An engine that starts containers by a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContainerEngineArgument {
    /// containerd, and what stands on it.
    Containerd,
    /// podman.
    Podman,
    /// CRI-O.
    Crio,
}

// Which engine, on which host.
#[allow(
    missing_docs,
    reason = "clap would show it in place of what the verb does"
)]
#[derive(Debug, Args)]
pub struct EngineArguments {
    /// The engine
    #[arg(value_enum)]
    pub engine: ContainerEngineArgument,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The root of the host that is meant, as of an image that is being built
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    pub root: PathBuf,
}

// How a container runtime is set up.
#[allow(
    missing_docs,
    reason = "clap would show it in place of what the verb does"
)]
#[derive(Debug, Default, Args)]
pub struct OciSetup {
    /// The real runtime, by path or name; else RINGFENCE_RUNTIME, the host's configuration, or the first of runc, crun and
    /// youki that is found
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<OsString>,
    /// Profile of containers that name none: one in /etc/ringfence/profiles or a shipped one
    #[arg(short, long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Run the container without a fence, record it, and write its profile here when it ends
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    pub learn: Option<PathBuf>,
}
