//! Ending a fence from outside: its tasks are asked, and those that stay are killed. Nobody else is: a number of a process
//! may be another's a moment later, so a signal goes through a descriptor that was seen to be one of the cgroup's.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{
    cgroup::{collect_processes, is_gone, is_populated, wait_for_change},
    error::Error,
};

/// How long killed tasks may take to go.
const END: Duration = Duration::from_secs(10);

/// How a fence was ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Processes that were asked to end.
    pub asked: usize,
    /// Processes that were left when the time was up, and were killed.
    pub killed: usize,
}

/// The cgroup of somebody else's fence. It is held by a descriptor: another one that takes its place is not meant.
#[derive(Debug)]
pub struct Foreign {
    handle: File,
    path: PathBuf,
}

impl Foreign {
    /// Opens the cgroup in `directory` whose number is `id`; `None` if it is gone.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(directory: &Path, id: u64) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Cgroup {
            what: "open",
            path: directory.to_owned(),
            source,
        };
        let handle = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let same = handle.metadata().map_err(failed)?.ino() == id;
        Ok(same.then(|| Self {
            path: directory.to_owned(),
            handle,
        }))
    }

    /// How many tasks stand in it and below: threads are tasks.
    ///
    /// # Errors
    /// If the kernel's list cannot be read.
    pub fn tasks(&self) -> Result<usize, Error> {
        let mut count = 0;
        let mut left = vec![self.place()];
        while let Some(folder) = left.pop() {
            let text = match fs::read_to_string(folder.join("cgroup.threads")) {
                // One below has gone in between, or is threaded and tells its root.
                Err(_) if folder != self.place() => continue,
                other => self.of(other)?,
            };
            count += text.lines().count();
            for entry in self.of(fs::read_dir(&folder))?.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    left.push(entry.path());
                }
            }
        }
        Ok(count)
    }

    /// Asks every process in it to end, waits `patience`, and kills those that are left.
    ///
    /// # Errors
    /// If the tasks cannot be found or signalled, or some are left ten seconds after they were killed.
    pub fn stop(&self, patience: Duration) -> Result<Stopped, Error> {
        let mut stopped = Stopped::default();
        // One that was stopped would not hear it.
        for signal in [libc::SIGTERM, libc::SIGCONT] {
            stopped.asked = stopped.asked.max(self.signal(signal)?);
        }
        if self.wait(patience)? {
            return Ok(stopped);
        }
        stopped.killed = self.processes()?.len();
        let deadline = Instant::now() + END;
        // cgroup.kill came with 5.14; before it, signals are sent until no task is left to fork another.
        let at_once = fs::write(self.place().join("cgroup.kill"), "1").is_ok();
        while !self.wait(Duration::from_millis(20))? {
            if !at_once {
                self.signal(libc::SIGKILL)?;
            }
            if Instant::now() > deadline {
                return Err(Error::CgroupBusy {
                    path: self.path.clone(),
                    seconds: END.as_secs(),
                });
            }
        }
        Ok(stopped)
    }

    /// Signals each process in it once; returns how many there were.
    fn signal(&self, signal: i32) -> Result<usize, Error> {
        let mut opened = BTreeMap::new();
        for pid in self.processes()? {
            if let Some(process) = open(pid)? {
                opened.insert(pid, process);
            }
        }
        // A number on the second list is that of the process that was opened, or of one that came after its end: then the
        // descriptor leads to nobody.
        let mut count = 0;
        for pid in self.processes()? {
            if let Some(process) = opened.remove(&pid) {
                send(&process, signal)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut found = Vec::new();
        match collect_processes(&self.place(), &mut found) {
            // It was removed: nobody is in it.
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            other => self.of(other).map(|()| found),
        }
    }

    /// Whether it is empty before `patience` is up.
    fn wait(&self, patience: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + patience;
        let events = match File::open(self.place().join("cgroup.events")) {
            Err(error) if is_gone(&error) => return Ok(true),
            other => self.of(other)?,
        };
        loop {
            match is_populated(&self.place()) {
                Ok(false) => return Ok(true),
                Ok(true) => {}
                Err(error) if is_gone(&error) => return Ok(true),
                Err(error) => return self.of(Err(error)),
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(false);
            };
            // Looked at again all the same: the file is no longer told of when the cgroup is removed.
            wait_for_change(&events, left.min(Duration::from_millis(50)))?;
        }
    }

    /// The directory that was opened, whatever its path leads to by now.
    fn place(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    fn of<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|source| Error::Cgroup {
            what: "look into",
            path: self.path.clone(),
            source,
        })
    }
}

/// A descriptor of a process; `None` if there is none of this number.
fn open(pid: i32) -> Result<Option<OwnedFd>, Error> {
    // SAFETY: two integers; no memory is shared.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match RawFd::try_from(answer) {
        Ok(descriptor) if descriptor >= 0 => {
            // SAFETY: the kernel has just handed out this descriptor.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
        }
        _ if Errno::last() == Errno::ESRCH => Ok(None),
        _ => Err(refused(io::Error::last_os_error())),
    }
}

fn send(process: &OwnedFd, signal: i32) -> Result<(), Error> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo the kernel makes one up; no memory is shared.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            none,
            0,
        )
    };
    match answer {
        0 => Ok(()),
        _ if Errno::last() == Errno::ESRCH => Ok(()),
        _ => Err(refused(io::Error::last_os_error())),
    }
}

fn refused(source: io::Error) -> Error {
    Error::System {
        what: "signal a task of the fence",
        source,
    }
}
