//! The sockets and threads of the resolver.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Shared;
use super::upstream::{read_message, write_message};

/// Threads for each datagram socket: as many queries wait for a server at a time.
const WORKERS: usize = 8;
/// Connections at a time.
const MOST_CONNECTIONS: usize = 32;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a connection of the resolver to itself may take.
const WAKE: Duration = Duration::from_millis(200);
/// How often a port is looked for that is free for all sockets.
const TRIES: usize = 16;
/// How often expired addresses and the hosts file are looked at.
pub(super) const TENDING: Duration = Duration::from_secs(1);

/// Where a resolver answers: bound by the caller, perhaps in another network namespace.
pub struct Sockets {
    /// For datagrams.
    pub udp: Vec<UdpSocket>,
    /// For connections.
    pub tcp: Vec<TcpListener>,
}

impl Sockets {
    /// Sockets on loopback with one port that the kernel chooses, for IPv6 as well where there is any.
    ///
    /// # Errors
    ///
    /// If there is no such port.
    pub fn on_loopback() -> io::Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = first.local_addr()?.port();
            match Self::with_port(first, port) {
                Ok(sockets) => return Ok(sockets),
                // Somebody else has that port for connections.
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    fn with_port(first: UdpSocket, port: u16) -> io::Result<Self> {
        let mut sockets = Self {
            udp: vec![first],
            tcp: vec![TcpListener::bind((Ipv4Addr::LOCALHOST, port))?],
        };
        match UdpSocket::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(socket) => {
                sockets.udp.push(socket);
                let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, port))?;
                sockets.tcp.push(listener);
                Ok(sockets)
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            // No IPv6 on this host.
            Err(_) => Ok(sockets),
        }
    }

    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.udp.iter().map(UdpSocket::local_addr).collect()
    }

    pub(super) fn clones(&self) -> io::Result<Vec<UdpSocket>> {
        self.udp.iter().map(UdpSocket::try_clone).collect()
    }
}

/// Starts every thread.
pub(super) fn start(sockets: Sockets, shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for socket in &sockets.udp {
        socket.set_read_timeout(Some(TENDING))?;
        for _ in 0..WORKERS {
            let (socket, shared) = (socket.try_clone()?, Arc::clone(shared));
            threads.push(named(move || datagrams(&socket, &shared))?);
        }
    }
    for listener in sockets.tcp {
        let shared = Arc::clone(shared);
        threads.push(named(move || connections(&listener, &shared))?);
    }
    Ok(threads)
}

fn named(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(work)
}

/// Lets every thread see that it is to end: an empty datagram for each, and a connection for each listener.
pub(super) fn wake(sockets: &[UdpSocket], addresses: &[SocketAddr], threads: usize) {
    for (socket, address) in sockets.iter().zip(addresses) {
        for _ in 0..threads {
            // Who is not woken sees it at the next timeout.
            socket.send_to(&[], address).ok();
        }
        TcpStream::connect_timeout(address, WAKE).ok();
    }
}

fn datagrams(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    while !shared.stopped.load(Ordering::SeqCst) {
        let received = socket.recv_from(&mut buffer);
        shared.tend();
        // Nothing may have come for a while, or an answer that found nobody has come back (ICMP): the next query is another one.
        if let Ok((length, peer)) = received
            && let Some(answer) = shared.respond(&buffer[..length], false)
        {
            // Who has gone needs no answer.
            socket.send_to(&answer, peer).ok();
        }
    }
}

fn connections(listener: &TcpListener, shared: &Arc<Shared>) {
    let open = Arc::new(AtomicUsize::new(0));
    while !shared.stopped.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            // Too many open files, mostly: that passes.
            thread::sleep(WAKE);
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (shared, counted) = (Arc::clone(shared), Arc::clone(&open));
        let started = named(move || {
            // The other side has gone, or was silent for too long.
            connection(stream, &shared).ok();
            counted.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    while !shared.stopped.load(Ordering::SeqCst) {
        let request = read_message(&mut stream)?;
        match shared.respond(&request, true) {
            Some(answer) => write_message(&mut stream, &answer)?,
            None => return Ok(()),
        }
    }
    Ok(())
}
