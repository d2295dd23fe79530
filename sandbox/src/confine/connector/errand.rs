//! The process that goes in a task's place: it finds what is at the path as the task would, has it judged, and connects the
//! task's socket to it.
//!
//! It is a copy of a process with threads, so between fork and its end it does prepared things by system calls alone. It is never
//! in the fence: nothing that it does is on behalf of an address that the task can still change.

use std::ffi::{CString, c_int};
use std::fs;
use std::io::{IoSliceMut, Write as _};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::super::act::{self, check};
use super::super::plan::ranges_without;

/// Milliseconds after which it is looked whether the task still waits.
const LOOK: u16 = 500;
/// The word to go on.
const GO: u8 = b'g';

/// Everything that is needed, held.
pub(super) struct Errand {
    /// What the task has passed.
    pub(super) path: CString,
    /// Its socket.
    pub(super) socket: OwnedFd,
    /// Its root directory.
    pub(super) root: OwnedFd,
    /// Its working directory.
    pub(super) directory: OwnedFd,
    /// Its mount namespace.
    pub(super) namespace: OwnedFd,
    /// Who it is.
    pub(super) identity: Identity,
}

/// Who a task is to a peer and to file systems, in ids and capabilities of this user namespace.
pub(super) struct Identity {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) groups: Vec<u32>,
    pub(super) capabilities: u64,
}

/// What comes from the process: what it has found, or how it ended.
enum Word {
    Found(OwnedFd),
    Ended(c_int),
}

impl Errand {
    /// Instead of errno: it may not be.
    pub(super) const DENIED: c_int = -1;

    /// Runs it, and hands over how it ended before the process is gone: 0, errno, or [`Errand::DENIED`]. `allows` is asked about
    /// the path that was found; a process whose task is no longer `wanted` is ended.
    pub(super) fn run(
        self,
        allows: impl Fn(&[u8]) -> bool,
        wanted: impl Fn() -> bool,
        answer: impl FnOnce(c_int),
    ) {
        let pair = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        );
        let Ok((own, other)) = pair else {
            return answer(Self::DENIED);
        };
        let stay = [
            &self.socket,
            &self.root,
            &self.directory,
            &self.namespace,
            &other,
        ];
        let ranges = ranges_without(&stay.map(AsRawFd::as_raw_fd));
        // SAFETY: the child does prepared steps by system calls alone, and ends.
        let child = match unsafe { fork() } {
            Ok(ForkResult::Child) => self.go(other.as_raw_fd(), &ranges),
            Ok(ForkResult::Parent { child }) => child,
            Err(_) => return answer(Self::DENIED),
        };
        drop(other);
        answer(self.attend(&own, allows, wanted));
        end(child);
    }

    /// The parent's part.
    fn attend(
        &self,
        channel: &OwnedFd,
        allows: impl Fn(&[u8]) -> bool,
        wanted: impl Fn() -> bool,
    ) -> c_int {
        let mut file = match channel.try_clone() {
            Ok(channel) => fs::File::from(channel),
            Err(_) => return Self::DENIED,
        };
        match heard(channel, &wanted) {
            // A path that leads through another process' eyes is not followed.
            Some(Word::Ended(libc::ELOOP)) | None => Self::DENIED,
            Some(Word::Ended(error)) => error,
            Some(Word::Found(found)) => {
                if !path_of(&found).is_some_and(|path| allows(&path)) {
                    return Self::DENIED;
                }
                if file.write_all(&[GO]).is_err() {
                    return Self::DENIED;
                }
                match heard(channel, &wanted) {
                    Some(Word::Ended(error)) => error,
                    _ => Self::DENIED,
                }
            }
        }
    }

    /// The child's part; never returns.
    fn go(&self, channel: RawFd, ranges: &[(u32, u32)]) -> ! {
        let ended = match self.steps(channel, ranges) {
            Ok(()) => 0,
            Err(errno) => errno,
        };
        // Without a descriptor; who is not there any more is not told.
        send(channel, ended, None).ok();
        act::end(0)
    }

    fn steps(&self, channel: RawFd, ranges: &[(u32, u32)]) -> Result<(), c_int> {
        act::close_descriptors(ranges, &[])?;
        // SAFETY: a C string that lives for ever.
        let own = unsafe {
            libc::open(
                c"/proc/self/fd".as_ptr(),
                libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC,
            )
        };
        check(own.into())?;
        self.become_the_task()?;
        // SAFETY: integers, for which zero is "not given".
        let mut how: libc::open_how = unsafe { mem::zeroed() };
        how.flags = u64::from((libc::O_PATH | libc::O_CLOEXEC).cast_unsigned());
        // Links into processes are followed with the eyes of who asks, and this is not the task.
        how.resolve = libc::RESOLVE_NO_MAGICLINKS;
        // SAFETY: a C string of this errand's, and a structure of the size that is given.
        let found = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                libc::AT_FDCWD,
                self.path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        check(found)?;
        let found = RawFd::try_from(found).map_err(|_| libc::EBADF)?;
        send(channel, 0, Some(found))?;
        wait_for_go(channel)?;
        // SAFETY: numbers only.
        check(unsafe { libc::fchdir(own) }.into())?;
        let address = address_of(found);
        let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(|_| libc::EINVAL)?;
        // SAFETY: an address on this stack, of the length that is given.
        check(
            unsafe { libc::connect(self.socket.as_raw_fd(), (&raw const address).cast(), length) }
                .into(),
        )
    }

    /// Sees files as the task does, and may do to them what the task may. Out of reach of those who are the same user.
    fn become_the_task(&self) -> Result<(), c_int> {
        act::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
        // SAFETY: numbers only.
        check(unsafe { libc::setns(self.namespace.as_raw_fd(), libc::CLONE_NEWNS) }.into())?;
        // SAFETY: numbers only.
        check(unsafe { libc::fchdir(self.root.as_raw_fd()) }.into())?;
        // SAFETY: a C string that lives for ever.
        check(unsafe { libc::chroot(c".".as_ptr()) }.into())?;
        // SAFETY: numbers only.
        check(unsafe { libc::fchdir(self.directory.as_raw_fd()) }.into())?;
        let identity = &self.identity;
        act::user(identity.user, identity.group, &identity.groups, true)?;
        act::capabilities(identity.capabilities, 0, 0)?;
        // A change of ids sets the one to what the administrator says, and takes the other away (kernel/cred.c, `commit_creds`).
        act::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
        act::prctl(
            libc::PR_SET_PDEATHSIG,
            u64::from(libc::SIGKILL.cast_unsigned()),
            0,
        )
    }
}

/// The path of a socket that is in place.
fn path_of(found: &OwnedFd) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let metadata = fs::metadata(&link).ok()?;
    if metadata.nlink() == 0 || !metadata.file_type().is_socket() {
        return None;
    }
    let path = fs::read_link(&link).ok()?;
    path.is_absolute()
        .then(|| path.as_os_str().as_bytes().to_vec())
}

/// The next word; `None` if the process is gone without one, or nobody wants it any more.
fn heard(channel: &OwnedFd, wanted: &impl Fn() -> bool) -> Option<Word> {
    loop {
        let mut polled = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::from(LOOK)) {
            Ok(0) if !wanted() => return None,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => break,
            Err(_) => return None,
        }
    }
    let mut bytes = [0; size_of::<c_int>()];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(channel.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let (length, mut found) = (message.bytes, None);
    for control in message.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for descriptor in descriptors {
                // SAFETY: the kernel has just handed out this descriptor.
                found = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    match found {
        Some(found) => Some(Word::Found(found)),
        None if length == bytes.len() => Some(Word::Ended(c_int::from_ne_bytes(bytes))),
        None => None,
    }
}

fn end(child: Pid) {
    kill(child, Signal::SIGKILL).ok();
    while waitpid(child, None) == Err(Errno::EINTR) {}
}

/// Sends `word`, and with it a descriptor.
fn send(channel: RawFd, word: c_int, descriptor: Option<RawFd>) -> Result<(), c_int> {
    act::send_descriptor(channel, &word.to_ne_bytes(), descriptor)
}

fn wait_for_go(channel: RawFd) -> Result<(), c_int> {
    let mut byte = 0u8;
    // SAFETY: writes one byte on this stack.
    let count = unsafe { libc::read(channel, (&raw mut byte).cast(), 1) };
    match count == 1 && byte == GO {
        true => Ok(()),
        false => Err(libc::EACCES),
    }
}

/// The address of a descriptor in the working directory, which is that of one's own descriptors: its number.
fn address_of(descriptor: RawFd) -> libc::sockaddr_un {
    // SAFETY: integers, for which zero is nothing.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or_default();
    let mut digits = [0u8; 10];
    let mut rest = descriptor.unsigned_abs();
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b"0123456789"[rest as usize % 10];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    for (to, from) in address.sun_path.iter_mut().zip(&digits[first..]) {
        *to = from.cast_signed();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptors_address_is_its_number() {
        for (descriptor, text) in [
            (0, "0"),
            (7, "7"),
            (19_999, "19999"),
            (i32::MAX, "2147483647"),
        ] {
            let address = address_of(descriptor);
            let path = address.sun_path.iter().take_while(|byte| **byte != 0);
            let path: Vec<u8> = path.map(|byte| byte.cast_unsigned()).collect();
            assert_eq!(path, text.as_bytes());
        }
    }
}
