//! One who follows fences: a socket in a folder, and what supervisors send there.

use std::{
    fs,
    io::{self, ErrorKind, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{
            fs::DirBuilderExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    },
};

use super::{Error, MOST};

/// Messages that are taken from one supervisor before the next has its turn.
const TURN: usize = 256;

/// What was heard, and of which connection: numbers are not given twice.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// A message.
    Message(u64, &'a [u8]),
    /// The supervisor has closed the connection: it has ended, or was killed.
    Gone(u64),
}

/// A socket that supervisors find. It goes with the value; that of one who was killed is removed by the next who looks.
#[derive(Debug)]
pub struct Following {
    path: PathBuf,
    listener: UnixListener,
    connections: Vec<(u64, UnixStream)>,
    next: u64,
    buffer: Vec<u8>,
}

impl Following {
    /// Begins to listen in `folder`, which is made if it is not there: for one fence, or for all.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn open(folder: &Path, fence: Option<u64>) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let made = fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(folder);
        made.map_err(Error::socket("make", folder))?;
        sweep(folder);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let who = format!("{}-{number}-{now:x}", std::process::id());
        let path = folder.join(format!("{}.{who}", fence.unwrap_or(0)));
        // Found by its name only once it listens: before, it would be taken for that of one who is gone.
        let hidden = folder.join(format!(".{who}"));
        let listener = listening(&hidden)
            .map_err(io::Error::from)
            .and_then(|listener| fs::rename(&hidden, &path).map(|()| listener))
            .map_err(Error::socket("listen on", &path))?;
        Ok(Self {
            path,
            listener,
            connections: Vec::new(),
            next: 0,
            buffer: vec![0; MOST],
        })
    }

    /// Where its socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for something to hear, `patience` milliseconds if that is given, and hands it over.
    ///
    /// # Errors
    /// If it cannot listen any more, as with more fences than descriptors.
    pub fn poll(
        &mut self,
        patience: Option<u16>,
        mut hear: impl FnMut(Heard<'_>),
    ) -> Result<(), Error> {
        let failed = |errno: Errno| Error::socket("listen on", &self.path)(errno.into());
        let mut polled = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let connections = self.connections.iter();
        polled.extend(connections.map(|(_, one)| PollFd::new(one.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, patience.map_or(PollTimeout::NONE, Into::into)) {
            Err(Errno::EINTR) => return Ok(()),
            other => other.map_err(failed)?,
        };
        let mut ready: Vec<bool> = polled.iter().map(|one| one.any() == Some(true)).collect();
        drop(polled);
        if ready.remove(0) {
            self.accept()?;
        }
        // Who has just come has something to say.
        ready.resize(self.connections.len(), true);
        let mut gone = Vec::new();
        for ((key, connection), _) in self
            .connections
            .iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
        {
            if !receive(connection, &mut self.buffer, |text| {
                hear(Heard::Message(*key, text));
            }) {
                gone.push(*key);
            }
        }
        self.connections.retain(|(key, _)| !gone.contains(key));
        for key in gone {
            hear(Heard::Gone(key));
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Error> {
        loop {
            let accepted = self
                .listener
                .accept()
                .and_then(|(connection, _)| connection.set_nonblocking(true).map(|()| connection));
            match accepted {
                Ok(connection) => {
                    self.connections.push((self.next, connection));
                    self.next += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => return Err(Error::socket("listen on", &self.path)(error)),
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // One that stays is removed by the next who finds that nobody listens.
        fs::remove_file(&self.path).ok();
    }
}

/// Takes what has come, a message at a time; false when the other side has closed.
fn receive(mut connection: &UnixStream, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> bool {
    for _ in 0..TURN {
        match connection.read(buffer) {
            Ok(0) => return false,
            Ok(length) => take(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

fn listening(path: &Path) -> Result<UnixListener, Errno> {
    let listener = seqpacket()?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&listener, Backlog::MAXCONN)?;
    Ok(listener.into())
}

fn seqpacket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// Removes the sockets of those who are gone.
fn sweep(folder: &Path) {
    let Ok(listing) = fs::read_dir(folder) else {
        return;
    };
    for entry in listing.flatten() {
        let path = entry.path();
        let is_named = entry.file_name().to_str().and_then(super::wanted).is_some();
        let refused =
            || -> Result<(), Errno> { connect(seqpacket()?.as_raw_fd(), &UnixAddr::new(&path)?) };
        if is_named && refused() == Err(Errno::ECONNREFUSED) {
            fs::remove_file(&path).ok();
        }
    }
}
