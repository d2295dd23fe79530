//! Recording a run, checking one against a profile, and showing one.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};

/// Run a command without a fence, record what it does, and write the profile that allows just that
///
/// Without root it stops at every system call, which is slow. Exit codes: the command's own, 3 if the recording is not
/// whole, 125 if nothing could be recorded, 126 and 127 as for run.
#[derive(Debug, Args)]
pub struct LearnArguments {
    /// Write the profile here; `-`, or without it, to standard output
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
    /// Write the findings here; `-`, or without it, to standard output
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
    /// Write the page here; `-`, or without it, to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
