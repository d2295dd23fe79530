//! Sockets of a traced task: whom an address means, and which protocol a descriptor speaks.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use nix::unistd::Pid;
use ringfence_abi::network::TCP;

use super::told::low;

/// The port of name servers: behind a fence, queries go to its own resolver.
pub(super) const NAME_SERVICE: u16 = 53;

/// An address of the internet protocols, in the form of `struct sockaddr_in` and `sockaddr_in6`.
pub(super) fn internet(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    let address: IpAddr = match family {
        libc::AF_INET => <[u8; 4]>::try_from(bytes.get(4..8)?).ok()?.into(),
        libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            IpAddr::from(address).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// A copy of another task's descriptor (pidfd_getfd(2), since 5.6).
pub(super) fn duplicate(task: Pid, number: u64) -> io::Result<OwnedFd> {
    let status = fs::read_to_string(format!("/proc/{task}/status"))?;
    let process = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:\t")?.parse::<i32>().ok())
        .ok_or_else(|| io::Error::other("a thread has no process"))?;
    // SAFETY: the call takes integers only.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    let number = low(number).cast_signed();
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(answer).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The protocol of a socket, as peers have it: MPTCP is TCP.
pub(super) fn protocol(socket: &OwnedFd) -> io::Result<u8> {
    let mut found: libc::c_int = 0;
    let mut length =
        libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes to `found`.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PROTOCOL,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    match found {
        libc::IPPROTO_MPTCP => Ok(TCP),
        other => Ok(u8::try_from(other).unwrap_or(u8::MAX)),
    }
}
