//! Before the first fence: a child behind a policy that allows one thing must be denied everything else, and not that.
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

use ringfence_abi::{automaton, rights, surface::Surfaces};

use super::{Engine, Error, Fence};
use crate::policy::{Automaton, Degradation, FilePolicy, Limits, Mode, NetworkPolicy, Policy};

/// A cgroup without tasks that the self-test may use.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Its directory.
    pub directory: PathBuf,
    /// Its identifier.
    pub id: u64,
}

/// What the child tries, in order, each with what must come of it.
const ACTS: [(&str, &str); 7] = [
    ("exec", "deny"),
    ("open", "deny"),
    ("unlink", "deny"),
    ("kill", "deny"),
    ("reading an allowed directory", "allow"),
    ("bpf", "deny"),
    ("a socket", "deny"),
];
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
    let fence = Fence::install(engine, &policy(), cgroup)?;
    let code = attempt(tasks.as_raw_fd(), &path);
    fence.take_down(engine)?;
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
            let (act, wanted) = act.copied().unwrap_or(("what it had to", "deny"));
            Err(Error::SelfTest { act, wanted })
        }
    }
}

/// Reading the root directory, and nothing else.
pub(super) fn policy() -> Policy {
    Policy {
        profile: "self-test".to_owned(),
        files: FilePolicy {
            mode: Mode::Enforce,
            automaton: only_the_root(),
            ..FilePolicy::default()
        },
        network: NetworkPolicy::none(),
        capabilities: Vec::new(),
        kernel: Surfaces::NONE,
        syscalls: crate::policy::Syscalls::Default,
        privilege_gain: false,
        programs: Vec::new(),
        limits: Limits::default(),
        degradation: Degradation::default(),
    }
}

/// Class 1 is the slash. Behind the sinks comes the start with its entries, then the state after a slash, which has none.
fn only_the_root() -> Automaton {
    let mut classes = [0; 256];
    classes[usize::from(b'/')] = 1;
    let start = automaton::SINKS;
    let root = start + 3;
    let nowhere = automaton::entry_word(u32::MAX, automaton::DEAD);
    let mut words = automaton::sinks().to_vec();
    words.extend([
        automaton::state_word(automaton::DEAD, 0),
        nowhere,
        automaton::entry_word(start, root),
        automaton::state_word(automaton::DEAD, rights::READ),
        nowhere,
        nowhere,
    ]);
    Automaton {
        start,
        classes,
        words,
    }
}

/// Forks the child and returns its exit code: 0, or the number of the act that came out wrong.
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
    // A program without a name is worth a line in the kernel's log (fs/exec.c).
    let name = [c"ringfence".as_ptr(), std::ptr::null()];
    let empty = [std::ptr::null()];
    // SAFETY: a descriptor of the parent's, and one byte.
    if unsafe { libc::write(tasks, c"0".as_ptr().cast(), 1) } != 1 {
        return NOT_IN_CGROUP;
    }
    // SAFETY: constant strings; where this succeeds, the program ends with 1, which names this act.
    unsafe { libc::execve(c"/proc/self/exe".as_ptr(), name.as_ptr(), empty.as_ptr()) };
    if last_error() != libc::EACCES {
        return 1;
    }
    // SAFETY: a constant string.
    let opened = unsafe { libc::open(c"/proc".as_ptr(), libc::O_RDONLY) };
    if opened >= 0 || last_error() != libc::EACCES {
        return 2;
    }
    // SAFETY: a string of the parent's.
    let removed = unsafe { libc::unlink(file.as_ptr()) };
    if removed == 0 || last_error() != libc::EACCES {
        return 3;
    }
    // SAFETY: no arguments.
    let parent = unsafe { libc::getppid() };
    // SAFETY: no signal is sent; the permission is checked all the same.
    let killed = unsafe { libc::kill(parent, 0) };
    if killed == 0 || last_error() != libc::EPERM {
        return 4;
    }
    // SAFETY: a constant string.
    if unsafe { libc::open(c"/".as_ptr(), libc::O_RDONLY) } < 0 {
        return 5;
    }
    // SAFETY: a request without attributes, which the kernel refuses as such where nobody else does.
    let asked = unsafe { libc::syscall(libc::SYS_bpf, 0, std::ptr::null::<u8>(), 0) };
    if asked >= 0 || last_error() != libc::EPERM {
        return 6;
    }
    // SAFETY: constants.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    if socket >= 0 || last_error() != libc::EACCES {
        return 7;
    }
    0
}

fn last_error() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
