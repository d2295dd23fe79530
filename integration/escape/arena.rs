//! What an attacker knows of the place that it is in: an attacker is given every advantage.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::case::World;
use super::system;

/// Where an attack happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arena {
    /// Behind a fence, or in the control without one.
    pub(super) fenced: bool,
    /// Which cases run.
    pub(super) world: World,
    /// Only these, if any are named.
    pub(super) only: Vec<String>,
    /// The folder with `open`, `read`, `closed`.
    pub(super) stage: PathBuf,
    /// Seconds that one case may take.
    pub(super) patience: u64,
    /// How often a race is run.
    pub(super) rounds: u32,
    /// The kernel keeps even root from some acts (`lockdown=`).
    pub(super) lockdown: bool,
    /// The engine keeps programs and maps in a file system of its own.
    pub(super) pinned: bool,
    /// A cgroup2 hierarchy of the machine.
    pub(super) cgroup: PathBuf,
    /// A cgroup in it that is not the fence's.
    pub(super) sibling: PathBuf,
    /// Somebody outside of the same user.
    pub(super) victim: Victim,
    /// The case that runs.
    #[serde(default)]
    pub(super) case: String,
    /// Descriptors that were open at the first instruction.
    #[serde(default)]
    pub(super) inherited: Vec<i32>,
}

/// A task outside, with something of every kind to steal or to break.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Victim {
    /// Its process.
    pub(super) pid: i32,
    /// Where the secret is in its memory.
    pub(super) secret: usize,
    /// A descriptor of its, opened for reading and writing on a closed file.
    pub(super) descriptor: i32,
    /// Its System V objects.
    pub(super) memory: i32,
    pub(super) semaphore: i32,
    pub(super) queue: i32,
    /// Its POSIX queue.
    pub(super) posix_queue: String,
    /// Its ports on the loopback address.
    pub(super) tcp: u16,
    pub(super) udp: u16,
    /// Its abstract names: a stream and a datagram socket.
    pub(super) stream: String,
    pub(super) datagram: String,
}

/// What the victim has in its memory, in its files, and behind its sockets.
pub(super) const SECRET: &str = "SECRET of the victim";

/// Places in the victim's record, behind those of the signals.
pub(super) const CONNECTIONS: usize = 100;
pub(super) const DATAGRAMS: usize = 101;
/// How many places the record has.
pub(super) const PLACES: usize = 128;

impl Arena {
    /// In the case's folder that may be read and written.
    pub(super) fn open(&self, name: &str) -> PathBuf {
        self.stage.join("open").join(&self.case).join(name)
    }

    /// In the case's folder that may be read only: it has `file`, `program`, `folder/file`.
    pub(super) fn read(&self, name: &str) -> PathBuf {
        self.stage.join("read").join(&self.case).join(name)
    }

    /// In the case's folder that is closed: it has `secret`, `folder/secret`, `link`.
    pub(super) fn closed(&self, name: &str) -> PathBuf {
        self.stage.join("closed").join(&self.case).join(name)
    }

    /// Below /proc of the victim.
    pub(super) fn of_victim(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.victim.pid))
    }

    /// How often something has happened to the victim: a signal by its number, or one of the places above.
    pub(super) fn seen_by_victim(&self, place: usize) -> io::Result<u32> {
        let record = system::open(self.stage.join("read/record"), libc::O_RDONLY)?;
        let mut bytes = [0; 4];
        system::call(
            libc::SYS_pread64,
            &[
                (&record).into(),
                (&mut bytes[..]).into(),
                4.into(),
                (place * 4).into(),
            ],
        )?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// Waits a moment for the victim to see more than before.
    pub(super) fn reached_victim(&self, place: usize, before: u32) -> io::Result<bool> {
        for _ in 0..40 {
            if self.seen_by_victim(place)? != before {
                return Ok(true);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(false)
    }
}
