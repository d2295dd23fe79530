//! What there is to reach outside of a fence: servers on loopback that answer with the byte that they got, and count who
//! came.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libtest_mimic::Failed;
use nix::net::if_::if_nametoindex;

/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// One server; dropped, it ends.
pub(super) struct Server {
    address: SocketAddr,
    came: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Of TCP, with Fast Open where the kernel has it.
    pub(super) fn tcp(address: &str) -> Result<Self, Failed> {
        let listener = TcpListener::bind((address.parse::<IpAddr>()?, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self::start(address, move |came, over| {
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        came.fetch_add(1, Ordering::Relaxed);
                        let mut byte = [0];
                        stream.set_nonblocking(false).ok();
                        stream
                            .set_read_timeout(Some(Duration::from_millis(500)))
                            .ok();
                        // Whoever goes away again is not answered.
                        if stream.read_exact(&mut byte).is_ok() {
                            stream.write_all(&byte).ok();
                            // Closing on what has not been read resets the connection, which can overtake the answer.
                            stream.read_to_end(&mut Vec::new()).ok();
                        }
                    }
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        }))
    }

    /// Of UDP; says `answer` instead of what it got if there is one.
    pub(super) fn udp(address: &str, answer: Option<&'static [u8]>) -> Result<Self, Failed> {
        Self::of_udp(UdpSocket::bind((address.parse::<IpAddr>()?, 0))?, answer)
    }

    /// Of UDP, at every address and in these groups on the link with `own` address.
    pub(super) fn groups(groups: &[Ipv4Addr], own: &Ipv4Addr) -> Result<Self, Failed> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        for group in groups {
            socket.join_multicast_v4(group, own)?;
        }
        Self::of_udp(socket, None)
    }

    /// The same with a group of IPv6 and the link's name.
    pub(super) fn group6(group: &Ipv6Addr, link: &str) -> Result<Self, Failed> {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.join_multicast_v6(group, if_nametoindex(link)?)?;
        Self::of_udp(socket, None)
    }

    fn of_udp(socket: UdpSocket, answer: Option<&'static [u8]>) -> Result<Self, Failed> {
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        Ok(Self::start(address, move |came, over| {
            while !over.load(Ordering::Relaxed) {
                let mut byte = [0];
                if let Ok((length, sender)) = socket.recv_from(&mut byte) {
                    came.fetch_add(1, Ordering::Relaxed);
                    socket
                        .send_to(answer.unwrap_or(&byte[..length]), sender)
                        .ok();
                }
            }
        }))
    }

    fn start(
        address: SocketAddr,
        serve: impl FnOnce(&AtomicU32, &AtomicBool) + Send + 'static,
    ) -> Self {
        let (came, over) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, end) = (came.clone(), over.clone());
        Self {
            address,
            came,
            over,
            thread: Some(std::thread::spawn(move || serve(&count, &end))),
        }
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections or datagrams have come.
    pub(super) fn came(&self) -> u32 {
        self.came.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
