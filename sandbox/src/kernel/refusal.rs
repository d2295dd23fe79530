//! Programs that the kernel refuses, in words: aya's have the errno twice, and a place for the verifier's even where it has said nothing.

use aya::programs::ProgramError;
use nix::errno::Errno;

use super::{Error, engine::spell};

/// The error of a program that was to judge or record at this hook.
pub(super) fn at_hook(hook: &str, error: &ProgramError) -> Error {
    match unseen(error) {
        // Which program comes first says nothing: the others would be refused as well.
        Some(Errno::EPERM) => Error::Forbidden(Errno::EPERM),
        _ => Error::Program {
            hook: hook.to_owned(),
            reason: words(error),
        },
    }
}

/// Why a program was not loaded: the errno, and what the verifier has said of it.
pub(super) fn words(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let said = verifier_log.to_string();
            match said.trim() {
                "" => format!("BPF_PROG_LOAD: {io_error}"),
                said => format!("BPF_PROG_LOAD: {io_error}: {said}"),
            }
        }
        other => spell(other),
    }
}

/// The errno of a program that was refused before the verifier has seen it.
fn unseen(error: &ProgramError) -> Option<Errno> {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return None;
    };
    let said = verifier_log.to_string();
    said.trim().is_empty().then_some(())?;
    io_error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya_obj::VerifierLog;
    use std::io;

    fn refused(errno: Errno, said: &str) -> ProgramError {
        ProgramError::LoadError {
            io_error: io::Error::from_raw_os_error(errno as i32),
            verifier_log: VerifierLog::new(said.to_owned()),
        }
    }

    #[test]
    fn a_host_that_forbids_programs_says_so_alike_whatever_the_program() {
        let said = |hook| at_hook(hook, &refused(Errno::EPERM, "")).to_string();
        assert_eq!(said("file_open"), said("task_kill"));
        assert_eq!(
            said("file_open"),
            "the kernel refuses to load programs for LSM hooks (EPERM: Operation not permitted): this host forbids \
             them, although `bpf` is in lsm="
        );
    }

    #[test]
    fn what_the_verifier_says_is_told_with_the_program() {
        let told = at_hook("file_open", &refused(Errno::EPERM, "R1 is bad\n")).to_string();
        assert!(told.contains("`file_open`") && told.ends_with("(os error 1): R1 is bad"));
        let silent = at_hook("file_open", &refused(Errno::E2BIG, "")).to_string();
        assert!(silent.contains("`file_open`") && silent.ends_with("(os error 7)"));
    }
}
