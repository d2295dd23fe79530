//! The launcher's directory in the container: a file system of the monitor's own, read-only to everybody inside.
//!
//! The launcher rings by a pipe with a name, and waits for a lock on the file that says what is to be done. The monitor writes by a
//! second mount that is nowhere. A monitor that ends lets the lock go, and leaves the file empty: then nothing starts.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat};

use super::super::act::check;
use super::super::error::Error;
use super::LAUNCHER_PLACE;
use super::enter::owned;

/// The file in [`LAUNCHER_PLACE`] that is empty until the mounts are laid.
pub const PLAN: &str = "plan";
/// Compiled by build.rs.
static LAUNCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/launch"));
/// Its name.
const PROGRAM: &str = "launch";
/// The pipe that it rings by: opened for writing and closed, which whoever holds the other end is told at once. A watch on the file
/// would tell as well, but to take one away is to wait for a grace period (fs/notify/mark.c, `fsnotify_wait_marks_destroyed`).
const BELL: &str = "bell";

// include/uapi/linux/mount.h
const OPEN_TREE_CLONE: i32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: i32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: i32 = 0x40;
const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const FSCONFIG_SET_STRING: i32 = 1;
const FSCONFIG_CMD_CREATE: i32 = 6;

/// The directory, filled. The lock is let go of first: closing a mount that is nowhere is to wait for a grace period (fs/namespace.c,
/// `namespace_unlock`).
#[derive(Debug)]
pub(super) struct Place {
    told: Flock<File>,
    bell: File,
    directory: OwnedFd,
}

impl Place {
    /// Lays the file system over the directory and fills it. To be called where the container's root is the root.
    pub(super) fn fill() -> Result<Self, Error> {
        let failed = |source| Error::Container {
            what: "put the launcher into the root",
            source,
        };
        let directory = empty_directory()?;
        let mount = file_system().map_err(failed)?;
        attach(&mount, &directory).map_err(failed)?;
        let writable = clone(&mount).map_err(failed)?;
        close(&mount).map_err(failed)?;
        create(&writable, PROGRAM, 0o555)
            .and_then(|mut file| file.write_all(LAUNCHER))
            .map_err(failed)?;
        let told = create(&writable, PLAN, 0o444).map_err(failed)?;
        let told = Flock::lock(told, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| failed(errno.into()))?;
        let bell = bell(&writable).map_err(failed)?;
        Ok(Self {
            told,
            bell,
            directory: writable,
        })
    }

    /// Whether somebody has rung.
    pub(super) fn is_called(&self) -> Result<bool, Error> {
        let mut looked_at = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        match poll(&mut looked_at, PollTimeout::ZERO) {
            Ok(found) => Ok(found > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(Error::Container {
                what: "see whether the launcher waits in the root",
                source: errno.into(),
            }),
        }
    }

    /// Takes the bell away, writes the file and lets go of it. The first number comes last: with it, the file is whole.
    pub(super) fn tell(self, bytes: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::Container {
            what: "tell the launcher",
            source,
        };
        let (first, rest) = bytes.split_at(size_of::<u64>().min(bytes.len()));
        unlinkat(&self.directory, BELL, UnlinkatFlags::NoRemoveDir)
            .map_err(io::Error::from)
            .and_then(|()| self.told.write_all_at(rest, first.len() as u64))
            .and_then(|()| self.told.write_all_at(first, 0))
            .map_err(failed)
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// The directory, which no link may lead to: who can change the link could put another launcher in front of what `exec` adds.
fn empty_directory() -> Result<OwnedFd, Error> {
    let unfit = |reason: String| Error::LauncherPlace {
        path: LAUNCHER_PLACE.into(),
        reason,
    };
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let directory = openat2(nix::fcntl::AT_FDCWD, LAUNCHER_PLACE, how)
        .map_err(|errno| unfit(errno.desc().to_owned()))?;
    let copy = directory
        .try_clone()
        .map_err(|error| unfit(error.to_string()))?;
    let mut listing = Dir::from_fd(copy).map_err(|errno| unfit(errno.desc().to_owned()))?;
    for entry in listing.iter() {
        let entry = entry.map_err(|errno| unfit(errno.desc().to_owned()))?;
        if ![c".", c".."].contains(&entry.file_name()) {
            let name = entry.file_name().to_string_lossy();
            return Err(unfit(format!("{name} is in it")));
        }
    }
    Ok(directory)
}

/// A file system in memory that is mounted nowhere yet.
fn file_system() -> io::Result<OwnedFd> {
    // SAFETY: a C string that lives for ever, and flags (1: close on exec).
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1) })?;
    configure(&context, c"mode", c"755")?;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: a command without arguments.
    done(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        )
    })?;
    // SAFETY: numbers only; the attributes of fsmount are those of mount_setattr.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, NOSUID | NODEV) })
}

fn configure(context: &OwnedFd, name: &CStr, value: &CStr) -> io::Result<()> {
    // SAFETY: C strings that the caller keeps.
    done(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_SET_STRING,
            name.as_ptr(),
            value.as_ptr(),
            0,
        )
    })
}

fn attach(mount: &OwnedFd, directory: &OwnedFd) -> io::Result<()> {
    // SAFETY: C strings that live for ever, descriptors and flags.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            directory.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
}

/// The same file system mounted a second time, nowhere.
fn clone(mount: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH;
    // SAFETY: a C string that lives for ever, a descriptor and flags.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, mount.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Makes the mount in the container read-only, before anybody there can write to it.
fn close(mount: &OwnedFd) -> io::Result<()> {
    /// `struct mount_attr` (5.12).
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attributes = Attributes {
        set: RDONLY,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        user_namespace: 0,
    };
    // SAFETY: a C string that lives for ever, and a structure on this stack of the size that is given.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })
}

fn create(directory: &OwnedFd, name: &str, mode: u32) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = File::from(openat(
        directory,
        name,
        flags,
        Mode::from_bits_truncate(mode),
    )?);
    // Whatever this process masks.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(file)
}

/// The reading end of the bell. What is no regular file can be written to on a read-only mount (fs/open.c, `do_dentry_open`), and
/// whoever the container's user is may.
fn bell(directory: &OwnedFd) -> io::Result<File> {
    let mode = Mode::from_bits_truncate(0o222);
    mkfifoat(directory, BELL, mode)?;
    // Whatever this process masks.
    fchmodat(directory, BELL, mode, FchmodatFlags::FollowSymlink)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(directory, BELL, flags, Mode::empty())?))
}

fn done(answer: libc::c_long) -> io::Result<()> {
    check(answer).map_err(io::Error::from_raw_os_error)
}
