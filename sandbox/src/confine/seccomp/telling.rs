//! Programs that have the supervisor asked where a fence's own ones refuse: a filter that answers by itself tells nobody.
//!
//! Of a task's filters one alone may notify (kernel/seccomp.c, 6.18, `has_duplicate_listener`), and refusing goes before notifying.
//! So all become one: what lets a call through goes on to the next, and what refuses with [`TOLD`] notifies instead. The one that is
//! loaded last comes first, since of two refusals its errno counts.
//!
//! The supervisor lets none of them go on but what is about the caller itself. Once it is gone they fail with `ENOSYS`. A later filter's listener could let
//! them go on ("the most recently added filter takes precedence": include/uapi/linux/seccomp.h, 6.18), so no other listener is made:
//! [`super::Wanted::tells`].

use libseccomp::{ScmpArch, ScmpSyscall};

use super::answer::{Call, JUMP, answer, audit};
use super::{
    Error, Instruction, JUMP_EQUAL, LOAD_WORD, MOST_INSTRUCTIONS, Program, RETURN, refused,
};

/// The refusal that is told. What says "not here" (`ENOSYS`, `ENOTSUP`) programs are prepared for, and ask for all the time; sockets
/// (`EACCES`) are told elsewhere.
pub(in crate::confine) const TOLD: u32 =
    libc::SECCOMP_RET_ERRNO | (libc::EPERM.cast_unsigned() & libc::SECCOMP_RET_DATA);

/// The calls by which a launched process hands its listener over, and loads what follows.
const HANDING_OVER: [&str; 2] = ["sendmmsg", "seccomp"];
/// The word of `struct seccomp_data` that names the architecture.
const ARCHITECTURE: u32 = 4;

/// What takes the place of a fence's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::confine) struct Telling {
    /// Loaded first; what listens to it is to be handed over.
    pub(in crate::confine) notifies: Program,
    /// Loaded behind it, where handing over takes what the fence refuses: from then on that is refused, without a word.
    pub(in crate::confine) rest: Option<Program>,
}

impl Telling {
    /// How many instructions they have.
    pub(in crate::confine) fn len(&self) -> usize {
        self.notifies.len() + self.rest.as_ref().map_or(0, Program::len)
    }

    /// For `programs`, as they are loaded. `tells`: whether what they refuse notifies; `connects`: whether connections that they let
    /// through do.
    pub(in crate::confine) fn of(
        programs: &[Program],
        tells: bool,
        connects: bool,
    ) -> Result<Self, Error> {
        let native = audit(ScmpArch::Native).unwrap_or_default();
        let mut handing_over = [0; HANDING_OVER.len()];
        let mut is_open = true;
        for (number, name) in handing_over.iter_mut().zip(HANDING_OVER) {
            let syscall = ScmpSyscall::from_name(name).map_err(|source| refused(name, source))?;
            *number = syscall.as_raw_syscall().cast_unsigned();
            let call = Call {
                number: *number,
                architecture: native,
                arguments: [0; 6],
            };
            is_open &= answer(programs, &call) == Some(libc::SECCOMP_RET_ALLOW);
        }
        let connecting = connects.then(Program::notifying).transpose()?;
        let all = programs.iter().rev().chain(&connecting);
        let told = joined(all, |answer| match answer {
            TOLD if tells => libc::SECCOMP_RET_USER_NOTIF,
            other => other,
        });
        if is_open {
            return Ok(Self {
                notifies: whole(Vec::new(), told)?,
                rest: None,
            });
        }
        let silent = joined(programs.iter().rev(), |answer| answer);
        Ok(Self {
            notifies: whole(let_through(native, handing_over), told)?,
            rest: Some(whole(let_through_others(handing_over), silent)?),
        })
    }
}

/// All as one: what one lets through, the next judges.
fn joined<'a>(
    programs: impl IntoIterator<Item = &'a Program>,
    answer: impl Fn(u32) -> u32,
) -> Vec<Instruction> {
    let mut programs = programs.into_iter().peekable();
    let mut all = Vec::new();
    while let Some(program) = programs.next() {
        let is_last = programs.peek().is_none();
        let behind = (0..program.len()).rev();
        for (instruction, behind) in program.instructions.iter().zip(behind) {
            all.push(match *instruction {
                Instruction {
                    code: RETURN,
                    value: libc::SECCOMP_RET_ALLOW,
                    ..
                } if !is_last => Instruction {
                    code: JUMP,
                    if_true: 0,
                    if_false: 0,
                    // At most MOST_INSTRUCTIONS by construction.
                    value: u32::try_from(behind).unwrap_or(u32::MAX),
                },
                Instruction {
                    code: RETURN,
                    value,
                    ..
                } => Instruction {
                    value: answer(value),
                    ..*instruction
                },
                other => other,
            });
        }
    }
    all
}

/// `if architecture == native and number is one of these: let it through`.
fn let_through(native: u32, [first, second]: [u32; 2]) -> Vec<Instruction> {
    vec![
        step(LOAD_WORD, 0, 0, ARCHITECTURE),
        step(JUMP_EQUAL, 0, 4, native),
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_EQUAL, 1, 0, first),
        step(JUMP_EQUAL, 0, 1, second),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// `if number is none of these: let it through`. Of another architecture they are other calls, which the fence judges all the same.
fn let_through_others([first, second]: [u32; 2]) -> Vec<Instruction> {
    vec![
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_EQUAL, 2, 0, first),
        step(JUMP_EQUAL, 1, 0, second),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

const fn step(code: u16, if_true: u8, if_false: u8, value: u32) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        value,
    }
}

fn whole(mut first: Vec<Instruction>, rest: Vec<Instruction>) -> Result<Program, Error> {
    first.extend(rest);
    if first.len() > MOST_INSTRUCTIONS {
        return Err(Error::SeccompSize {
            instructions: first.len(),
        });
    }
    Ok(Program {
        instructions: first,
    })
}
