//! What a test needs of the machine, and whether it is here. The answer is a reason, for the report.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use aya::programs::{LsmAttachType, ProgramType};

/// One thing that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The superuser.
    Root,
    /// A kernel that lists `bpf` among its security modules and loads programs for them.
    BpfLsm,
    /// A kernel that does not: tests of what happens then.
    NoBpfLsm,
    /// Landlock among the kernel's security modules.
    Landlock,
    /// A cgroup2 hierarchy that we may make groups in.
    Cgroup,
    /// This controller in the root of a cgroup2 hierarchy.
    Controller(&'static str),
    /// A program on `PATH`.
    Program(&'static str),
    /// A processor that is not emulated: what runs for seconds takes minutes there. Met where `RINGFENCE_HAS_TIME` is set, for who
    /// wants to see these tests in a machine all the same.
    Processor,
}

impl Need {
    /// `None` if it is met, else why it is not.
    pub(crate) fn unmet(self) -> Option<String> {
        match self {
            Self::Root => (!is_root()).then(|| "needs root".to_owned()),
            Self::BpfLsm => bpf_lsm().clone().err(),
            Self::NoBpfLsm => bpf_lsm()
                .is_ok()
                .then(|| "this kernel has BPF LSM".to_owned()),
            Self::Landlock => {
                (!modules().contains("landlock")).then(|| "this kernel has no Landlock".to_owned())
            }
            Self::Cgroup => {
                let here = [
                    "/sys/fs/cgroup/cgroup.procs",
                    "/sys/fs/cgroup/unified/cgroup.procs",
                ];
                let none = !here.iter().any(|file| Path::new(file).exists());
                none.then(|| "no cgroup2 hierarchy is mounted".to_owned())
            }
            Self::Controller(name) => {
                let here = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
                let none = !here.is_ok_and(|here| here.split_whitespace().any(|one| one == name));
                none.then(|| format!("cgroup2 has no {name} controller"))
            }
            Self::Processor => {
                let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
                let emulated = processors.contains("QEMU TCG");
                let has_time = std::env::var_os("RINGFENCE_HAS_TIME").is_some();
                (emulated && !has_time).then(|| "the processor is emulated".to_owned())
            }
            Self::Program(name) => (!on_path(name)).then(|| format!("{name} is not installed")),
        }
    }
}

/// The owner of `/proc/self` is the effective user.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|seen| seen.uid() == 0)
}

pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The kernel's list; empty where securityfs is not mounted, which reads as "has none".
fn modules() -> String {
    fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default()
}

/// Being listed is not enough: hardened kernels list `bpf` and refuse to load. So one trivial program is loaded.
fn bpf_lsm() -> &'static Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(|| {
        if !modules().trim().split(',').any(|module| module == "bpf") {
            return Err("bpf is not among this kernel's security modules".to_owned());
        }
        match aya::sys::is_program_supported(ProgramType::Lsm(LsmAttachType::Mac)) {
            Ok(true) => Ok(()),
            Ok(false) => Err("this kernel does not load BPF LSM programs".to_owned()),
            Err(error) => Err(format!("this kernel refuses BPF LSM programs: {error}")),
        }
    })
}
