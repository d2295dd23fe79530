//! What was denied, what can be enforced here, and the fences that stand.

use std::ffi::OsString;

use clap::Args;

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
