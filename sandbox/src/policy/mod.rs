//! The policy: what a profile compiles to and what the engines get. Nothing in here knows where it came from.

use ringfence_abi::surface::Surfaces;
use serde::{Deserialize, Serialize};

mod automaton;
mod call;
mod compare;
mod memory;
mod network;
mod number;
mod ports;
mod protection;

pub use automaton::{Automaton, Difference};
pub use call::{Argument, ClosedCall};
pub use compare::Witness;
pub use memory::{Key, KeyHasher, Memory};
pub use network::{NetworkPolicy, NetworkQuestion, Sni, mapped, reached};
pub use number::number_of;
pub use ports::{PortSet, PortView};
pub use protection::{Backend, Degradation, Demand, Grade, Protection, Standing};

/// Whether a section denies, only reports, or does not apply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What no rule allows is denied.
    #[default]
    Enforce,
    /// What no rule allows is allowed and reported.
    Audit,
    /// The section does not apply.
    Off,
}

impl Mode {
    /// The word that profiles and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Off => "off",
        }
    }
}

/// One fence's policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name of the profile that it was compiled from.
    pub profile: String,
    /// Files and execution.
    pub files: FilePolicy,
    /// Network.
    pub network: NetworkPolicy,
    /// Capabilities that are kept, by their kernel names in lower case without `cap_`; all others are dropped.
    pub capabilities: Vec<String>,
    /// Parts of the kernel that are open; all others are closed.
    pub kernel: Surfaces,
    /// Which system calls there are.
    pub syscalls: Syscalls,
    /// Whether set-user-id programs and file capabilities give their privileges.
    pub privilege_gain: bool,
    /// Rights of single programs, by their number less one ([`ringfence_abi::rights::program`]).
    pub programs: Vec<ProgramPolicy>,
    /// Memory, tasks, time.
    pub limits: Limits,
    /// What may degrade.
    pub degradation: Degradation,
}

impl Policy {
    /// Parts of the kernel that are open to some program: a filter of system calls cannot change at exec.
    #[must_use]
    pub fn opened(&self) -> Surfaces {
        let programs = self.programs.iter();
        programs.fold(self.kernel, |open, program| open.union(program.kernel))
    }
}

/// What one program, and all that it starts, may do in place of what the fence may do at large. It is entered by exec of
/// a path that the automaton in force marks with the program's number.
#[derive(Clone, Debug)]
pub struct ProgramPolicy {
    /// The program's path pattern as the profile spells it.
    pub path: String,
    /// Files and execution.
    pub files: FilePolicy,
    /// Network.
    pub network: NetworkPolicy,
    /// Parts of the kernel that are open.
    pub kernel: Surfaces,
}

/// Files and execution: the automaton that both the kernel and the explanations run.
#[derive(Clone, Debug, Default)]
pub struct FilePolicy {
    /// What a denial does.
    pub mode: Mode,
    /// Path to rights.
    pub automaton: Automaton,
    /// Whether no rule denies a task to read what `/proc` tells of itself.
    pub shows_own_tasks: bool,
}

/// Which system calls there are: what a fence closes it closes under either.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Syscalls {
    /// All that a fence does not close.
    #[default]
    Default,
    /// Of those only the ones with these names, besides what every process needs to start and to end.
    Listed(Vec<&'static str>),
}

/// Resource limits of a fence; `None` leaves what the caller had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, of all tasks together where a cgroup controller is there, else of each one's address space.
    pub memory: Option<u64>,
    /// Tasks at a time.
    pub pids: Option<u64>,
    /// Seconds of wall time, after which the fence is ended.
    pub wall_seconds: Option<u64>,
    /// Processor share in hundredths of a core: 150 is one and a half cores.
    pub cpu_percent: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Bytes of the largest file that a process may write.
    pub file_size: Option<u64>,
}
