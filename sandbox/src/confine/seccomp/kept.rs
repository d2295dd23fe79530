//! Programs in words for a [`crate::policy::Memory`]. They depend on what is wanted, on the tables of this version, and on the
//! library's own table of names.

use std::hash::Hash as _;

use libseccomp::ScmpVersion;

use super::{Instruction, MOST_INSTRUCTIONS, Program, RETURN, Wanted};
use crate::policy::{Key, KeyHasher, Syscalls};

/// Bytes of an instruction.
const BYTES: usize = size_of::<Instruction>();

/// What names the programs; `None` where the library does not tell its version.
pub(super) fn key(wanted: Wanted, listed: &Syscalls) -> Option<Key> {
    let library = ScmpVersion::current().ok()?;
    let mut hasher = KeyHasher::new(concat!("seccomp-", env!("RINGFENCE_COMPILER_DIGEST")));
    (library.major, library.minor, library.micro).hash(&mut hasher);
    std::env::consts::ARCH.hash(&mut hasher);
    (wanted, listed).hash(&mut hasher);
    Some(hasher.key())
}

/// Their numbers of instructions, and those.
pub(super) fn encode(programs: &[Program]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for program in programs {
        bytes.extend((program.len() as u64).to_le_bytes());
        bytes.extend(program.bytes());
    }
    bytes
}

/// So many programs; `None` if these bytes are not [`encode`]'s. Whether each is a program the kernel checks.
pub(super) fn decode(mut bytes: &[u8], count: usize) -> Option<Vec<Program>> {
    let mut programs = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        if length > MOST_INSTRUCTIONS {
            return None;
        }
        let (own, rest) = rest.split_at_checked(length * BYTES)?;
        bytes = rest;
        let (own, _) = own.as_chunks::<BYTES>();
        let instructions: Vec<_> = own.iter().copied().map(instruction).collect();
        // Every program ends with a verdict.
        if instructions.last()?.code != RETURN {
            return None;
        }
        programs.push(Program { instructions });
    }
    bytes.is_empty().then_some(programs)
}

fn instruction([a, b, if_true, if_false, c, d, e, f]: [u8; BYTES]) -> Instruction {
    Instruction {
        code: u16::from_ne_bytes([a, b]),
        if_true,
        if_false,
        value: u32::from_ne_bytes([c, d, e, f]),
    }
}

#[cfg(test)]
mod tests {
    use ringfence_abi::surface::Surfaces;

    use super::super::Sockets;
    use super::*;

    const WANTED: Wanted = Wanted {
        sockets: Sockets::Any,
        open: Surfaces::NONE,
        fallback: false,
        shares_ipc: false,
        tells: false,
    };

    #[test]
    fn programs_are_read_back_as_they_were_and_nothing_else_is_read() {
        for listed in [Syscalls::Default, Syscalls::Listed(vec!["mkdir"])] {
            let programs = Program::all(WANTED, &listed).unwrap();
            let bytes = encode(&programs);
            assert_eq!(decode(&bytes, programs.len()).unwrap(), programs);
            assert!(decode(&bytes, programs.len() + 1).is_none());
            assert!(decode(&bytes[..bytes.len() - BYTES], programs.len()).is_none());
            assert!(decode(&bytes[..bytes.len() - 1], programs.len()).is_none());
            assert!(decode(&[&bytes[..], b"\0"].concat(), programs.len()).is_none());
        }
        assert!(decode(&[], 1).is_none());
        assert!(decode(&[0; 8], 1).is_none());
        assert!(decode(&[0xff; 8], 1).is_none());
    }

    #[test]
    fn whatever_is_wanted_otherwise_has_another_key() {
        let fallback = Wanted {
            fallback: true,
            ..WANTED
        };
        let keys = [
            key(WANTED, &Syscalls::Default),
            key(fallback, &Syscalls::Default),
            key(WANTED, &Syscalls::Listed(Vec::new())),
            key(WANTED, &Syscalls::Listed(vec!["mkdir"])),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(one.is_some());
            assert!(!keys[..at].contains(one));
        }
        assert_eq!(keys[0], key(WANTED, &Syscalls::Default));
    }
}
