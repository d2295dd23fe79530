//! What tasks use at most, where the cgroup has no controllers that count it: looked at now and then.
//!
//! It is less than the truth: what comes and goes between two looks is not seen, but for the largest process that has ended,
//! which the kernel remembers. Pages that processes share count once for each.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

use super::running::Peak;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);

/// Looks at tasks.
#[derive(Debug)]
pub(super) struct Sampler {
    next: Instant,
    memory: u64,
    tasks: u64,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now(),
            memory: 0,
            tasks: 0,
        }
    }

    /// How long there is nothing to do.
    pub(super) fn patience(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks at these processes, if it is time to.
    pub(super) fn look(&mut self, processes: impl FnOnce() -> Vec<i32>) {
        if !self.patience().is_zero() {
            return;
        }
        self.next = Instant::now() + PERIOD;
        let used: Vec<(u64, u64)> = processes().into_iter().filter_map(used).collect();
        self.memory = self.memory.max(used.iter().map(|(memory, _)| memory).sum());
        self.tasks = self.tasks.max(used.iter().map(|(_, tasks)| tasks).sum());
    }

    /// The most that was seen. Children that were waited for are known to the kernel.
    pub(super) fn peak(&self) -> Peak {
        // Kibibytes (getrusage(2)).
        let largest = getrusage(UsageWho::RUSAGE_CHILDREN)
            .ok()
            .and_then(|usage| u64::try_from(usage.max_rss()).ok())
            .map_or(0, |kibibytes| kibibytes * 1024);
        let known = |number: u64| (number != 0).then_some(number);
        Peak {
            memory: known(self.memory.max(largest)),
            tasks: known(self.tasks),
            sampled: true,
        }
    }
}

/// Bytes in memory, and threads; `None` if the process has gone. Fields 20 and 24 of proc_pid_stat(5).
fn used(process: i32) -> Option<(u64, u64)> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
    // The third field is the first here.
    let mut fields = rest.split_whitespace().skip(17);
    let threads = fields.next()?.parse().ok()?;
    let pages: u64 = fields.nth(3)?.parse().ok()?;
    let size = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some((pages * u64::try_from(size).ok()?, threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_with_its_threads() {
        let own = i32::try_from(std::process::id()).unwrap();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv().ok());
        let (memory, tasks) = used(own).unwrap();
        drop(end);
        thread.join().unwrap();
        assert!(memory > 64 * 1024, "{memory}");
        assert!(tasks >= 2, "{tasks}");
        assert_eq!(used(i32::MAX), None);
    }
}
