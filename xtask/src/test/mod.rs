//! `cargo xtask test`: every floor that this machine can carry, then one table.
//!
//! House rules, unit tests and tests/ need nothing. The eBPF object is rebuilt from source, and the rebuilt one is what
//! the integration floors try: on this host, then on each kernel, one boot for all tests.

mod cargo;
mod integration;
mod stream;
mod tally;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::ebpf::{self, Builder, Comparison};
use crate::packages::{Need, ensure, need};
use crate::security;
use crate::tool::{is_root, say};
use crate::vm::Release;
use tally::{Tally, report};

/// What the verb was asked to do.
#[derive(clap::Args)]
pub(crate) struct Ask {
    /// Only this floor; may be given more than once
    #[arg(long, value_enum)]
    floor: Vec<Floor>,
    /// Leave out the machines
    #[arg(long)]
    no_vm: bool,
    /// Every test on every kernel, those too that are alike on all
    #[arg(long)]
    whole: bool,
    /// Of the floors of integration/, only tests whose name has this in it
    #[arg(long, value_name = "TEXT")]
    only: Vec<OsString>,
}

/// A stage of the tests; later ones need more of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Floor {
    /// Formatting, lints, licences
    House,
    /// Tests beside the code
    Unit,
    /// Tests that need no privilege
    Tests,
    /// The eBPF object is what its source gives
    Ebpf,
    /// integration/ on this host
    Host,
    /// integration/ on Linux 6.1
    #[value(name = "vm-6.1")]
    Vm6_1,
    /// integration/ on Linux 6.12
    #[value(name = "vm-6.12")]
    Vm6_12,
    /// integration/ on the newest kernel
    VmNewest,
}

impl Floor {
    fn release(self) -> Option<Release> {
        match self {
            Self::Vm6_1 => Some(Release::V6_1),
            Self::Vm6_12 => Some(Release::V6_12),
            Self::VmNewest => Some(Release::Newest),
            _ => None,
        }
    }
}

/// What compiling the program takes beyond Rust.
pub(crate) const BUILD: [Need; 2] = [
    need(&["/usr/include/seccomp.h"], "libseccomp-dev"),
    need(&["pkg-config"], "pkg-config"),
];

/// Programs that are run in a machine, from this host's files.
const TRIED: [Need; 1] = [need(&["stress-ng"], "stress-ng")];
/// Programs that find their peers by name, on this host and in machines.
const CLIENTS: [Need; 5] = [
    need(&["curl"], "curl"),
    need(&["openssl"], "openssl"),
    need(&["npm"], "npm"),
    need(&["go"], "golang-go"),
    need(&["javac"], "default-jdk-headless"),
];
/// Programs that are learned and enforced, and tools that are to take what is made of it; on this host only.
const LEARNED: [Need; 8] = [
    need(&["apparmor_parser"], "apparmor"),
    need(&["chromium"], "chromium"),
    need(&["nginx"], "nginx-light"),
    need(&["pg_ctlcluster"], "postgresql"),
    need(&["pytest-3"], "python3-pytest"),
    need(&["redis-server"], "redis-server"),
    need(&["gpg-agent"], "gnupg"),
    need(&["sshd"], "openssh-server"),
];
/// What the tests of containers take, on this host and in machines, which see its files.
const CONTAINERS: [Need; 9] = [
    need(&["runc"], "runc"),
    need(&["crun"], "crun"),
    need(&["podman"], "podman"),
    need(&["conmon"], "conmon"),
    need(&["containerd"], "containerd"),
    need(&["/bin/busybox"], "busybox-static"),
    need(&["newuidmap"], "uidmap"),
    need(&["docker-registry"], "docker-registry"),
    need(
        &["/usr/lib/python3/dist-packages/grpc/__init__.py"],
        "python3-grpcio",
    ),
];

/// The verb.
pub(crate) fn verb(ask: &Ask) -> Result<ExitCode> {
    ensure(&BUILD, is_root(), "building ringfence")?;
    let wanted = |floor: &Floor| ask.floor.is_empty() || ask.floor.contains(floor);
    let floors: Vec<Floor> = Floor::value_variants()
        .iter()
        .copied()
        .filter(wanted)
        .collect();
    let mut tallies = Vec::new();
    if floors.contains(&Floor::House) {
        tallies.push(cargo::house()?);
    }
    let cargo_floors = [Floor::Unit, Floor::Tests].map(|floor| floors.contains(&floor));
    tallies.extend(cargo::tests(cargo_floors)?);
    let on_kernels: Vec<Release> = floors.iter().filter_map(|floor| floor.release()).collect();
    if !on_kernels.is_empty() && !ask.no_vm {
        ensure(&TRIED, is_root(), "testing in machines")?;
    }
    if floors.contains(&Floor::Ebpf) || floors.contains(&Floor::Host) || !on_kernels.is_empty() {
        // Others than root cannot install them; tests that need them are skipped by name.
        if is_root() {
            ensure(&CONTAINERS, true, "the tests of containers")?;
            ensure(&CLIENTS, true, "the tests of names")?;
            ensure(&LEARNED, true, "the tests of learned programs")?;
        }
        let (tally, object) = object(floors.contains(&Floor::Ebpf));
        tallies.extend(tally);
        tallies.extend(integration::floors(
            floors.contains(&Floor::Host),
            &on_kernels,
            object.as_deref(),
            ask.no_vm,
            match ask.whole {
                true => integration::Extent::Whole,
                false => integration::Extent::Alike,
            },
            &ask.only,
        )?);
    }
    for tally in &tallies {
        security::keep(&tally.floor, tally.findings())?;
    }
    print!("{}", report(&tallies));
    let failed = tallies.iter().any(|tally| tally.counts()[1] > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Rebuilds the object. Where that is a floor of its own, what cannot be built is a failure for root, who could install
/// what it takes, and a skip for others; where not, the checked-in object will do.
fn object(is_floor: bool) -> (Option<Tally>, Option<PathBuf>) {
    const NAME: &str = "the object is what its source gives";
    let mut tally = Tally::of("ebpf");
    let built = Builder::find(is_floor && is_root()).and_then(|builder| {
        let rebuilt = ebpf::rebuild(&builder)?;
        Ok((ebpf::compare(&builder, &rebuilt)?, builder, rebuilt))
    });
    let object = match built {
        Ok((comparison, builder, rebuilt)) => {
            match comparison {
                Comparison::Same => tally.pass(),
                Comparison::Differs => tally.fail(ebpf::differs(&rebuilt)),
                Comparison::Absent => {
                    tally.fail("no object is checked in; build it with `cargo xtask ebpf`");
                }
                Comparison::OtherBuilder(theirs) => tally.skip(
                    NAME,
                    format!(
                        "built by [{theirs}], here is [{}]; the rebuilt one is tested",
                        builder.identity()
                    ),
                ),
            }
            Some(rebuilt)
        }
        Err(error) => {
            say(format!("the eBPF object cannot be rebuilt: {error:#}"));
            match is_root() {
                true => tally.fail(format!("{NAME}: {error:#}")),
                false => tally.skip(NAME, format!("{error:#}")),
            }
            None
        }
    };
    (is_floor.then_some(tally), object)
}
