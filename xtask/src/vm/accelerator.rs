//! KVM where it really works, emulation elsewhere.
//!
//! `/dev/kvm` that opens proves nothing: under some nested hypervisors the guest then runs a thousand times slower than
//! emulated, or dies. So one short boot decides, once for each boot of this host.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::kernel::Kernel;
use super::machine;
use crate::tool::say;

/// How the machine's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// By the processor.
    Kvm,
    /// By qemu.
    Tcg,
}

/// A machine that works has started its first program long before this.
const PATIENCE: Duration = Duration::from_secs(12);

impl Accelerator {
    /// `RINGFENCE_VM_ACCEL`, or what was found out before, or a trial.
    pub(crate) fn choose(kernel: &Kernel) -> Result<Self> {
        if let Some(given) = std::env::var_os("RINGFENCE_VM_ACCEL") {
            return match given.to_str() {
                Some("kvm") => Ok(Self::Kvm),
                Some("tcg") => Ok(Self::Tcg),
                _ => bail!(
                    "RINGFENCE_VM_ACCEL is {}: it may be kvm or tcg",
                    given.display()
                ),
            };
        }
        if fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let note = kernel
            .initrd
            .with_file_name(format!("accelerator-{}", boot.trim()));
        match fs::read_to_string(&note).as_deref() {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            _ => {}
        }
        say(format!(
            "trying whether KVM runs this kernel here (at most {} s)",
            PATIENCE.as_secs()
        ));
        let found = if machine::comes_up(kernel, Self::Kvm, PATIENCE) {
            Self::Kvm
        } else {
            Self::Tcg
        };
        remember(&note, found);
        Ok(found)
    }

    /// As qemu's command line has it.
    pub(crate) fn options(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // One thread for all processors: with one for each, a processor can run an instruction that another one has
            // just patched away, and dies of it ("Oops: int3"). Kernels patch themselves whenever a static key turns
            // or a BPF program is attached, so with Linux 6.12 under qemu 7.2 that was one boot in ten, and every run that
            // turned a key in a loop.
            Self::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max"],
        }
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

fn remember(note: &Path, found: Accelerator) {
    if let Err(error) = fs::write(note, found.name()) {
        say(format!(
            "could not note that {} is the way here: {error}",
            found.name()
        ));
    }
}
