//! The terminal between the caller's shell, the supervisor and the command. No pseudo-terminal is put between them
//! (docs/decisions/0010-no-pseudo-terminal.md); who is in the foreground is what this file is about.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use super::error::Error;

/// How the command stands to the terminal.
#[derive(Debug)]
pub(super) enum Terminal {
    /// There is none: the command leads a process group of its own.
    None,
    /// There is one, but other processes of the caller's job may use it too (a pipeline, a redirection, a background
    /// job): the command stays in the caller's process group, where the shell's job control reaches both.
    Shared,
    /// The job is the supervisor alone, in the foreground: the command's own process group takes that place.
    Foreground(Foreground),
}

/// A terminal whose foreground is the supervisor's to give.
#[derive(Debug)]
pub(super) struct Foreground {
    device: File,
    own_group: Pid,
    modes: Termios,
}

impl Terminal {
    /// Looks at the caller's terminal.
    ///
    /// # Errors
    /// If its modes cannot be read.
    pub(super) fn find() -> Result<Self, Error> {
        // Opens only if this session has a controlling terminal (tty(4)).
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
            .open("/dev/tty");
        let Ok(device) = device else {
            return Ok(Self::None);
        };
        let own_group = getpgrp();
        let foreground = tcgetpgrp(&device).is_ok_and(|group| group == own_group);
        // With a pipe at either end, the other end's process is in this job and may want the terminal.
        let whole = is_controlling(&std::io::stdin()) && is_controlling(&std::io::stdout());
        if !foreground || !whole {
            return Ok(Self::Shared);
        }
        let modes = tcgetattr(&device).map_err(|errno| Error::System {
            what: "read the modes of the terminal",
            source: errno.into(),
        })?;
        Ok(Self::Foreground(Foreground {
            device,
            own_group,
            modes,
        }))
    }

    /// The terminal to hand to a new process group.
    pub(super) fn foreground(&self) -> Option<RawFd> {
        match self {
            Self::Foreground(foreground) => Some(foreground.device.as_raw_fd()),
            _ => None,
        }
    }

    /// Whether the command leads a process group of its own.
    pub(super) fn own_group(&self) -> bool {
        !matches!(self, Self::Shared)
    }
}

impl Foreground {
    /// Gives the foreground to the command's group if it is the supervisor's to give; says whether it was.
    pub(super) fn give(&self, group: Pid) -> Result<bool, Error> {
        if tcgetpgrp(&self.device) == Ok(self.own_group) {
            self.set(group)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes the foreground back from the command's group, and puts the terminal's modes back as they were.
    pub(super) fn take(&self, group: Pid) -> Result<(), Error> {
        match tcgetpgrp(&self.device) {
            // Also from a group that has ended: an interactive shell inside leaves its own in the foreground.
            Ok(holder) if holder == group || holder == self.own_group || !exists(holder) => {
                self.set(self.own_group)?;
                self.restore_modes()
            }
            // Somebody else's now, or hung up.
            _ => Ok(()),
        }
    }

    fn set(&self, group: Pid) -> Result<(), Error> {
        without_stopping(|| match tcsetpgrp(&self.device, group) {
            // The group has ended, or the terminal is gone: neither leaves anything to hand over.
            Ok(())
            | Err(nix::errno::Errno::ESRCH | nix::errno::Errno::EPERM | nix::errno::Errno::EIO) => {
                Ok(())
            }
            Err(errno) => Err(Error::System {
                what: "hand over the foreground of the terminal",
                source: errno.into(),
            }),
        })
    }

    fn restore_modes(&self) -> Result<(), Error> {
        without_stopping(
            || match tcsetattr(&self.device, SetArg::TCSADRAIN, &self.modes) {
                Ok(()) | Err(nix::errno::Errno::EIO) => Ok(()),
                Err(errno) => Err(Error::System {
                    what: "restore the modes of the terminal",
                    source: errno.into(),
                }),
            },
        )
    }
}

/// Changing a terminal from outside its foreground stops the process, unless SIGTTOU is blocked
/// (drivers/tty/tty_jobctrl.c: `__tty_check_change`).
fn without_stopping(change: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let failed = |errno: nix::errno::Errno| Error::System {
        what: "block SIGTTOU",
        source: errno.into(),
    };
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before)).map_err(failed)?;
    let answer = change();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).map_err(failed)?;
    answer
}

/// Whether this is the session's terminal: only that one answers who is in its foreground.
fn is_controlling(stream: &(impl AsFd + IsTerminal)) -> bool {
    stream.is_terminal() && tcgetpgrp(stream).is_ok()
}

fn exists(group: Pid) -> bool {
    !matches!(
        nix::sys::signal::killpg(group, None),
        Err(nix::errno::Errno::ESRCH)
    )
}
