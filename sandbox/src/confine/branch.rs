//! A second process that goes on from where this one stands, without executing anything: what the first has loaded and linked
//! need not be done again.

use std::fs;
use std::io;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::error::Error;

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The one that was there before.
    First,
    /// The new one. It has copies of all descriptors of the first.
    Second,
}

/// Makes a second process, which is a child of the first.
///
/// # Errors
/// If this process has more than one thread, whose locks nobody would let go of in the second, or none can be started.
pub fn branch() -> Result<Branch, Error> {
    one_thread()?;
    Ok(match forked()? {
        ForkResult::Parent { .. } => Branch::First,
        ForkResult::Child => Branch::Second,
    })
}

/// Between a process and one that it has branched off. To be waited for by a process that becomes another program, which would find a
/// child that it does not know.
#[derive(Debug)]
#[must_use]
pub struct Between(Pid);

impl Between {
    /// Waits until the second process has begun.
    ///
    /// # Errors
    /// If it has not.
    pub fn wait(self) -> Result<(), Error> {
        match waitpid(self.0, None).map_err(|errno| failed(errno.into()))? {
            WaitStatus::Exited(_, 0) => Ok(()),
            _ => Err(failed(io::ErrorKind::WouldBlock.into())),
        }
    }
}

/// As [`branch`], but the second, for which there is `None`, is no child of the first, nor of what that may become: whoever takes orphans
/// in has it.
///
/// # Errors
/// As [`branch`].
pub fn branch_off() -> Result<Option<Between>, Error> {
    one_thread()?;
    if let ForkResult::Parent { child } = forked()? {
        return Ok(Some(Between(child)));
    }
    let code = match forked() {
        Ok(ForkResult::Child) => return Ok(None),
        Ok(ForkResult::Parent { .. }) => 0,
        Err(_) => 1,
    };
    // SAFETY: ends this process, in which nothing was changed that would have to be put in order.
    unsafe { libc::_exit(code) }
}

fn one_thread() -> Result<(), Error> {
    let threads = fs::read_dir("/proc/self/task").map_err(failed)?.count();
    match threads {
        1 => Ok(()),
        _ => Err(failed(io::Error::other(format!(
            "this one has {threads} threads"
        )))),
    }
}

/// To be called where there is one thread.
fn forked() -> Result<ForkResult, Error> {
    // SAFETY: this is the only thread, so that the child's memory is as whole as the parent's.
    unsafe { fork() }.map_err(|errno| failed(errno.into()))
}

fn failed(source: io::Error) -> Error {
    Error::System {
        what: "start a second process",
        source,
    }
}
