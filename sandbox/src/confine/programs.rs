//! What becomes of programs with rights of their own under the fallback engine, which cannot change rights at exec: all
//! are held to what the profile says at large.

use std::cmp::Ordering;

use ringfence_abi::network::{ALLOW, DENY};
use ringfence_abi::rights::{EXEC, READ, WRITE};
use ringfence_abi::surface::{PTRACE, SCHEDULER, SIGNALS, Surfaces};

use crate::policy::Difference as FileDifference;
use crate::policy::{Grade, Mode, Policy, ProgramPolicy, Protection, Standing};

/// Surfaces that are about tasks; the others are about system calls and the kernel.
const TASKS: Surfaces = PTRACE.union(SIGNALS).union(SCHEDULER);

/// How a program's own rights differ from those at large, as far as one protection is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Difference {
    /// It may do more: denied, since it is held to less.
    more: bool,
    /// It may do less: allowed, since it is held to more.
    less: bool,
}

/// How the file rights of each program differ from those at large.
pub(super) fn differences(policy: &Policy) -> Vec<FileDifference> {
    let at_large = &policy.files.automaton;
    let programs = policy.programs.iter();
    programs
        .map(|program| program.files.automaton.difference(at_large))
        .collect()
}

/// `standing` of the policy at large, as it is with the programs that the engine does not tell apart; `differences` is
/// what [`differences`] gave, `way_to_hooks` what would tell them apart.
pub(super) fn at_large(
    mut standing: Standing,
    policy: &Policy,
    differences: &[FileDifference],
    way_to_hooks: &str,
) -> Standing {
    for (program, found) in policy.programs.iter().zip(differences) {
        let difference = difference(standing.protection, policy, program, *found);
        if difference.less {
            worsen(
                &mut standing,
                Grade::Weaker,
                &format!(
                    "program `{}` has fewer rights in the profile, and those at large here",
                    program.path
                ),
                way_to_hooks,
            );
        } else if difference.more {
            worsen(
                &mut standing,
                Grade::Stricter,
                &format!(
                    "program `{}` has more rights in the profile, and those at large here",
                    program.path
                ),
                way_to_hooks,
            );
        }
    }
    standing
}

fn worsen(standing: &mut Standing, grade: Grade, reason: &str, way: &str) {
    standing.grade = standing.grade.max(grade);
    standing.reasons.push(reason.to_owned());
    standing.remedy.get_or_insert_with(|| way.to_owned());
}

fn difference(
    protection: Protection,
    policy: &Policy,
    program: &ProgramPolicy,
    found: FileDifference,
) -> Difference {
    match protection {
        Protection::FilesRead => files(READ, policy, program, found),
        Protection::FilesWrite | Protection::FilesMetadata => files(WRITE, policy, program, found),
        Protection::Exec => files(EXEC, policy, program, found),
        Protection::Network => network(policy, program),
        Protection::Processes => surfaces(TASKS, policy, program),
        Protection::Syscalls => surfaces(Surfaces(!TASKS.0), policy, program),
        Protection::Capabilities | Protection::PrivilegeGain | Protection::Limits => {
            Difference::default()
        }
    }
}

/// Rules that differ may be more in one thing and less in another.
fn network(policy: &Policy, program: &ProgramPolicy) -> Difference {
    let (own, at_large) = (&program.network, &policy.network);
    let strictness = |mode: Mode| match mode {
        Mode::Enforce => 0,
        Mode::Audit => 1,
        Mode::Off => 2,
    };
    match strictness(own.mode).cmp(&strictness(at_large.mode)) {
        Ordering::Greater => Difference {
            more: true,
            less: false,
        },
        Ordering::Less => Difference {
            more: false,
            less: true,
        },
        Ordering::Equal => {
            let found = own.automaton.difference(&at_large.automaton);
            // What one denies, the other may reach by a name.
            Difference {
                more: found.more & ALLOW != 0 || found.less & DENY != 0,
                less: found.less & ALLOW != 0 || found.more & DENY != 0,
            }
        }
    }
}

fn files(right: u8, policy: &Policy, program: &ProgramPolicy, found: FileDifference) -> Difference {
    match (policy.files.mode, program.files.mode) {
        (Mode::Enforce, Mode::Enforce) => Difference {
            more: found.more & right != 0,
            less: found.less & right != 0,
        },
        (at_large, own) => Difference {
            more: at_large == Mode::Enforce && own != Mode::Enforce,
            less: at_large != Mode::Enforce && own == Mode::Enforce,
        },
    }
}

fn surfaces(about: Surfaces, policy: &Policy, program: &ProgramPolicy) -> Difference {
    let (own, at_large) = (program.kernel.0 & about.0, policy.kernel.0 & about.0);
    Difference {
        more: own & !at_large != 0,
        less: at_large & !own != 0,
    }
}
