//! A second process that goes on from where this one stands, without executing anything: what the first has loaded and linked
//! need not be done again.

use std::fs;
use std::io;

use nix::unistd::{ForkResult, fork};

use super::error::Error;

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The one that was there before.
    First,
    /// The new one. It has copies of all descriptors of the first.
    Second,
}

/// Makes a second process.
///
/// # Errors
/// If this process has more than one thread, whose locks nobody would let go of in the second, or none can be started.
pub fn branch() -> Result<Branch, Error> {
    let failed = |source| Error::System {
        what: "start a second process",
        source,
    };
    let threads = fs::read_dir("/proc/self/task").map_err(failed)?.count();
    if threads != 1 {
        return Err(failed(io::Error::other(format!(
            "this one has {threads} threads"
        ))));
    }
    // SAFETY: this is the only thread, so that the child's memory is as whole as the parent's.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { .. }) => Ok(Branch::First),
        Ok(ForkResult::Child) => Ok(Branch::Second),
        Err(errno) => Err(failed(errno.into())),
    }
}
