//! What filters answer to a call, said by who is not the kernel: a notification does not carry the errno that it stands for.

use libseccomp::ScmpArch;

use super::{JUMP_EQUAL, JUMP_GREATER_EQUAL, LOAD_WORD, Program, RETURN};

// include/uapi/linux/bpf_common.h
pub(super) const JUMP: u16 = 0x05;
const JUMP_GREATER: u16 = 0x25;
const JUMP_SET: u16 = 0x45;
const AND: u16 = 0x54;
/// Words of `struct seccomp_data` (include/uapi/linux/seccomp.h): number, architecture, two of the instruction's address, two of
/// each argument.
const WORDS: usize = 16;

/// One system call as a filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::confine) struct Call {
    /// Its number.
    pub(in crate::confine) number: u32,
    /// `AUDIT_ARCH_*`.
    pub(in crate::confine) architecture: u32,
    /// What is passed.
    pub(in crate::confine) arguments: [u64; 6],
}

impl Call {
    fn words(&self) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        (words[0], words[1]) = (self.number, self.architecture);
        for (place, argument) in words[4..]
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(self.arguments)
        {
            *place = [low_half(argument), low_half(argument >> 32)];
        }
        words
    }
}

impl Program {
    /// What it answers. `None` for an instruction that libseccomp does not write, as of a program that was not built here.
    pub(super) fn answer(&self, call: &Call) -> Option<u32> {
        let words = call.words();
        let (mut at, mut accumulator) = (0_usize, 0_u32);
        // Jumps lead forward alone, so this ends.
        loop {
            let step = self.instructions.get(at)?;
            at += 1;
            let value = step.value;
            let taken = match step.code {
                LOAD_WORD => {
                    accumulator = *words.get(usize::try_from(value).ok()? / 4)?;
                    continue;
                }
                AND => {
                    accumulator &= value;
                    continue;
                }
                JUMP => {
                    at += usize::try_from(value).ok()?;
                    continue;
                }
                RETURN => return Some(value),
                JUMP_EQUAL => accumulator == value,
                JUMP_GREATER => accumulator > value,
                JUMP_GREATER_EQUAL => accumulator >= value,
                JUMP_SET => accumulator & value != 0,
                _ => return None,
            };
            at += usize::from(if taken { step.if_true } else { step.if_false });
        }
    }
}

/// What all answer together, loaded in this order: the strictest action, and of equal ones the last (kernel/seccomp.c, 6.18,
/// `seccomp_run_filters`).
pub(in crate::confine) fn answer(programs: &[Program], call: &Call) -> Option<u32> {
    let mut answer = libc::SECCOMP_RET_ALLOW;
    for program in programs.iter().rev() {
        let own = program.answer(call)?;
        if own & libc::SECCOMP_RET_ACTION_FULL < answer & libc::SECCOMP_RET_ACTION_FULL {
            answer = own;
        }
    }
    Some(answer)
}

/// `AUDIT_ARCH_*` (include/uapi/linux/audit.h); `None` for one that no filter here is about.
pub(in crate::confine) fn audit(architecture: ScmpArch) -> Option<u32> {
    Some(match architecture {
        ScmpArch::Native => return audit(ScmpArch::native()),
        ScmpArch::X86 => 0x4000_0003,
        ScmpArch::X8664 => 0xc000_003e,
        ScmpArch::Arm => 0x4000_0028,
        ScmpArch::Aarch64 => 0xc000_00b7,
        _ => return None,
    })
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low_half(argument: u64) -> u32 {
    argument as u32
}
