//! Tasks of a fence that has no cgroup: found by descent, since they cannot leave it once the supervisor is the
//! "subreaper" that orphans fall to (prctl(2), `PR_SET_CHILD_SUBREAPER`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::error::Error;

const END_SECONDS: u64 = 10;

/// Follows the descendants of this process that were not there before.
#[derive(Debug)]
pub(super) struct Descent {
    /// Children that are somebody else's business.
    foreign: HashSet<i32>,
}

impl Descent {
    /// Makes this process the one that orphans fall to, and remembers its present children.
    pub(super) fn new() -> Result<Self, Error> {
        nix::sys::prctl::set_child_subreaper(true).map_err(|errno| Error::System {
            what: "become the reaper of the fence's orphans",
            source: errno.into(),
        })?;
        let own = own_pid();
        let foreign = parents()?
            .into_iter()
            .filter(|&(_, parent)| parent == own)
            .map(|(pid, _)| pid)
            .collect();
        Ok(Self { foreign })
    }

    /// The living descendants. Dead ones that are this process's to reap are reaped, `command` apart.
    pub(super) fn living(&self, command: i32) -> Result<Vec<i32>, Error> {
        let parents = parents()?;
        let own = own_pid();
        let mut living = Vec::new();
        for &pid in parents.keys() {
            if !self.descends(pid, own, &parents) {
                continue;
            }
            if pid == command || !(parents.get(&pid) == Some(&own) && reap(pid)) {
                living.push(pid);
            }
        }
        Ok(living)
    }

    /// Kills until none is left but `command`, which stays to be reaped.
    pub(super) fn kill(&self, command: i32) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(END_SECONDS);
        loop {
            let living = self.living(command)?;
            let Some(&one) = living.iter().find(|&&pid| pid != command) else {
                // Only if it is still there: a number of its own may be somebody else's by now.
                return living.into_iter().try_for_each(signal);
            };
            if Instant::now() > deadline {
                return Err(Error::Lost {
                    pid: one,
                    source: std::io::ErrorKind::TimedOut.into(),
                });
            }
            for pid in living {
                signal(pid)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn descends(&self, pid: i32, from: i32, parents: &HashMap<i32, i32>) -> bool {
        let mut at = pid;
        // The chain is as long as there are processes, at most.
        for _ in 0..parents.len() {
            if self.foreign.contains(&at) {
                return false;
            }
            match parents.get(&at) {
                Some(&parent) if parent == from => return true,
                Some(&parent) => at = parent,
                None => return false,
            }
        }
        false
    }
}

fn signal(pid: i32) -> Result<(), Error> {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::Lost {
            pid,
            source: errno.into(),
        }),
    }
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Whether a child has ended, and is out of the table now.
fn reap(pid: i32) -> bool {
    matches!(
        waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD)
    )
}

/// Every process and its parent.
fn parents() -> Result<HashMap<i32, i32>, Error> {
    let listing = fs::read_dir("/proc").map_err(|source| Error::Proc {
        path: "/proc".to_owned(),
        source,
    })?;
    Ok(listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect())
}

/// The fourth field; the second is a name in parentheses, which may hold anything (proc_pid_stat(5)).
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (a) b) 1 2) S 42 7 7 0 -1"), Some(42));
        assert_eq!(parent("nonsense"), None);
    }
}
