//! Where the monitor of a container that is to come waits for that container's hook: a socket with a name that only root can reach.
//!
//! ```text
//! arrange() by who becomes the runtime ──> wait() by the monitor ──(the runtime calls its hook)──> Visit ──> answer()
//!                                               └─(the runtime ends without a hook)──> None       end() when the fence is down
//! ```
//!
//! The other side is `sandbox/hook/main.rs`. A socket that nobody listens at is that of a monitor that was killed: the hook does without.

use std::{
    fs::DirBuilder,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::DirBuilderExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::Uid,
};
use tempfile::NamedTempFile;

use super::Error;

/// Where the sockets are.
const MEETINGS: &str = "/run/ringfence/meetings";
/// What a hook says first: a container comes to be,
const BEGIN: u8 = b'b';
/// or has gone.
const END: u8 = b'e';
/// What it is told when the fence has gone.
const GONE: &[u8] = b"gone";
/// Bytes of a state: annotations of a pod are 256 KiB at most.
const MOST_BYTES: u64 = 4 << 20;
/// How long a hook may take to say what it has in hand.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket. Dropped, it has no name any more.
#[derive(Debug)]
pub struct Meeting {
    listener: NamedTempFile<UnixListener>,
}

/// A hook that has come, and waits for an answer.
#[derive(Debug)]
pub struct Visit {
    stream: UnixStream,
    /// The container's state, as its runtime has written it.
    pub state: Vec<u8>,
}

impl Meeting {
    /// Makes it, with a name that nobody else has.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn arrange() -> Result<Self, Error> {
        Self::arrange_in(Path::new(MEETINGS))
    }

    fn arrange_in(folder: &Path) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(Error::file("make", folder))?;
        let listener = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(16)
            .make_in(folder, |path| UnixListener::bind(path))
            .map_err(Error::file("listen in", folder))?;
        Ok(Self { listener })
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// Waits for the hook of a container that comes to be; `None` when `runtime` is readable, which is to have called it, or when the
    /// container has gone before there was one.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn wait(&self, runtime: BorrowedFd<'_>) -> Result<Option<Visit>, Error> {
        loop {
            let mut both = [
                PollFd::new(self.as_fd(), PollFlags::POLLIN),
                PollFd::new(runtime, PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failed(errno.into())),
            }
            // A runtime waits for its hook: one that has ended leaves no hook that could be answered.
            if both[1].any() == Some(true) {
                return Ok(None);
            }
            let (stream, _) = self.listener.as_file().accept().map_err(failed)?;
            match received(stream, Uid::effective()) {
                Ok(Some(visit)) => return Ok(Some(visit)),
                Ok(None) => return Ok(None),
                // It is gone, or was none.
                Err(_) => {}
            }
        }
    }

    /// Tells those who wait for the fence to be gone that it is. From here on its name is gone as well.
    pub fn end(self) {
        let (listener, name) = self.listener.into_parts();
        drop(name);
        if listener.set_nonblocking(true).is_err() {
            return;
        }
        while let Ok((mut stream, _)) = listener.accept() {
            // One that is not told looks for itself.
            stream.write_all(GONE).ok();
        }
    }
}

/// Whoever holds it keeps it open.
impl AsFd for Meeting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_file().as_fd()
    }
}

impl Visit {
    /// Tells the hook how it went, and lets it go.
    ///
    /// # Errors
    /// If it is gone: nobody will start the container then.
    pub fn answer(mut self, text: &str) -> Result<(), Error> {
        let written = self.stream.write_all(text.as_bytes());
        written.map_err(|source| Error::Monitor {
            what: "answer the hook",
            source,
        })
    }
}

/// What a hook of this user has in hand; `None` from one of a container that has gone.
fn received(mut stream: UnixStream, user: Uid) -> io::Result<Option<Visit>> {
    let peer = getsockopt(&stream, PeerCredentials)?;
    if peer.uid() != user.as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = Vec::new();
    (&mut stream).take(MOST_BYTES + 1).read_to_end(&mut said)?;
    match said.split_first() {
        Some((&BEGIN, state)) if said.len() as u64 <= MOST_BYTES => Ok(Some(Visit {
            state: state.to_vec(),
            stream,
        })),
        Some((&END, [])) => {
            stream.write_all(GONE)?;
            Ok(None)
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn failed(source: io::Error) -> Error {
    Error::Monitor {
        what: "wait for the hook",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::Shutdown, thread};

    /// A meeting, and what is readable when the runtime has ended that holds the other end.
    fn arranged(folder: &tempfile::TempDir) -> (Meeting, UnixStream, UnixStream) {
        let meeting = Meeting::arrange_in(folder.path()).unwrap();
        let (runtime, its_end) = UnixStream::pair().unwrap();
        (meeting, runtime, its_end)
    }

    fn say(path: &Path, words: &[u8]) -> UnixStream {
        let mut hook = UnixStream::connect(path).unwrap();
        hook.write_all(words).unwrap();
        hook.shutdown(Shutdown::Write).unwrap();
        hook
    }

    fn hear(mut hook: UnixStream) -> String {
        let mut answer = String::new();
        hook.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_first_hook_that_brings_a_state_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let (meeting, runtime, _its_end) = arranged(&folder);
        for nothing in [&b""[..], b"x", b"exx"] {
            drop(say(meeting.path(), nothing));
        }
        let hook = say(meeting.path(), b"b{}");
        let visit = meeting.wait(runtime.as_fd()).unwrap().unwrap();
        assert_eq!(visit.state, b"{}");
        visit.answer("fenced").unwrap();
        assert_eq!(hear(hook), "fenced");
    }

    #[test]
    fn a_hook_of_another_user_is_not_heard() {
        let from = |user: u32| {
            let (ours, mut hook) = UnixStream::pair().unwrap();
            hook.write_all(b"b{}").unwrap();
            hook.shutdown(Shutdown::Write).unwrap();
            received(ours, Uid::from_raw(user)).map(|visit| visit.map(|it| it.state))
        };
        let own = Uid::effective().as_raw();
        assert_eq!(from(own).unwrap(), Some(b"{}".to_vec()));
        let refused = from(own + 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn nobody_is_waited_for_when_the_runtime_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (meeting, runtime, its_end) = arranged(&folder);
        drop(its_end);
        assert!(meeting.wait(runtime.as_fd()).unwrap().is_none());
        let name = meeting.path().to_owned();
        drop(meeting);
        assert!(!name.exists());
    }

    #[test]
    fn one_whose_container_has_gone_before_it_came_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (meeting, runtime, _its_end) = arranged(&folder);
        let hook = say(meeting.path(), b"e");
        assert!(meeting.wait(runtime.as_fd()).unwrap().is_none());
        assert_eq!(hear(hook), "gone");
    }

    #[test]
    fn who_waits_for_the_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (meeting, _runtime, _its_end) = arranged(&folder);
        let name = meeting.path().to_owned();
        let hook = UnixStream::connect(&name).unwrap();
        let waiting = thread::spawn(|| hear(hook));
        meeting.end();
        assert_eq!(waiting.join().unwrap(), "gone");
        assert!(!name.exists());
    }
}
