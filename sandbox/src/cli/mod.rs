//! The command line: what can be typed, and what it means. Parsing touches nothing.

mod fences;
mod learn;
mod meaning;
mod oci;
mod profile;
mod run;

pub use fences::{
    DoctorArguments, EventsArguments, PsArguments, ReloadArguments, StopArguments, WhyArguments,
};
pub use learn::{CheckArguments, FormatArgument, LearnArguments, ReportArguments};
#[cfg(feature = "registry")]
pub use meaning::destination;
pub use meaning::{check_options, command_line, export_target, learn_options, run_options};
pub use oci::{ContainerEngineArgument, EngineArguments, OciSetup, OciVerb};
#[cfg(feature = "registry")]
pub use profile::PullArguments;
pub use profile::{ExportTarget, ProfileVerb, TestedRights};
pub use run::{
    EngineArgument, LimitArguments, NetworkArgument, RuleArguments, RunArguments, SniArgument,
};

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
