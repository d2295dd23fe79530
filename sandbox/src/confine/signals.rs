//! Signals of the supervisor: which it catches, and what becomes of them.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;

use super::error::Error;

/// Passed on to the command.
const FORWARDED: [c_int; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGALRM,
    libc::SIGTSTP,
];
/// Looked at by the supervisor itself.
const OWN: [c_int; 2] = [libc::SIGCHLD, libc::SIGCONT];
/// Ignored by Rust's runtime for itself.
const OF_THE_RUNTIME: c_int = libc::SIGPIPE;
/// Caught by Rust's runtime, which tells of a stack that has run over.
const CRASHES: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
/// Ignored for a moment by who sets the foreground of a terminal.
const OF_THE_TERMINAL: c_int = libc::SIGTTOU;
/// `si_code` of a signal that the kernel, here the terminal, sent (include/uapi/asm-generic/siginfo.h).
const SI_KERNEL: c_int = 0x80;

/// One signal that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// To be passed on.
    Forward {
        /// The number.
        signal: c_int,
        /// Whether the terminal sent it, to all processes of the foreground.
        by_terminal: bool,
    },
    /// A child ended or stopped.
    Child,
    /// The supervisor goes on after a stop.
    Continued,
}

/// Signals as something to poll. Handlers, not a blocked mask: a mask would have to be blocked in every thread.
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, WithRawSiginfo>,
}

impl Signals {
    /// Starts to catch signals. Those that the caller ignores stay ignored (nohup).
    pub(super) fn catch() -> Result<Self, Error> {
        let failed = |source: io::Error| Error::System {
            what: "catch signals",
            source,
        };
        let caught = FORWARDED
            .into_iter()
            .filter(|&signal| action(signal) != Some(libc::SIG_IGN))
            .chain(OWN);
        let (read, write) = UnixStream::pair().map_err(failed)?;
        let delivery =
            SignalDelivery::with_pipe(read, write, WithRawSiginfo, caught).map_err(failed)?;
        Ok(Self { delivery })
    }

    /// The descriptor that is readable when a signal has come.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }

    /// What has come.
    pub(super) fn pending(&mut self) -> Vec<Incoming> {
        self.delivery
            .pending()
            .map(|info| match info.si_signo {
                libc::SIGCHLD => Incoming::Child,
                libc::SIGCONT => Incoming::Continued,
                signal => Incoming::Forward {
                    signal,
                    by_terminal: info.si_code == SI_KERNEL,
                },
            })
            .collect()
    }
}

/// Every signal whose action this process changes. All others have the caller's, which the command is to have.
pub(super) fn changed() -> impl Iterator<Item = c_int> {
    let ones = [OF_THE_RUNTIME, OF_THE_TERMINAL];
    let caught = FORWARDED.into_iter().chain(OWN).chain(CRASHES);
    caught.chain(ones)
}

/// Those of the [`changed`] ones that the caller ignores, as a mask. SIGPIPE is not one: Rust's runtime ignores it for itself.
pub(super) fn ignored() -> u64 {
    changed()
        .filter(|&signal| signal != OF_THE_RUNTIME)
        .filter(|&signal| action(signal) == Some(libc::SIG_IGN))
        .fold(0, |mask, signal| mask | 1 << (signal - 1))
}

fn action(signal: c_int) -> Option<libc::sighandler_t> {
    // SAFETY: all bits zero is a valid value to be overwritten.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the kernel only writes the present one to this stack.
    let answer = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    (answer == 0).then_some(now.sa_sigaction)
}

/// Stops the supervisor's process group as `signal` would have, and returns when it goes on. A process group that
/// nobody could continue (an orphaned one) is not stopped by the kernel, and this returns at once.
pub(super) fn stop_group(signal: Signal) -> Result<(), Error> {
    stop(signal, true)
}

/// The same for the supervisor alone, whose group the shell has stopped already.
pub(super) fn stop_self(signal: Signal) -> Result<(), Error> {
    stop(signal, false)
}

/// What is sent to a process may be taken by any of its threads, at any time, and the handler would be back by then: the supervisor
/// ignores what its group is sent, and stops by what it sends to the calling thread, which takes it before this returns.
fn stop(signal: Signal, group: bool) -> Result<(), Error> {
    let failed = |errno: nix::errno::Errno| Error::System {
        what: "stop with the command",
        source: errno.into(),
    };
    // SIGSTOP would stop an orphaned group for ever.
    let signal = if signal == Signal::SIGSTOP {
        Signal::SIGTSTP
    } else {
        signal
    };
    let act = |handler| {
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: neither ignoring nor the default action runs code of ours.
        unsafe { sigaction(signal, &action) }.map_err(failed)
    };
    let before = act(SigHandler::SigIgn)?;
    let mut sent = Ok(());
    if group {
        sent = nix::sys::signal::killpg(nix::unistd::getpgrp(), signal);
    }
    act(SigHandler::SigDfl)?;
    let sent = sent.and_then(|()| nix::sys::signal::raise(signal));
    // SAFETY: puts back the handler that was there.
    unsafe { sigaction(signal, &before) }.map_err(failed)?;
    sent.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_this_process_catches_is_among_what_it_changes() {
        let _caught = Signals::catch().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
        let changed = changed().fold(0, |mask, signal| mask | 1 << (signal - 1));
        // The C library's own two, which it takes for threads.
        let of_the_library = 1 << 31 | 1 << 32;
        assert_eq!(caught & !changed & !of_the_library, 0, "{caught:#x}");
        assert_ne!(caught & changed, 0);
    }
}
