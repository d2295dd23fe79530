//! One system call, between its entry and its return.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use ringfence_abi::calls::{CREATE, EXECUTE, EXECUTE_AT, OPEN, OPEN_AT, OPEN_AT_2};

use super::memory;

/// `AUDIT_ARCH_X86_64` (include/uapi/linux/audit.h).
const OWN: u32 = 0xc000_003e;
/// `AT_FDCWD`.
const WORKING_DIRECTORY: i32 = -100;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) arguments: [u64; 6],
    /// Whether it is of another instruction set.
    pub(super) is_foreign: bool,
    /// Whether an open that makes what is not there will make it.
    pub(super) makes: bool,
    /// What an exec names.
    executes: Option<PathBuf>,
}

impl Call {
    /// A call that has just been entered.
    pub(super) fn entered(task: Pid, architecture: u32, number: u64, arguments: [u64; 6]) -> Self {
        let mut call = Self {
            number,
            arguments,
            is_foreign: architecture != OWN,
            makes: false,
            executes: None,
        };
        if call.is_foreign {
            return call;
        }
        match number {
            OPEN | CREATE => call.makes = call.is_absent(task, None, 0),
            OPEN_AT | OPEN_AT_2 => call.makes = call.is_absent(task, Some(0), 1),
            // The arguments are gone when it has succeeded.
            EXECUTE => call.executes = call.named(task, None, 0).ok(),
            EXECUTE_AT => call.executes = call.named(task, Some(0), 1).ok(),
            _ => {}
        }
        call
    }

    /// What an exec names.
    pub(super) fn executed(&self) -> Option<PathBuf> {
        self.executes.clone()
    }

    /// The flags of an open; that of a terminal's other side by ioctl(2) has them where openat(2) has.
    pub(super) fn open_flags(&self, task: Pid) -> io::Result<u64> {
        match self.number {
            OPEN => Ok(self.arguments[1]),
            CREATE => Ok(0o1101),
            OPEN_AT_2 => memory::number(task, self.arguments[2]),
            _ => Ok(self.arguments[2]),
        }
    }

    fn is_absent(&self, task: Pid, directory: Option<usize>, name: usize) -> bool {
        const CREATES: u64 = 0o100;
        self.open_flags(task)
            .is_ok_and(|flags| flags & CREATES != 0)
            && self
                .named(task, directory, name)
                .is_ok_and(|path| fs::metadata(path).is_err())
    }

    fn named(&self, task: Pid, directory: Option<usize>, name: usize) -> io::Result<PathBuf> {
        let directory = directory.map(|index| self.arguments[index]);
        let (base, name) = names(task, directory, self.arguments[name])?;
        Ok(Path::new(&base).join(OsString::from_vec(name)))
    }
}

/// Where a name begins, as the kernel names it, and the name: at the root, in the task's working directory, or in the directory
/// behind a descriptor.
pub(super) fn names(
    task: Pid,
    directory: Option<u64>,
    address: u64,
) -> io::Result<(OsString, Vec<u8>)> {
    let name = match address {
        0 => Vec::new(),
        _ => memory::string(task, address)?,
    };
    // The lower half is the argument.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an argument of the type int"
    )]
    let descriptor = directory.map_or(WORKING_DIRECTORY, |argument| argument as u32 as i32);
    let own = PathBuf::from(format!("/proc/{task}"));
    let base = if name.first() == Some(&b'/') {
        fs::read_link(own.join("root"))?
    } else if descriptor == WORKING_DIRECTORY {
        fs::read_link(own.join("cwd"))?
    } else {
        fs::read_link(own.join(format!("fd/{descriptor}")))?
    };
    if base.as_os_str().as_bytes().first() != Some(&b'/') {
        return Err(io::Error::other("a name begins nowhere"));
    }
    Ok((base.into_os_string(), name))
}
