//! Before the first fence: a child behind a policy that allows nothing must be denied everything.
//!
//! A kernel whose `lsm=` list lacks `bpf` loads, attaches and pins the programs, and never runs them.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::PathBuf,
};

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};

use super::{Engine, Error};
use crate::policy::{Automaton, Degradation, FilePolicy, Limits, Mode, NetworkPolicy, Policy};

/// A cgroup without tasks that the self-test may use.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Its directory.
    pub directory: PathBuf,
    /// Its identifier.
    pub id: u64,
}

/// What must be denied, in the order in which the child tries.
const ACTS: [&str; 4] = ["exec", "open", "unlink", "kill"];
const NOT_IN_CGROUP: i32 = 100;

/// Runs the test; the programs are attached.
pub(super) fn run(engine: &mut Engine, cgroup: &Cgroup) -> Result<(), Error> {
    let file = engine.pins.fences.join("selftest");
    std::fs::write(&file, b"").map_err(|error| Error::state(&file, error))?;
    let path = std::ffi::CString::new(file.as_os_str().as_bytes())
        .map_err(|error| Error::state(&file, error.into()))?;
    let tasks = cgroup.directory.join("cgroup.procs");
    let tasks = File::options()
        .write(true)
        .open(&tasks)
        .map_err(|error| Error::state(&tasks, error))?;
    let fence = engine.install(&deny_all(), cgroup.id)?;
    let code = attempt(tasks.as_raw_fd(), &path);
    fence.remove(engine)?;
    match code.map_err(|error| Error::state(&file, error))? {
        0 => match std::fs::remove_file(&file) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::state(&file, error)),
        },
        NOT_IN_CGROUP => Err(Error::state(
            &cgroup.directory,
            io::Error::other("the self-test's child could not enter the cgroup"),
        )),
        code => {
            let act = usize::try_from(code - 1)
                .ok()
                .and_then(|index| ACTS.get(index));
            Err(Error::SelfTest(
                (*act.unwrap_or(&"the self-test's child")).to_owned(),
            ))
        }
    }
}

fn deny_all() -> Policy {
    Policy {
        profile: "self-test".to_owned(),
        files: FilePolicy {
            mode: Mode::Enforce,
            automaton: Automaton::deny_all(),
        },
        network: NetworkPolicy::None,
        capabilities: Vec::new(),
        limits: Limits::default(),
        degradation: Degradation::default(),
    }
}

/// Forks the child and returns its exit code: 0, or the number of the act that was not denied.
fn attempt(tasks: RawFd, file: &CStr) -> io::Result<i32> {
    // SAFETY: the child makes system calls on prepared arguments only, and ends with `_exit`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = try_all(tasks, file);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => Err(io::Error::other(format!(
                "the self-test's child ended as {other:?}"
            ))),
        },
    }
}

fn try_all(tasks: RawFd, file: &CStr) -> i32 {
    let empty = [std::ptr::null()];
    // SAFETY: a descriptor of the parent's, and one byte.
    if unsafe { libc::write(tasks, c"0".as_ptr().cast(), 1) } != 1 {
        return NOT_IN_CGROUP;
    }
    // SAFETY: constant strings; where this succeeds, the program ends with 1, which names this act.
    unsafe { libc::execve(c"/proc/self/exe".as_ptr(), empty.as_ptr(), empty.as_ptr()) };
    if last_error() != libc::EACCES {
        return 1;
    }
    // SAFETY: a constant string.
    let opened = unsafe { libc::open(c"/".as_ptr(), libc::O_RDONLY) };
    if opened >= 0 || last_error() != libc::EACCES {
        return 2;
    }
    // SAFETY: a string of the parent's.
    let removed = unsafe { libc::unlink(file.as_ptr()) };
    if removed == 0 || last_error() != libc::EACCES {
        return 3;
    }
    // SAFETY: no signal is sent; the permission is checked all the same.
    let killed = unsafe { libc::kill(libc::getppid(), 0) };
    if killed == 0 || last_error() != libc::EPERM {
        return 4;
    }
    0
}

fn last_error() -> i32 {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() }
}
