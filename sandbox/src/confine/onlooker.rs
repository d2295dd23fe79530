//! Watching a process that somebody else has started: it is waited for, and never touched.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup;
use super::error::Error;
use super::mountinfo;
use super::signals::{Incoming, Signals};

/// Who waits for it.
pub struct Onlooker {
    process: Process,
    signals: Signals,
}

/// Why the watching is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The process has ended.
    Ended,
    /// A signal has asked to stop.
    Interrupted,
    /// The time is over.
    TimeUp,
}

impl Onlooker {
    /// Begins to watch; from here on, signals that would end this process end the watching.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: i32) -> Result<Self, Error> {
        Ok(Self {
            process: Process::of(pid)?,
            signals: Signals::catch()?,
        })
    }

    /// Watches another process from here on.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn turn_to(&mut self, pid: i32) -> Result<(), Error> {
        self.process = Process::of(pid)?;
        Ok(())
    }

    /// Waits until the process has ended, a signal asks to stop, or `seconds` are over; calls `ready` whenever one of `watched`
    /// is readable.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn wait(
        &mut self,
        seconds: Option<u64>,
        watched: &[BorrowedFd<'_>],
        mut ready: impl FnMut(),
    ) -> Result<Watched, Error> {
        let end =
            seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Watched::TimeUp);
            }
            // Rounded up: a wait that ends early would spin.
            let patience = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            let mut polled = vec![
                PollFd::new(self.process.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.descriptor(), PollFlags::POLLIN),
            ];
            polled.extend(
                watched
                    .iter()
                    .map(|&one| PollFd::new(one, PollFlags::POLLIN)),
            );
            match poll(&mut polled, patience) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::System {
                        what: "wait for the process",
                        source: errno.into(),
                    });
                }
            }
            let is_readable = |polled: &PollFd<'_>| polled.any() == Some(true);
            let has_ended = is_readable(&polled[0]);
            if polled[2..].iter().any(is_readable) {
                ready();
            }
            if has_ended {
                return Ok(Watched::Ended);
            }
            if self.is_asked_to_stop() {
                return Ok(Watched::Interrupted);
            }
        }
    }

    fn is_asked_to_stop(&mut self) -> bool {
        let ending = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        self.signals.pending().iter().any(|incoming| {
            matches!(incoming, Incoming::Forward { signal, .. } if ending.contains(signal))
        })
    }
}

/// Somebody else's process: readable when it has ended.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// The one that has this number now.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(pid: i32) -> Result<Self, Error> {
        // SAFETY: the call takes integers only.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let descriptor = RawFd::try_from(opened).unwrap_or(-1);
        if descriptor < 0 {
            return Err(Error::Lost {
                pid,
                source: io::Error::last_os_error(),
            });
        }
        // SAFETY: the kernel has just handed out this descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO) == Ok(1)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The directories of the cgroups that these processes stand in: none of them lies below another. A process that has gone has
/// none.
///
/// # Errors
/// If there is no v2 hierarchy here, or it does not show the cgroup of one.
pub fn cgroups_of(processes: impl IntoIterator<Item = u32>) -> Result<Vec<PathBuf>, Error> {
    let nowhere = |path: &str| Error::Proc {
        path: path.to_owned(),
        source: io::Error::other("it names no cgroup that can be seen here"),
    };
    let root =
        cgroup::hierarchy(&mountinfo::mounts()?).ok_or_else(|| nowhere("/proc/self/mountinfo"))?;
    let mut found = Vec::new();
    for process in processes {
        let Some(cgroup) = mountinfo::cgroup_of(process) else {
            continue;
        };
        let directory = root.join(cgroup);
        if !directory.is_dir() {
            return Err(nowhere(&format!("/proc/{process}/cgroup")));
        }
        found.push(directory);
    }
    found.sort();
    found.dedup_by(|later, earlier| later.starts_with(&*earlier));
    Ok(found)
}
