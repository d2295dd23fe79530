//! The fence's own resolver: it answers for the names that the policy allows, and opens the way to their addresses before it
//! answers.
//!
//! ```text
//! query --message--> name and type --tables--> states it opens
//!                                  \--hosts or upstream--> addresses --special--> those that may be
//!                                                                    \--grants--> callback, then the answer
//! ```
//!
//! A name that no rule allows is answered with "no such name", and nobody else is asked: whoever watches the real servers
//! learns nothing. An allowed one is asked of the host's own servers, address records only; whatever aliases lead there, the
//! answer is about the name that was asked for, and nothing but that name is opened. It runs outside of the fence, on
//! threads of the supervisor; once they end, no further name is resolved.

#![forbid(unsafe_code)]

mod answer;
mod budget;
mod event;
mod grants;
mod hosts;
mod message;
mod overheard;
mod serve;
mod special;
mod upstream;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

pub use event::{QueryCause, QueryEvent};
pub use grants::{Grant, Opened};
pub use message::refusal;
pub use overheard::Overheard;
pub use serve::Sockets;
pub use upstream::Upstream;

use crate::policy::NetworkPolicy;
use crate::profile::NamePattern;
use budget::Budget;
use event::Events;
use grants::Grants;
use hosts::Hosts;

/// What a resolver answers from.
pub struct Settings {
    /// The policies of the fence: at large, and of its programs by their number.
    pub policies: Vec<NetworkPolicy>,
    /// The wildcards of their rules, each of which is good for so many names only.
    pub wildcards: Vec<NamePattern>,
    /// The administrator's own names, usually `/etc/hosts`.
    pub hosts: PathBuf,
    /// Who is asked for the others.
    pub upstream: Upstream,
}

/// A resolver that runs. It ends with [`Resolver::stop`].
pub struct Resolver {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    wake: Vec<std::net::UdpSocket>,
    bell: UnixStream,
}

/// What all threads know.
struct Shared {
    policies: Vec<NetworkPolicy>,
    hosts: Mutex<Hosts>,
    upstream: Upstream,
    budget: Mutex<Budget>,
    grants: Mutex<Grants>,
    events: Mutex<Events>,
    /// When it was last looked after: [`Shared::tend`].
    tended: Mutex<Option<Instant>>,
    stopped: AtomicBool,
}

impl Resolver {
    /// Starts to answer on `sockets`; `grant` opens the way to an address, and is asked before each answer.
    ///
    /// What the administrator's own names lead to is opened at once: programs read that file themselves.
    ///
    /// # Errors
    ///
    /// If the sockets cannot be read, or threads cannot be started.
    pub fn start(sockets: Sockets, settings: Settings, grant: Grant) -> io::Result<Self> {
        let (bell, rung) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rung.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            policies: settings.policies,
            hosts: Mutex::new(Hosts::new(settings.hosts)),
            upstream: settings.upstream,
            budget: Mutex::new(Budget::new(settings.wildcards, Instant::now())),
            grants: Mutex::new(Grants::new(grant)),
            events: Mutex::new(Events::new(bell)),
            tended: Mutex::new(None),
            stopped: AtomicBool::new(false),
        });
        shared.tend();
        let addresses = sockets.addresses()?;
        let wake = sockets.clones()?;
        let threads = serve::start(sockets, &shared)?;
        Ok(Self {
            shared,
            addresses,
            threads,
            wake,
            bell: rung,
        })
    }

    /// Where it answers, by UDP and TCP alike.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Readable when there are events.
    #[must_use]
    pub fn bell(&self) -> &UnixStream {
        &self.bell
    }

    /// The events since the last call, and how many more found no room.
    #[must_use]
    pub fn events(&self) -> (Vec<QueryEvent>, u64) {
        event::silence(&self.bell);
        locked(&self.shared.events).take()
    }

    /// The names that led to `address`, whether they still open it or not.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> BTreeSet<String> {
        locked(&self.shared.grants).names(address)
    }

    /// Whether `address` lies inside the host or its network, and a name led there that is not the administrator's: a name
    /// alone does not open it.
    #[must_use]
    pub fn leads_inside(&self, address: IpAddr) -> bool {
        locked(&self.shared.grants).is_inside(address)
    }

    /// Ends it: what is open stays open until it expires.
    pub fn stop(self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        serve::wake(&self.wake, &self.addresses, self.threads.len());
        for thread in self.threads {
            // A thread that panicked has said so already.
            thread.join().ok();
        }
    }
}

/// The lock, whoever panicked under it: what it guards is good after every step.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
