//! A running fence: signals and stops are passed between the terminal, the supervisor and the command, and in the end
//! no task is left.

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::Cgroup;
use super::connector::Notifications;
use super::error::Error;
use super::launch::{Launched, Tasks};
use super::sampler::Sampler;
use super::signals::{self, Incoming, Signals};
use super::terminal::Terminal;

/// Between the polite and the other end of a fence whose time is up.
const GRACE: Duration = Duration::from_secs(2);
/// How often tasks are looked for where nothing tells.
const LOOK: Duration = Duration::from_millis(50);
/// The exit code of a command whose time was up: that of timeout(1).
pub const TIMED_OUT: u8 = 124;

/// How a fence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The command's own code; 128+n if signal n ended it; 124 if its time was up.
    pub code: u8,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether its time was up.
    pub timed_out: bool,
    /// How many processes outlived the command and were ended.
    pub leftover: usize,
    /// What all tasks together used at most, as far as the cgroup's controllers tell.
    pub peak: Peak,
}

/// The most that a fence's cgroup has held at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Bytes of memory (`memory.peak`, since 5.19).
    pub memory: Option<u64>,
    /// Tasks (`pids.peak`, since 6.1).
    pub tasks: Option<u64>,
    /// Whether the kernel did not count it, so that it was looked at now and then: the truth is this or more.
    pub sampled: bool,
}

/// A fence whose command runs. Dropped, everything in it is ended.
#[derive(Debug)]
pub struct Running {
    launched: Launched,
    tasks: Tasks,
    signals: Signals,
    notes: Vec<String>,
    notifications: Option<Notifications>,
    deadline: Option<Deadline>,
    ended: Option<WaitStatus>,
    done: bool,
    sampler: Option<Sampler>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    asked: bool,
}

impl Running {
    pub(super) fn new(
        launched: Launched,
        tasks: Tasks,
        signals: Signals,
        notes: Vec<String>,
        notifications: Option<Notifications>,
    ) -> Self {
        let deadline = launched.limits().wall_seconds.and_then(|seconds| {
            let at = Instant::now().checked_add(Duration::from_secs(seconds))?;
            Some(Deadline { at, asked: false })
        });
        Self {
            launched,
            tasks,
            signals,
            notes,
            notifications,
            deadline,
            ended: None,
            done: false,
            sampler: None,
        }
    }

    /// Looks now and then at what the tasks use, where the kernel does not count it.
    #[must_use]
    pub fn sampled(mut self) -> Self {
        if let Tasks::Cgroup(cgroup) = &self.tasks {
            let counted = cgroup.peak();
            if counted.memory.is_none() || counted.tasks.is_none() {
                self.sampler = Some(Sampler::new());
            }
        }
        self
    }

    /// What the command's filter asks, for a [`super::Connector`]: until there is one, who asks waits.
    ///
    /// `None` where nothing does, and the second time.
    pub fn notifications(&mut self) -> Option<Notifications> {
        self.notifications.take()
    }

    /// The command's process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.launched.pid()
    }

    /// The fence's cgroup, if one could be made.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        match &self.tasks {
            Tasks::Cgroup(cgroup) => Some(cgroup),
            Tasks::Descent(_) => None,
        }
    }

    /// Optional steps of the launch that failed, and why.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waits for the end of the fence, handling signals, stops and the time limit; calls `ready` with each descriptor
    /// of `watched` when it is readable or hung up. `ready` answers whether to go on watching it.
    ///
    /// # Errors
    /// If the fence cannot be followed or emptied.
    pub fn wait(
        mut self,
        watched: &[BorrowedFd<'_>],
        mut ready: impl FnMut(RawFd) -> bool,
    ) -> Result<Exit, Error> {
        let mut watched = watched.to_vec();
        let events = match &self.tasks {
            Tasks::Cgroup(cgroup) => Some(cgroup.events()?),
            Tasks::Descent(_) => None,
        };
        loop {
            self.take_signals()?;
            self.reap()?;
            self.keep_time()?;
            self.look();
            if self.ended.is_some() && (!self.launched.wait_all() || self.is_empty()?) {
                return self.finish();
            }
            let readable = self.poll(&watched, events.as_ref())?;
            watched.retain(|descriptor| {
                !readable.contains(&descriptor.as_raw_fd()) || ready(descriptor.as_raw_fd())
            });
        }
    }

    /// Which of `watched` are readable, when anything has happened.
    fn poll(&self, watched: &[BorrowedFd<'_>], events: Option<&File>) -> Result<Vec<RawFd>, Error> {
        let signals = self.signals.descriptor();
        let mut polled = vec![PollFd::new(signals, PollFlags::POLLIN)];
        polled.extend(
            watched
                .iter()
                .map(|&one| PollFd::new(one, PollFlags::POLLIN)),
        );
        let emptying = self.ended.is_some();
        if let Some(events) = events
            && emptying
        {
            polled.push(PollFd::new(events.as_fd(), PollFlags::POLLPRI));
        }
        match poll(&mut polled, self.patience(emptying)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => {
                return Err(Error::System {
                    what: "wait for the fence",
                    source: errno.into(),
                });
            }
        }
        Ok(polled[1..]
            .iter()
            .zip(watched)
            .filter(|(polled, _)| polled.any() == Some(true))
            .map(|(_, descriptor)| descriptor.as_raw_fd())
            .collect())
    }

    fn patience(&self, emptying: bool) -> PollTimeout {
        let time = self
            .deadline
            .map(|deadline| deadline.at.saturating_duration_since(Instant::now()));
        // A cgroup's last event can have come before it was polled for.
        let look = emptying.then_some(LOOK);
        let sample = self.sampler.as_ref().map(Sampler::patience);
        match time.into_iter().chain(look).chain(sample).min() {
            // Rounded up: a wait that ends early would spin.
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        }
    }

    fn look(&mut self) {
        let (Some(sampler), Tasks::Cgroup(cgroup)) = (&mut self.sampler, &self.tasks) else {
            return;
        };
        sampler.look(|| cgroup.processes().unwrap_or_default());
    }

    fn take_signals(&mut self) -> Result<(), Error> {
        for incoming in self.signals.pending() {
            match incoming {
                Incoming::Child => {}
                Incoming::Continued => {
                    self.resume()?;
                }
                Incoming::Forward {
                    by_terminal: true, ..
                } if self.is_shared() => {}
                Incoming::Forward { signal, .. } => self.send(signal)?,
            }
        }
        Ok(())
    }

    /// The command's own group, or the command alone where the group is the caller's too.
    fn send(&self, signal: c_int) -> Result<(), Error> {
        let signal = Signal::try_from(signal).map_err(|errno| self.lost(errno))?;
        let pid = Pid::from_raw(self.pid());
        let answer = if !self.is_shared() {
            killpg(pid, signal)
        } else if self.ended.is_none() {
            kill(pid, signal)
        } else {
            Ok(())
        };
        match answer {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(self.lost(errno)),
        }
    }

    fn reap(&mut self) -> Result<(), Error> {
        let pid = Pid::from_raw(self.pid());
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        while self.ended.is_none() {
            match waitpid(pid, Some(flags)) {
                Ok(WaitStatus::Stopped(_, signal)) => self.stop(signal)?,
                Ok(end @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => {
                    self.ended = Some(end);
                    self.take_terminal()?;
                }
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.lost(errno)),
            }
        }
        // Orphans fall to this process where there is no cgroup, and would stay in the process table.
        if let Tasks::Descent(descent) = &self.tasks {
            descent.living(self.pid())?;
        }
        Ok(())
    }

    /// The command was stopped: so is the supervisor, and with it the job that the shell knows.
    fn stop(&mut self, signal: Signal) -> Result<(), Error> {
        match self.launched.terminal() {
            // No shell watches; whoever stopped the command will continue it.
            Terminal::None => Ok(()),
            Terminal::Shared => {
                signals::stop_self(signal)?;
                self.send(libc::SIGCONT)
            }
            Terminal::Foreground(_) => {
                self.take_terminal()?;
                signals::stop_group(signal)?;
                // Once: a second one could come behind the next stop key, and would take that back.
                match self.resume()? {
                    true => Ok(()),
                    false => self.send(libc::SIGCONT),
                }
            }
        }
    }

    /// The supervisor goes on: in the foreground, so does the command. Whether it was told to.
    fn resume(&self) -> Result<bool, Error> {
        let Terminal::Foreground(terminal) = self.launched.terminal() else {
            return Ok(false);
        };
        if self.ended.is_some() || !terminal.give(Pid::from_raw(self.pid()))? {
            return Ok(false);
        }
        self.send(libc::SIGCONT)?;
        Ok(true)
    }

    fn take_terminal(&self) -> Result<(), Error> {
        match self.launched.terminal() {
            Terminal::Foreground(terminal) => terminal.take(Pid::from_raw(self.pid())),
            _ => Ok(()),
        }
    }

    fn keep_time(&mut self) -> Result<(), Error> {
        let Some(deadline) = self.deadline else {
            return Ok(());
        };
        if Instant::now() < deadline.at {
            return Ok(());
        }
        if deadline.asked {
            return self.end_tasks();
        }
        self.deadline = Some(Deadline {
            at: deadline.at + GRACE,
            asked: true,
        });
        // A stopped task would not hear it.
        self.send(libc::SIGTERM)?;
        self.send(libc::SIGCONT)
    }

    fn is_empty(&self) -> Result<bool, Error> {
        match &self.tasks {
            Tasks::Cgroup(cgroup) => Ok(!cgroup.populated()?),
            Tasks::Descent(descent) => Ok(descent.living(self.pid())?.is_empty()),
        }
    }

    fn end_tasks(&self) -> Result<(), Error> {
        match &self.tasks {
            Tasks::Cgroup(cgroup) => cgroup.kill(),
            // The command itself is reaped where its status is wanted.
            Tasks::Descent(descent) => descent.kill(self.pid()),
        }
    }

    fn finish(mut self) -> Result<Exit, Error> {
        let leftover = match &self.tasks {
            Tasks::Cgroup(cgroup) if !cgroup.populated()? => 0,
            Tasks::Cgroup(cgroup) => cgroup.processes()?.len(),
            Tasks::Descent(descent) => descent.living(self.pid())?.len(),
        };
        self.end_tasks()?;
        let mut peak = Peak::default();
        if let Tasks::Cgroup(cgroup) = &mut self.tasks {
            peak = cgroup.peak();
            if let Some(sampler) = &self.sampler {
                let seen = sampler.peak();
                peak = Peak {
                    memory: peak.memory.or(seen.memory),
                    tasks: peak.tasks.or(seen.tasks),
                    sampled: true,
                };
            }
            cgroup.remove()?;
        }
        self.take_terminal()?;
        self.done = true;
        let (code, signal) = match self.ended {
            Some(WaitStatus::Exited(_, code)) => {
                (u8::try_from(code & 0xff).unwrap_or(u8::MAX), None)
            }
            Some(WaitStatus::Signaled(_, signal, _)) => {
                let number = signal as i32;
                (128 + u8::try_from(number).unwrap_or(0), Some(number))
            }
            _ => return Err(self.lost(Errno::ECHILD)),
        };
        let timed_out = self.deadline.is_some_and(|deadline| deadline.asked);
        Ok(Exit {
            code: if timed_out { TIMED_OUT } else { code },
            signal,
            timed_out,
            leftover,
            peak,
        })
    }

    fn is_shared(&self) -> bool {
        matches!(self.launched.terminal(), Terminal::Shared)
    }

    fn lost(&self, errno: Errno) -> Error {
        Error::Lost {
            pid: self.pid(),
            source: errno.into(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Nobody is left to be told of a failure; the cgroup, if there is one, is removed by its own drop.
        self.end_tasks().ok();
        if self.ended.is_none() {
            let pid = Pid::from_raw(self.pid());
            kill(pid, Signal::SIGKILL).ok();
            while waitpid(pid, None) == Err(Errno::EINTR) {}
        }
        self.take_terminal().ok();
    }
}
