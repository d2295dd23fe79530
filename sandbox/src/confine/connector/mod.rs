//! What a fence's filter asks of its supervisor: to tell of what it refuses, and to connect Unix sockets to paths, where neither hooks
//! nor Landlock see whom they reach.
//!
//! ```text
//! a call that the filter refuses --notification--> told, and refused
//! connect(2) --filter--> notification --address--> not of a path: the kernel goes on, and judges
//!                                     \--a path--> a process as the task is: opens what is there --> judged --> connects to that
//! ```
//!
//! The kernel half denies every connection of the fence's sockets to a path but those that are made from outside of the fence, in
//! its supervisor's cgroup. So to let the kernel go on is to deny, whatever the task has put where its address was, and a
//! supervisor that is gone leaves no way open. What is judged is what was opened, and that is what the socket is connected to: no
//! link, no mount and no other thread comes between.

mod closed;
mod errand;
mod request;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, notify_id_valid};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use ringfence_abi::network::{ALLOW, DENY};
use ringfence_abi::rights::WRITE;

pub use self::closed::ClosedTotals;
use self::closed::{ClosedCalls, Judged};
use self::errand::Errand;
use self::request::Request;
use super::seccomp::Filter;
use crate::event::Event;
use crate::policy::{NetworkQuestion, Policy};

/// Connections that are made at a time. One waits for as long as whom it reaches has no room for it; more than this are told
/// that there is none.
const MOST: usize = 64;

/// Answers the notifications of one fence until its last task is gone, or it is dropped.
#[derive(Debug)]
pub struct Connector {
    shared: Arc<Shared>,
    _wake: UnixStream,
}

/// What a command's filter asks, to be answered by a [`Connector`].
#[derive(Debug)]
pub struct Notifications {
    pub(super) listener: OwnedFd,
    pub(super) filter: Filter,
}

/// What all threads know.
#[derive(Debug)]
struct Shared {
    listener: OwnedFd,
    closed: ClosedCalls,
    /// What is judged by where sockets are connected; none where nothing asks for that.
    policy: RwLock<Option<Policy>>,
    running: AtomicUsize,
}

/// A notification that waits for its answer.
#[derive(Clone, Copy)]
struct Pending<'a> {
    listener: &'a OwnedFd,
    id: u64,
}

impl Connector {
    /// Starts it, for the fence whose filter asks; sockets are connected as `connecting` says.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(asked: Notifications, connecting: Option<Policy>) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        let shared = Arc::new(Shared {
            listener: asked.listener,
            closed: ClosedCalls::new(asked.filter)?,
            policy: RwLock::new(connecting),
            running: AtomicUsize::new(0),
        });
        let all = Arc::clone(&shared);
        named(move || all.answer(&woken))?;
        Ok(Self {
            shared,
            _wake: wake,
        })
    }

    /// Judges by `policy` from here on.
    pub fn judge_by(&self, policy: &Policy) {
        let held = self.shared.policy.write();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut() {
            held.clone_from(policy);
        }
    }

    /// Readable when a call of a new kind was refused.
    #[must_use]
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.shared.closed.rung()
    }

    /// The first of each kind of refused calls that is new.
    #[must_use]
    pub fn news(&self) -> Vec<Event> {
        self.shared.closed.news()
    }

    /// Whether this tells of it, and says more, where a watcher saw the same call fail.
    #[must_use]
    pub fn tells_of(&self, event: &Event) -> bool {
        self.shared.closed.tells_of(event)
    }

    /// What has been refused altogether.
    #[must_use]
    pub fn totals(&self) -> ClosedTotals {
        self.shared.closed.totals()
    }
}

impl Shared {
    /// One notification after the other. Not joined: the kernel has no way to look for one without waiting for it, and the task of
    /// one that was there may be gone.
    fn answer(self: &Arc<Self>, woken: &UnixStream) {
        while self.is_asked(woken) {
            let Ok(asked) = ScmpNotifReq::receive(self.listener.as_raw_fd()) else {
                continue;
            };
            let pending = Pending {
                listener: &self.listener,
                id: asked.id,
            };
            match self.closed.judge(&asked, || pending.is_valid()) {
                Judged::Connects => {}
                Judged::GoesOn => {
                    pending.go_on();
                    continue;
                }
                Judged::Refused(errno) => {
                    pending.fail(errno);
                    continue;
                }
            }
            let Some(request) = Request::read(&asked) else {
                pending.go_on();
                continue;
            };
            if self.running.fetch_add(1, Ordering::SeqCst) >= MOST {
                self.running.fetch_sub(1, Ordering::SeqCst);
                pending.fail(libc::EAGAIN);
                continue;
            }
            let (shared, id) = (Arc::clone(self), asked.id);
            let started = named(move || {
                shared.connect(&request, id);
                shared.running.fetch_sub(1, Ordering::SeqCst);
            });
            if started.is_err() {
                self.running.fetch_sub(1, Ordering::SeqCst);
                pending.go_on();
            }
        }
    }

    /// Waits; `false` at the end of the fence or of this.
    fn is_asked(&self, woken: &UnixStream) -> bool {
        let mut polled = [
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(woken.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut polled, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return false,
                Ok(_) => break,
            }
        }
        let asked = polled[0].revents().unwrap_or(PollFlags::empty());
        asked.contains(PollFlags::POLLIN) && polled[1].any() != Some(true)
    }

    /// Does what is asked, as far as the policy lets it.
    fn connect(&self, request: &Request, id: u64) {
        let pending = Pending {
            listener: &self.listener,
            id,
        };
        let errand = request.prepare();
        // Now that everything of the task's is held: it is still the one that asked.
        let errand = errand.filter(|_| pending.is_valid());
        let Some(errand) = errand else {
            return pending.go_on();
        };
        let answer = |end| match end {
            Errand::DENIED => pending.go_on(),
            0 => pending.succeed(),
            error => pending.fail(error),
        };
        errand.run(|path| self.allows(path), || pending.is_valid(), answer);
    }

    /// Whether the socket at `path` may be reached: as by the hooks, a rule about it says so, or one that lets it be written.
    fn allows(&self, path: &[u8]) -> bool {
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
        let Some(policy) = policy.as_ref() else {
            return false;
        };
        let answer = policy.network.answer(&NetworkQuestion::Socket(path));
        let written = policy.files.automaton.rights(path) & WRITE != 0;
        answer & DENY == 0 && (answer & ALLOW != 0 || written)
    }
}

// An answer that finds nobody is for a task that is gone.
impl Pending<'_> {
    fn is_valid(&self) -> bool {
        notify_id_valid(self.listener.as_raw_fd(), self.id).is_ok()
    }

    /// The kernel makes the call, and judges it.
    fn go_on(&self) {
        let answer = ScmpNotifResp::new_continue(self.id, ScmpNotifRespFlags::empty());
        answer.respond(self.listener.as_raw_fd()).ok();
    }

    fn succeed(&self) {
        let answer = ScmpNotifResp::new_val(self.id, 0, ScmpNotifRespFlags::empty());
        answer.respond(self.listener.as_raw_fd()).ok();
    }

    fn fail(&self, errno: i32) {
        let answer = ScmpNotifResp::new_error(self.id, -errno, ScmpNotifRespFlags::empty());
        answer.respond(self.listener.as_raw_fd()).ok();
    }
}

/// Starts a thread that no signal is delivered to: nor is one to what it forks.
fn named(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("connector".to_owned());
    let before = SigSet::thread_get_mask()?;
    SigSet::all().thread_block()?;
    let started = thread.spawn(work);
    before.thread_set_mask()?;
    started.map(|_| ())
}
