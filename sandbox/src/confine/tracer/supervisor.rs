//! What goes on while the tracing thread waits for tasks: signals are passed on, and time is kept.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::confine::error::Error;
use crate::confine::signals::{Incoming, Signals};

/// Between the polite and the other end.
const GRACE: Duration = Duration::from_secs(2);

/// Catches signals from before the command is there.
pub(super) struct Supervisor {
    signals: Signals,
    end: Option<Instant>,
}

/// A supervisor at work.
pub(super) struct Watch {
    thread: JoinHandle<bool>,
    bell: UnixStream,
}

impl Supervisor {
    pub(super) fn ready(seconds: Option<u64>) -> Result<Self, Error> {
        let after = |seconds| Instant::now().checked_add(Duration::from_secs(seconds));
        Ok(Self {
            signals: Signals::catch()?,
            end: seconds.and_then(after),
        })
    }

    pub(super) fn watch(self, main: Pid) -> Result<Watch, Error> {
        let failed = |source: io::Error| Error::System {
            what: "watch the command",
            source,
        };
        let (bell, rung) = UnixStream::pair().map_err(failed)?;
        let thread = thread::Builder::new()
            .spawn(move || self.work(main, rung))
            .map_err(failed)?;
        Ok(Watch { thread, bell })
    }

    /// Until the bell rings; whether time was up.
    fn work(mut self, main: Pid, mut rung: UnixStream) -> bool {
        let mut asked = false;
        loop {
            let left = self
                .end
                .map(|end| end.saturating_duration_since(Instant::now()));
            let patience = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            let mut polled = [
                PollFd::new(rung.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.descriptor(), PollFlags::POLLIN),
            ];
            poll(&mut polled, patience).ok();
            if polled[0].any() == Some(true) {
                rung.read_exact(&mut [0]).ok();
                return asked;
            }
            for incoming in self.signals.pending() {
                // What the terminal sends, it sends to the command as well.
                if let Incoming::Forward {
                    signal,
                    by_terminal: false,
                } = incoming
                    && let Ok(signal) = Signal::try_from(signal)
                {
                    kill(main, signal).ok();
                }
            }
            if self.end.is_some_and(|end| Instant::now() >= end) {
                let signal = if asked {
                    Signal::SIGKILL
                } else {
                    Signal::SIGTERM
                };
                kill(main, signal).ok();
                asked = true;
                self.end = Instant::now().checked_add(GRACE);
            }
        }
    }
}

impl Watch {
    /// Ends the supervisor; whether the command's time was up.
    pub(super) fn end(mut self) -> bool {
        self.bell.write_all(&[0]).is_ok() && self.thread.join().unwrap_or(false)
    }
}
