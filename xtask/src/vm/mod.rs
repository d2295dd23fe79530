//! `cargo xtask vm`: one command, as root, on a kernel of our choice, in a throw-away machine.
//!
//! The machine sees this host's files (read-only, changes go to memory), so that what was built here runs there. It has
//! no network card. What it cannot do is keep anything: bring results home on standard output.

mod accelerator;
mod archive;
mod channel;
mod initrd;
mod job;
mod kernel;
mod machine;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::packages::{Need, ensure, need};
use crate::tool::is_root;
pub(crate) use channel::Sink;
pub(crate) use job::Job;
pub(crate) use kernel::{Release, get as kernel};
pub(crate) use machine::{Clock, DEFAULT_LSM, Ending, Machine};

/// What the verb was asked to do.
#[derive(clap::Args)]
pub(crate) struct Ask {
    /// Kernel: the distribution's current build of that line
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Release,
    /// Memory of the machine
    #[arg(long, value_name = "MiB", default_value_t = 2048)]
    memory: u32,
    /// Processors of the machine
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// Seconds after which the machine is ended; exit code 124
    #[arg(long, value_name = "S", default_value_t = 300)]
    timeout: u64,
    /// Folder below /tmp or /run (which are empty in the machine) that the command sees, changes go to memory
    #[arg(long, value_name = "DIR")]
    bind: Vec<PathBuf>,
    /// Variable that the command gets, besides PATH and HOME
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Security modules in the order of the kernel's `lsm=`; the default has bpf, last
    #[arg(long, value_name = "LIST", default_value = machine::DEFAULT_LSM)]
    lsm: String,
    /// Let the machine's clock count instructions, a nanosecond each, whatever else this host does; emulated, one processor
    #[arg(long, conflicts_with = "cpus")]
    count: bool,
    /// Show the machine's console on standard error
    #[arg(long)]
    console: bool,
    /// Look for a newer kernel build now, not only when the cached one is a week old
    #[arg(long)]
    refresh: bool,
    /// Install what is missing (as root, by apt-get)
    #[arg(long)]
    install: bool,
    /// Command and arguments, run as root in the folder that you are in
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Exit code of a machine that ran out of time, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// The verb: gives the command's own exit code.
pub(crate) fn verb(ask: Ask) -> Result<ExitCode> {
    prepare(ask.install)?;
    let job = Job::here(ask.command)?
        .with_binds(ask.bind)?
        .with_variables(ask.env);
    let (clock, cpus) = match ask.count {
        true => (Clock::Instructions, 1),
        false => (Clock::Host, ask.cpus),
    };
    let machine = Machine {
        kernel: kernel(ask.kernel, ask.refresh)?,
        memory: ask.memory,
        cpus,
        timeout: Duration::from_secs(ask.timeout),
        lsm: ask.lsm,
        console: ask.console,
        clock,
    };
    match machine.run(&job, &Sink::stdout(), &Sink::stderr())? {
        Ending::Exited(code) => Ok(ExitCode::from(code)),
        Ending::TimedOut => Ok(ExitCode::from(TIMED_OUT)),
    }
}

/// Makes sure that machines can be started at all.
pub(crate) fn prepare(install: bool) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "machines are x86_64 for now, this host is {}",
            std::env::consts::ARCH
        );
    }
    ensure(&needs(), install, "starting a machine")?;
    if !is_root() {
        bail!(
            "starting a machine needs root: it shows the whole of this host's files to its guest"
        );
    }
    Ok(())
}

fn needs() -> [Need; 6] {
    const DAEMON: [&str; 2] = machine::VIRTIOFSD;
    // Debian 12 has the daemon in a package of qemu's, later ones in one of its own.
    let old = std::fs::read_to_string("/etc/debian_version")
        .is_ok_and(|version| version.starts_with("12"));
    [
        need(&["qemu-system-x86_64"], "qemu-system-x86"),
        need(
            &DAEMON,
            if old {
                "qemu-system-common"
            } else {
                "virtiofsd"
            },
        ),
        need(&["/bin/busybox"], "busybox-static"),
        need(&["cpio"], "cpio"),
        need(&["xz"], "xz-utils"),
        need(&["zstd"], "zstd"),
    ]
}
