//! A thread that looks at a container's files as the container does: one of its own, or one that comes back.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{process, thread};

use super::super::act::check;
use super::super::error::Error;

/// A container's mount namespace.
#[derive(Debug)]
pub struct Namespace {
    mounts: File,
    root: PathBuf,
    /// The host's /proc, to look at from inside.
    proc: File,
}

impl Namespace {
    /// Of the container whose first process is `pid`, and whose root will be what `root` is to it now.
    ///
    /// # Errors
    /// If it is gone.
    pub fn of(pid: i32, root: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Container {
            what: "find the mount namespace",
            source,
        };
        Ok(Self {
            mounts: File::open(format!("/proc/{pid}/ns/mnt")).map_err(failed)?,
            root: root.to_path_buf(),
            proc: directory(Path::new("/proc")).map_err(failed)?,
        })
    }

    /// Does something with the container's root as the root, before the runtime has made it one. Where another processor is busy, a thread
    /// of its own would begin milliseconds later, in which a runtime waits: so this one goes there, and comes back.
    pub(super) fn before_start<T>(
        &self,
        act: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Result<T, Error> {
        self.visit(Some(&self.root), act)
    }

    /// The same when it has.
    pub(super) fn when_started<T>(&self, act: impl FnOnce() -> T) -> Result<T, Error> {
        self.visit(None, |_| act())
    }

    fn visit<T>(
        &self,
        root: Option<&Path>,
        act: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Result<T, Error> {
        let _home = Home::of_this_thread().map_err(not_entered)?;
        enter(&self.mounts, root).map_err(not_entered)?;
        Ok(act(self.proc.as_fd()))
    }

    /// Does something in a thread of its own, with the container's root as the root, after the runtime has made it one. It may take long, and
    /// start threads.
    ///
    /// # Errors
    /// If it cannot be entered.
    pub fn after_start<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Error> {
        joined(|| {
            enter(&self.mounts, None).map_err(not_entered)?;
            Ok(act())
        })
    }
}

fn not_entered(source: io::Error) -> Error {
    Error::Container {
        what: "enter the mount namespace",
        source,
    }
}

/// Where this thread was before it entered a container; dropped, it is there again.
struct Home {
    mounts: File,
    root: File,
    directory: File,
}

impl Home {
    fn of_this_thread() -> io::Result<Self> {
        Ok(Self {
            mounts: File::open("/proc/thread-self/ns/mnt")?,
            root: directory(Path::new("/"))?,
            directory: directory(Path::new("."))?,
        })
    }

    fn go_back(&self) -> io::Result<()> {
        join(&self.mounts)?;
        stand_in(&self.root)?;
        make_root()?;
        stand_in(&self.directory)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.go_back().is_err() {
            // It would take the container's files for the host's. What it has not finished starts nothing.
            process::abort();
        }
    }
}

fn enter(mounts: &File, root: Option<&Path>) -> io::Result<()> {
    join(mounts)?;
    let Some(root) = root else {
        return Ok(());
    };
    stand_in(&directory(root)?)?;
    make_root()
}

/// Root and working directory are those of the namespace then.
fn join(mounts: &File) -> io::Result<()> {
    // A namespace of mounts is entered by a task that shares its root and working directory with nobody (setns(2)).
    // SAFETY: takes flags only, and changes this thread alone.
    done(unsafe { libc::unshare(libc::CLONE_FS) })?;
    // SAFETY: a descriptor that the caller holds, and a number.
    done(unsafe { libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS) })
}

fn stand_in(directory: &File) -> io::Result<()> {
    // SAFETY: a descriptor that the caller holds.
    done(unsafe { libc::fchdir(directory.as_raw_fd()) })
}

/// Makes the working directory the root.
fn make_root() -> io::Result<()> {
    // SAFETY: a C string that lives for ever.
    done(unsafe { libc::chroot(c".".as_ptr()) })
}

/// Does something in the network namespace of the process `pid`. Threads that it starts stay there.
///
/// # Errors
/// If the namespace cannot be entered.
pub fn in_network_of<T: Send>(pid: i32, act: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let failed = |source| Error::Container {
        what: "enter the network namespace",
        source,
    };
    let task = || {
        let network = File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
        // SAFETY: a descriptor that was just opened, and a number; it changes this thread alone.
        done(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) }).map_err(failed)?;
        Ok(act())
    };
    joined(task)
}

/// What a thread of its own comes to.
fn joined<T: Send>(task: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| match scope.spawn(task).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn directory(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    File::options().read(true).custom_flags(flags).open(path)
}

fn done(answer: i32) -> io::Result<()> {
    check(answer.into()).map_err(io::Error::from_raw_os_error)
}

/// An answer of the kernel's that is a descriptor.
pub(super) fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    check(answer).map_err(io::Error::from_raw_os_error)?;
    let number = i32::try_from(answer).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for the caller, who hands it over.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
