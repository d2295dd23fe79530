//! Those who follow one fence, as its supervisor sees them.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, setsockopt, socket,
        sockopt,
    },
};

use super::MOST;

/// Bytes on their way to one follower: some thousand events. The kernel counts twice as many, for what it keeps beside them.
const BUFFER: usize = 1 << 20;

/// Those who follow one fence. Telling them never waits: what finds no room is counted, and the count is told first when
/// there is room again.
#[derive(Debug)]
pub struct Followers {
    folder: PathBuf,
    fence: u64,
    hello: Vec<u8>,
    known: BTreeMap<String, Follower>,
}

/// One who follows.
#[derive(Debug, Default)]
struct Follower {
    /// None where it has not taken the connection yet.
    connection: Option<OwnedFd>,
    lost: u64,
}

/// How a message went.
enum Sent {
    Whole,
    NoRoom,
    /// The follower has ended.
    Gone,
}

impl Followers {
    /// Those of the fence `fence` whose sockets are in `folder`; nobody yet. Each is told `hello` first.
    #[must_use]
    pub fn of(folder: &Path, fence: u64, hello: Vec<u8>) -> Self {
        Self {
            folder: folder.to_owned(),
            fence,
            hello,
            known: BTreeMap::new(),
        }
    }

    /// Whether nobody follows, as far as the last look told.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.known.is_empty()
    }

    /// Looks who follows now: one listing of a folder that is empty most of the time, or not there.
    pub fn look(&mut self) {
        let names: Vec<String> = match fs::read_dir(&self.folder) {
            Ok(listing) => listing
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| {
                    super::wanted(name).is_some_and(|fence| fence == 0 || fence == self.fence)
                })
                .collect(),
            // Whoever cannot be seen cannot be told.
            Err(_) => Vec::new(),
        };
        self.known.retain(|name, _| names.contains(name));
        for name in names {
            let path = self.folder.join(&name);
            let follower = self.known.entry(name.clone()).or_default();
            if follower.connection.is_some() {
                continue;
            }
            match connected(&path) {
                Ok(connection) => {
                    let sent = transmit(&connection, &self.hello);
                    follower.connection = matches!(sent, Sent::Whole).then_some(connection);
                }
                // Its queue is full: another time.
                Err(Errno::EAGAIN) => {}
                Err(errno) => {
                    self.known.remove(&name);
                    // Nobody listens any more; the name is never used again.
                    if errno == Errno::ECONNREFUSED {
                        fs::remove_file(&path).ok();
                    }
                }
            }
        }
    }

    /// Tells all of them.
    pub fn tell(&mut self, message: &[u8]) {
        let fence = self.fence;
        self.known
            .retain(|_, follower| follower.tell(fence, message));
    }
}

impl Follower {
    /// Whether it is still there.
    fn tell(&mut self, fence: u64, message: &[u8]) -> bool {
        let Some(connection) = &self.connection else {
            self.lost += 1;
            return true;
        };
        if self.lost > 0 {
            let count = self.lost;
            let text = format!("{{\"fence\":{fence},\"kind\":\"lost\",\"count\":{count}}}");
            match transmit(connection, text.as_bytes()) {
                Sent::Whole => self.lost = 0,
                Sent::NoRoom => {
                    self.lost += 1;
                    return true;
                }
                Sent::Gone => return false,
            }
        }
        match transmit(connection, message) {
            Sent::Whole => true,
            Sent::NoRoom => {
                self.lost += 1;
                true
            }
            Sent::Gone => false,
        }
    }
}

fn connected(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // Without the right to more, the default holds some hundred events.
    setsockopt(&connection, sockopt::SndBufForce, &BUFFER).ok();
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(connection)
}

fn transmit(connection: &OwnedFd, message: &[u8]) -> Sent {
    // It would be cut where it is received.
    if message.len() > MOST {
        return Sent::NoRoom;
    }
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(connection.as_raw_fd(), message, flags) {
        Ok(_) => Sent::Whole,
        // One that is too large for any buffer finds no room either.
        Err(Errno::EAGAIN | Errno::EMSGSIZE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => {
            Sent::NoRoom
        }
        Err(_) => Sent::Gone,
    }
}
