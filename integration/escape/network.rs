//! The network, where a fence has none: every family and kind of socket, and sockets of others.

use std::io::{IoSliceMut, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::arena::{Arena, CONNECTIONS};
use super::case::{Attempt, Case, Stop, absent, escaped, nothing};
use super::files::secret_in;
use super::system::{call, descriptor, open, open_at, place, read, write};

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::least("N1", "connects over TCP", connects),
        Case::least("N2", "makes a TCP socket of IPv6", |_| {
            socket(libc::AF_INET6, libc::SOCK_STREAM, 0)
        }),
        Case::least("N4", "sends data with the first packet of TCP", fast_open),
        Case::least("N5", "sends over UDP", sends),
        Case::least("N6", "makes a socket of MPTCP", |_| {
            socket(libc::AF_INET, libc::SOCK_STREAM, 262)
        }),
        Case::least("N6a", "makes a socket of SCTP", |_| {
            socket(libc::AF_INET, libc::SOCK_STREAM, 132)
        }),
        Case::least("N6b", "makes a socket of UDP-Lite", |_| {
            socket(libc::AF_INET, libc::SOCK_DGRAM, 136)
        }),
        Case::least("N6c", "makes a socket of DCCP", |_| {
            socket(libc::AF_INET, 6, 33)
        }),
        Case::least("N6d", "makes a socket of SMC", |_| {
            socket(43, libc::SOCK_STREAM, 0)
        }),
        Case::least("N7", "makes a raw socket", |_| {
            socket(libc::AF_INET, libc::SOCK_RAW, 255)
        })
        .by_root(),
        Case::least("N7a", "makes a socket for pings", pings),
        Case::least("N8", "makes a packet socket", |_| {
            socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
        })
        .by_root(),
        Case::least("N8a", "makes an AF_XDP socket", |_| {
            socket(44, libc::SOCK_RAW, 0)
        })
        .by_root(),
        Case::least("N8b", "opens the maker of network devices", |_| {
            open("/dev/net/tun", libc::O_RDWR)?;
            escaped("opened")
        })
        .by_root(),
        Case::least("N9", "makes a socket to the host of the machine", |_| {
            socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
        }),
        Case::least(
            "N9a",
            "makes a socket of the kernel's cryptography (CVE-2026-31431)",
            |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ),
        Case::least("N9b", "makes a netlink socket for routes", |_| {
            socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)
        }),
        Case::least(
            "N9c",
            "makes a netlink socket for the firewall (CVE-2024-1086)",
            |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
        ),
        Case::least(
            "N9d",
            "makes a netlink socket for events of devices",
            |_| {
                socket(
                    libc::AF_NETLINK,
                    libc::SOCK_DGRAM,
                    libc::NETLINK_KOBJECT_UEVENT,
                )
            },
        ),
        Case::least("N9e", "makes a socket of another family", other_families),
        Case::least("N9f", "makes a pair of sockets of another family", pairs),
        Case::least(
            "N11",
            "gets a connected socket from a friend outside",
            receives_socket,
        ),
        Case::least("N14", "connects to a closed Unix socket", |arena| {
            UnixStream::connect(arena.stage.join("closed/stream"))?;
            escaped("connected")
        }),
        Case::least(
            "N14a",
            "connects to a Unix socket that may only be read",
            |arena| {
                UnixStream::connect(arena.stage.join("read/stream"))?;
                escaped("connected")
            },
        ),
        Case::least("N14b", "connects to an abstract name", |arena| {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(&arena.victim.stream)?)?;
            escaped("connected")
        }),
        Case::least("N14c", "sends to an abstract name", |arena| {
            let name = SocketAddr::from_abstract_name(&arena.victim.datagram)?;
            UnixDatagram::unbound()?.send_to_addr(b"x", &name)?;
            escaped("sent")
        }),
        Case::least(
            "N14d",
            "sends to a closed name from one of a pair of sockets",
            |arena| {
                let (socket, _other) = UnixDatagram::pair()?;
                socket.send_to(b"x", arena.stage.join("closed/datagram"))?;
                escaped("sent")
            },
        ),
        Case::least(
            "N14e",
            "connects a datagram socket to an abstract name",
            |arena| {
                let socket = UnixDatagram::unbound()?;
                socket.connect_addr(&SocketAddr::from_abstract_name(&arena.victim.datagram)?)?;
                socket.send(b"x")?;
                escaped("sent")
            },
        ),
        Case::least("N14f", "sends to a closed name with sendmmsg", sends_many),
        Case::least("N22", "listens without a bind", listens),
        Case::least("N23", "listens on a port", |_| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            escaped("listens")
        }),
        Case::least("T12", "gets a closed file from a friend outside", |arena| {
            secret_in(&read(&gift(arena, b'r')?)?)
        }),
        Case::least(
            "T12a",
            "gets a closed file for writing from a friend outside",
            |arena| {
                let file = gift(arena, b'w')?;
                call(
                    libc::SYS_pwrite64,
                    &[(&file).into(), (&b"S"[..]).into(), 1.into(), 0.into()],
                )?;
                escaped("wrote")
            },
        ),
        Case::least(
            "T12b",
            "gets a closed directory from a friend outside",
            |arena| {
                let folder = gift(arena, b'd')?;
                let file = open_at(folder.as_raw_fd(), "secret", libc::O_RDONLY)?;
                secret_in(&read(&file)?)
            },
        ),
        Case::least(
            "T12c",
            "gets an O_PATH descriptor from a friend outside",
            |arena| {
                let folder = gift(arena, b'p')?;
                let file = open_at(folder.as_raw_fd(), "secret", libc::O_RDONLY)?;
                secret_in(&read(&file)?)
            },
        ),
    ]
}

fn socket(family: i32, kind: i32, protocol: i32) -> Attempt {
    descriptor(
        libc::SYS_socket,
        &[family.into(), kind.into(), protocol.into()],
    )?;
    escaped("made")
}

fn pings(arena: &Arena) -> Attempt {
    match socket(libc::AF_INET, libc::SOCK_DGRAM, 1) {
        Err(Stop::Refused(libc::EACCES)) if !arena.fenced => {
            absent("nobody may ping (ping_group_range)")
        }
        end => end,
    }
}

fn connects(arena: &Arena) -> Attempt {
    let before = arena.seen_by_victim(CONNECTIONS)?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, arena.victim.tcp))?;
    match arena.reached_victim(CONNECTIONS, before)? {
        true => escaped("connected"),
        false => nothing("nobody saw it"),
    }
}

fn fast_open(arena: &Arena) -> Attempt {
    let (family, kind) = (libc::AF_INET, libc::SOCK_STREAM);
    let socket = descriptor(libc::SYS_socket, &[family.into(), kind.into(), 0.into()])?;
    let mut address = loopback(arena.victim.tcp);
    call(
        libc::SYS_sendto,
        &[
            (&socket).into(),
            (&b"x"[..]).into(),
            1.into(),
            libc::MSG_FASTOPEN.into(),
            place(&mut address),
            size_of::<libc::sockaddr_in>().into(),
        ],
    )?;
    escaped("sent")
}

// The numbers are small, and the fields of addresses shorter than the constants of the library.
#[expect(clippy::cast_possible_truncation)]
const FAMILY_INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation)]
const FAMILY_UNIX: libc::sa_family_t = libc::AF_UNIX as libc::sa_family_t;

fn loopback(port: u16) -> libc::sockaddr_in {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    libc::sockaddr_in {
        sin_family: FAMILY_INET,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn sends(arena: &Arena) -> Attempt {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.send_to(b"x", (Ipv4Addr::LOCALHOST, arena.victim.udp))?;
    escaped("sent")
}

/// Whatever this kernel has: at least one of them works for everybody without a fence.
fn other_families(arena: &Arena) -> Attempt {
    let mut made = Vec::new();
    let mut last = libc::EAFNOSUPPORT;
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    for family in (3..46).filter(|family| !known.contains(family)) {
        for kind in [
            libc::SOCK_STREAM,
            libc::SOCK_DGRAM,
            libc::SOCK_RAW,
            libc::SOCK_SEQPACKET,
        ] {
            match descriptor(libc::SYS_socket, &[family.into(), kind.into(), 0.into()]) {
                Ok(_) => made.push(family),
                Err(error) => match error.raw_os_error() {
                    Some(errno @ (libc::EACCES | libc::EPERM)) => last = errno,
                    // Nothing but the kernel says so there, which has no such family, whatever the kind. It has looked for a
                    // module, in a process of its own.
                    Some(libc::EAFNOSUPPORT) if !arena.fenced => break,
                    _ => {}
                },
            }
        }
    }
    made.dedup();
    match made.is_empty() {
        true => Err(Stop::Refused(last)),
        false => escaped(format!("{made:?}")),
    }
}

fn pairs(_: &Arena) -> Attempt {
    let mut pair = [0i32; 2];
    // TIPC is the only other family that has pairs.
    call(
        libc::SYS_socketpair,
        &[
            30.into(),
            libc::SOCK_STREAM.into(),
            0.into(),
            place(&mut pair),
        ],
    )?;
    escaped("made")
}

fn listens(_: &Arena) -> Attempt {
    let (family, kind) = (libc::AF_INET, libc::SOCK_STREAM);
    let socket = descriptor(libc::SYS_socket, &[family.into(), kind.into(), 0.into()])?;
    call(libc::SYS_listen, &[(&socket).into(), 1.into()])?;
    escaped("listens")
}

fn sends_many(arena: &Arena) -> Attempt {
    let socket = UnixDatagram::unbound()?;
    let mut name = libc::sockaddr_un {
        sun_family: FAMILY_UNIX,
        sun_path: [0; 108],
    };
    let path = arena.stage.join("closed/datagram");
    for (place, byte) in name
        .sun_path
        .iter_mut()
        .zip(path.as_os_str().as_encoded_bytes())
    {
        *place = *byte as libc::c_char;
    }
    let mut byte = [b'x'];
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: integers and null pointers.
    let mut messages: [libc::mmsghdr; 1] = unsafe { std::mem::zeroed() };
    messages[0].msg_hdr.msg_name = (&raw mut name).cast();
    messages[0].msg_hdr.msg_namelen = u32::try_from(size_of_val(&name)).unwrap_or(0);
    messages[0].msg_hdr.msg_iov = &raw mut part;
    messages[0].msg_hdr.msg_iovlen = 1;
    call(
        libc::SYS_sendmmsg,
        &[
            socket.as_raw_fd().into(),
            place(&mut messages),
            1.into(),
            0.into(),
        ],
    )?;
    escaped("sent")
}

/// Asks the friend outside, whose socket may be written, for something.
pub(super) fn gift(arena: &Arena, wish: u8) -> Result<OwnedFd, Stop> {
    let mut friend = UnixStream::connect(arena.stage.join("open/helper"))?;
    friend.write_all(&[wish])?;
    let mut byte = [0];
    let mut room = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(friend.as_raw_fd(), &mut parts, Some(&mut room), flags)?;
    // A descriptor that may not be received is left out of the message, which is marked as cut.
    let kept = || Stop::Nothing("the descriptor was kept back".into());
    for control in message.cmsgs().map_err(|_| kept())? {
        if let ControlMessageOwned::ScmRights(received) = control
            && let Some(first) = received.first()
        {
            // SAFETY: it was received this moment.
            return Ok(unsafe { OwnedFd::from_raw_fd(*first) });
        }
    }
    Err(kept())
}

fn receives_socket(arena: &Arena) -> Attempt {
    let before = arena.seen_by_victim(CONNECTIONS)?;
    let socket = gift(arena, b't')?;
    write(&socket, b"x")?;
    match arena.reached_victim(CONNECTIONS, before)? {
        true => escaped("a byte has left"),
        false => nothing("nobody saw it"),
    }
}
