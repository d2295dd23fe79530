//! The command line: what can be typed, and what it means. Parsing touches nothing.

mod meaning;

#[cfg(feature = "registry")]
pub use meaning::destination;
pub use meaning::{check_options, command_line, export_target, learn_options, run_options};

use std::{ffi::OsString, os::fd::RawFd, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Help is no error; what cannot be parsed is one of ringfence's own, 125, for 1 and 2 could be the command's.
#[must_use]
pub fn usage(help: &clap::Error) -> ExitCode {
    help.print().ok();
    if help.use_stderr() {
        ExitCode::from(125)
    } else {
        ExitCode::SUCCESS
    }
}

/// Put any command behind a least-privilege fence made of eBPF.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, max_term_width = 100)]
pub struct Cli {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs, each with its line of the list. What its own help says stands at its arguments, which are described
/// later (`defer`) and have the last word.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Run a command behind a fence
    Run(Box<RunArguments>),
    /// Run a command without a fence, record what it does, and write the profile that allows just that
    Learn(Box<LearnArguments>),
    /// Run a command without a fence, and name what it does that its profile does not allow
    Check(Box<CheckArguments>),
    /// A run that `learn --trace` recorded as one page of HTML, for people
    Report(ReportArguments),
    /// Explain the denials of the last run
    Why(WhyArguments),
    /// Show what can be enforced here, by what, and how to turn on what is off
    Doctor(DoctorArguments),
    /// Load the programs into the kernel, so that the first fence after a boot starts as fast as the next
    Load,
    /// Remove the programs from the kernel; exits with 1 if a fence needs them
    Unload,
    /// List the fences that stand on this host (as root)
    Ps(PsArguments),
    /// Give a fence that stands another profile, at once for all that runs behind it (as root)
    Reload(ReloadArguments),
    /// End what runs behind a fence, and with it the fence (as root)
    Stop(StopArguments),
    /// Follow what happens behind the fences of this host, those that start later included (as root)
    Events(EventsArguments),
    /// The fences of this host in the text format of Prometheus (as root)
    Metrics,
    /// Show, test and describe profiles
    #[command(subcommand)]
    Profile(Box<ProfileVerb>),
    /// Put containers behind a fence
    #[command(subcommand)]
    Oci(OciVerb),
}

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

/// Run a command without a fence, record what it does, and write the profile that allows just that
///
/// Without root it stops at every system call, which is slow. Exit codes: the command's own, 3 if the recording is not
/// whole, 125 if nothing could be recorded, 126 and 127 as for run.
#[derive(Debug, Args)]
pub struct LearnArguments {
    /// Write the profile here; without it, to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Take what is learned into this profile, which is replaced unless --output names another
    #[arg(long, value_name = "FILE")]
    pub merge: Option<PathBuf>,
    /// Extend this shipped profile in any case
    #[arg(long, value_name = "PROFILE")]
    pub base: Vec<String>,
    /// Allow nothing but what was seen
    #[arg(long, conflicts_with = "loose")]
    pub tight: bool,
    /// Allow whole trees, and what shipped profiles that cover some of it allow
    #[arg(long)]
    pub loose: bool,
    /// Allow secrets like anything else, instead of asking
    #[arg(long)]
    pub accept_secrets: bool,
    /// Be content with a recording that is not whole
    #[arg(long)]
    pub allow_loss: bool,
    /// End the command, or the recording of what ran already, after this time, as in 10m
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<String>,
    /// Write what was recorded here, as lines of JSON
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Run as this user: name, uid, or uid:gid; under sudo the invoking user is the default
    #[arg(long, value_name = "USER", conflicts_with_all = ["pid", "container", "image"])]
    pub user: Option<String>,
    /// Record this running process and what it starts, until it ends, Ctrl-C, or --for; it goes on then
    #[arg(long, value_name = "PID", conflicts_with = "command", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,
    /// Record this container, by its name or the first twelve characters of its id, until it ends, Ctrl-C, or --for; it goes on
    /// then
    #[arg(long, value_name = "CONTAINER", conflicts_with_all = ["command", "pid"])]
    pub container: Option<String>,
    /// Where the container's runtime keeps its state, if that is no usual place (the `--root` of runc and crun)
    #[arg(long, value_name = "FOLDER", requires = "container")]
    pub runtime_root: Option<PathBuf>,
    /// Run this image with podman, record it from its first program on, and remove the container; the command is that in the
    /// container, and the image's own if there is none. Ctrl-C and --for end it
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["pid", "container"])]
    pub image: Option<OsString>,
    /// Hand this over to `podman create`, as in --engine-arg=--network=none; may be given more than once
    #[arg(
        long = "engine-arg",
        value_name = "ARGUMENT",
        requires = "image",
        allow_hyphen_values = true
    )]
    pub engine_arguments: Vec<OsString>,
    /// The command and its arguments
    #[arg(
        required_unless_present_any = ["pid", "container", "image"],
        trailing_var_arg = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<OsString>,
}

/// Run a command without a fence, and name what it does that its profile does not allow
///
/// Without root it is slow, as for learn. Exit codes: 0 if nothing is new, 1 if something is, 3 if the recording is not
/// whole, 125 if nothing could be recorded; the command's own if it failed and nothing is new.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Profile: a shipped name or a path
    #[arg(short, long, value_name = "PROFILE")]
    pub profile: OsString,
    /// How the findings are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: FormatArgument,
    /// Write the findings here; without it, to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Take what is new into the profile, secrets apart
    #[arg(long)]
    pub update: bool,
    /// Be content with a recording that is not whole
    #[arg(long)]
    pub allow_loss: bool,
    /// End the command after this time, as in 10m
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<String>,
    /// Run as this user: name, uid, or uid:gid; under sudo the invoking user is the default
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FormatArgument {
    /// For people.
    #[default]
    Text,
    /// JSON.
    Json,
    /// JUnit, for test reports.
    Junit,
    /// SARIF, for code scanning.
    Sarif,
    /// Markdown, for summaries.
    Markdown,
    /// Commands that GitHub reads from a log.
    Github,
}

/// Explain the denials of the last run
#[derive(Debug, Args)]
pub struct WhyArguments {
    /// Only denials whose path contains this
    pub filter: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Show what can be enforced here, by what, and how to turn on what is off
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// List the fences that stand on this host (as root)
#[derive(Debug, Args)]
pub struct PsArguments {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// End what runs behind a fence, and with it the fence (as root)
#[derive(Debug, Args)]
pub struct StopArguments {
    /// The fence's number, as ps shows it
    #[arg(value_name = "ID")]
    pub id: u64,
    /// How long its tasks have before they are killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub time: std::time::Duration,
}

/// Give a fence that stands another profile, at once for all that runs behind it (as root)
///
/// What holds for tasks that run for good, as their filter of system calls does, cannot become other than it is: such a profile is
/// refused, with the reason, and the one from before stays in force.
#[derive(Debug, Args)]
pub struct ReloadArguments {
    /// The fence's number, as ps shows it; the only one that stands if it is not given
    #[arg(value_name = "ID")]
    pub id: Option<u64>,
    /// Profile: a shipped name or a path; may be given more than once. Rules of the command line that the fence was started with stay
    #[arg(short, long = "profile", value_name = "PROFILE", required = true)]
    pub profiles: Vec<OsString>,
}

/// Follow what happens behind the fences of this host, those that start later included (as root)
///
/// Writes lines of JSON until it is ended: `standing` for each fence that stands, then `start`, `event` and `end` of each,
/// `abandoned` where a supervisor was killed, and `lost` with how many lines found no room because this was not read fast
/// enough; an `end` that found none has `complete` set to false.
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// Only of this fence, by its number, as ps shows it
    #[arg(value_name = "ID")]
    pub id: Option<u64>,
    /// Send them to a collector of OpenTelemetry instead, as in http://127.0.0.1:4318
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "ENDPOINT")]
    pub otlp: Option<String>,
}

/// A run that `learn --trace` recorded as one page of HTML, for people
///
/// It needs no network and no other file. With a profile it shows what that would not allow, without one the profile
/// that would be learned.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// What `learn --trace` has written
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    /// Hold the run against this profile: a shipped name or a path
    #[arg(short, long, value_name = "PROFILE")]
    pub profile: Option<OsString>,
    /// Write the page here; without it, to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

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
        /// Write the result here; without it, to standard output
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
