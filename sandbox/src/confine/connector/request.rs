//! What a task asks for: the address that it has passed, and what of its own is needed to do it in its place.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use libseccomp::ScmpNotifReq;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

use super::errand::{Errand, Identity};

/// Bytes of `sun_family`.
const FAMILY: usize = 2;
/// Bytes of `struct sockaddr_un` (include/uapi/linux/un.h); the kernel takes no longer one for a Unix socket.
const LONGEST: usize = 110;
/// `PIDFD_THREAD` (include/uapi/linux/pidfd.h, 6.9).
const THREAD: libc::c_uint = libc::O_EXCL.cast_unsigned();

/// A connection to a path.
pub(super) struct Request {
    thread: u32,
    descriptor: RawFd,
    path: CString,
}

impl Request {
    /// `None` where it is not about a path: the kernel judges that.
    pub(super) fn read(asked: &ScmpNotifReq) -> Option<Self> {
        // The kernel takes descriptor and length for integers of 32 bits.
        let [descriptor, address, length, ..] = asked.data.args;
        let length = usize::try_from(length & 0xffff_ffff).ok()?;
        if length <= FAMILY || length > LONGEST || asked.pid == 0 {
            return None;
        }
        let mut bytes = vec![0; length];
        let memory = File::open(format!("/proc/{}/mem", asked.pid)).ok()?;
        memory.read_exact_at(&mut bytes, address).ok()?;
        let (family, path) = bytes.split_at(FAMILY);
        let family = u16::from_ne_bytes([family[0], family[1]]);
        if i32::from(family) != libc::AF_UNIX || path[0] == 0 {
            return None;
        }
        let path = path.split(|&byte| byte == 0).next()?;
        Some(Self {
            thread: asked.pid,
            descriptor: u32::try_from(descriptor & 0xffff_ffff).ok()?.cast_signed(),
            path: CString::new(path).ok()?,
        })
    }

    /// Takes hold of the socket, once, and of where and who the task is. `None` if something of that is not to be had.
    pub(super) fn prepare(&self) -> Option<Errand> {
        let socket = self.socket().ok()?;
        let own = getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
        if own.family() != Some(AddressFamily::Unix) {
            return None;
        }
        let place = |name: &str| {
            File::options()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
                .open(format!("/proc/{}/{name}", self.thread))
        };
        let namespace = File::open(format!("/proc/{}/ns/mnt", self.thread)).ok()?;
        Some(Errand {
            path: self.path.clone(),
            socket,
            root: place("root").ok()?.into(),
            directory: place("cwd").ok()?.into(),
            namespace: namespace.into(),
            identity: self.identity()?,
        })
    }

    /// The task's own descriptor table may be its own: before 6.9 that of its process is taken, which is another one for who has made
    /// it so. It is a socket of the fence all the same.
    fn socket(&self) -> io::Result<OwnedFd> {
        let process = open(self.thread, THREAD).or_else(|_| open(self.process()?, 0))?;
        // SAFETY: numbers only; the answer is a new descriptor or an error.
        let socket = unsafe {
            libc::syscall(
                libc::SYS_pidfd_getfd,
                process.as_fd().as_raw_fd(),
                self.descriptor,
                0,
            )
        };
        owned(socket)
    }

    fn process(&self) -> io::Result<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.thread))?;
        field(&status, "Tgid:")
            .and_then(|value| value.trim().parse().ok())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whom the peer sees, and what the task may do to files. Capabilities in another user namespace count for nothing in this one.
    fn identity(&self) -> Option<Identity> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.thread)).ok()?;
        let user = effective(&status, "Uid:")?;
        let group = effective(&status, "Gid:")?;
        let groups = field(&status, "Groups:")?.split_whitespace();
        let groups: Result<Vec<_>, _> = groups.map(str::parse).collect();
        let held = u64::from_str_radix(field(&status, "CapEff:")?.trim(), 16).ok()?;
        let namespace = |task: &str| fs::read_link(format!("/proc/{task}/ns/user")).ok();
        let is_ours = namespace(&self.thread.to_string())? == namespace("self")?;
        Some(Identity {
            user,
            group,
            groups: groups.ok()?,
            capabilities: if is_ours { held } else { 0 },
        })
    }
}

fn open(number: u32, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: numbers only; the answer is a new descriptor or an error.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, number, flags) })
}

fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(answer).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// What the kernel says of a task.
pub(super) fn status(thread: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{thread}/status")).ok()
}

pub(super) fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// The effective of four ids (real, effective, saved, of the file system), where the last is the same: one of its own has no
/// place in an [`Identity`].
fn effective(status: &str, name: &str) -> Option<u32> {
    let ids: Vec<u32> = field(status, name)?
        .split_whitespace()
        .map_while(|id| id.parse().ok())
        .collect();
    match ids[..] {
        [_, effective, _, file_system] if effective == file_system => Some(effective),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_id_counts_where_files_are_asked_for_by_it() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t2\nGid:\t1\t2\t3\t4\nOther:\t1\t1\n";
        assert_eq!(effective(status, "Uid:"), Some(2));
        assert_eq!(effective(status, "Gid:"), None, "of file systems another");
        assert_eq!(effective(status, "Other:"), None);
        assert_eq!(effective(status, "None:"), None);
    }
}
