//! A thread that looks at a container's files as the container does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

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

    /// Does something with the container's root as the root, before the runtime has made it one.
    pub(super) fn before_start<T: Send>(
        &self,
        act: impl FnOnce(BorrowedFd<'_>) -> T + Send,
    ) -> Result<T, Error> {
        self.inside(Some(&self.root), act)
    }

    /// The same when it has.
    ///
    /// # Errors
    /// If it cannot be entered.
    pub fn after_start<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Error> {
        self.inside(None, |_| act())
    }

    /// In a thread, whose root and namespace are gone with it.
    fn inside<T: Send>(
        &self,
        root: Option<&Path>,
        act: impl FnOnce(BorrowedFd<'_>) -> T + Send,
    ) -> Result<T, Error> {
        let failed = |source| Error::Container {
            what: "enter the mount namespace",
            source,
        };
        joined(|| {
            enter(&self.mounts, root).map_err(failed)?;
            Ok(act(self.proc.as_fd()))
        })
    }
}

fn enter(mounts: &File, root: Option<&Path>) -> io::Result<()> {
    // A namespace of mounts is entered by a task that shares its root and working directory with nobody (setns(2)).
    // SAFETY: takes flags only, and changes this thread alone.
    done(unsafe { libc::unshare(libc::CLONE_FS) })?;
    // SAFETY: a descriptor that the caller holds, and a number.
    done(unsafe { libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS) })?;
    let Some(root) = root else {
        return Ok(());
    };
    let root = directory(root)?;
    // SAFETY: a descriptor that was just opened.
    done(unsafe { libc::fchdir(root.as_raw_fd()) })?;
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
