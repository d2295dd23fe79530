//! Recording what a command does, for `learn`: programs that all recordings share, and maps that are each one's own.

mod load;
mod network;
mod own;
mod pace;
mod pinned;
mod read;
mod tasks;
mod way;

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use aya::{
    maps::{Map, MapData, RingBuf},
    programs::CgroupSockAddr,
};
use ringfence_abi::{limits::SYSTEM_CALLS, record::Seen};

use self::{
    pace::Pace,
    pinned::Place,
    read::{BEFORE_TALLY, TOKEN, Told, WORDS, decode, numbers, seen_of},
    way::Way,
};
use super::{
    Error, Host, engine, misses,
    pins::{self, Pins},
    reader::Reader,
};
use crate::trace::{Act, Tally};

pub(super) use own::{ring, seen};
pub(super) use pinned::collect;

/// What the names of the programs that record begin with.
pub(super) const PREFIX: &str = "record_";
/// Maps that only recordings need, and how small they may be elsewhere.
pub(super) const OWN_MAPS: [(&str, u32); 3] =
    [("EXECUTING", 1), ("RECORDED", 1), ("RECORDED_TASKS", 1)];

/// One recording. Dropped, it is over.
pub struct Recorder {
    way: Way,
    /// Dropped first: nothing is told after that.
    on_cgroups: Vec<CgroupSockAddr>,
    place: Place,
    /// The entry of this recording as it was before it began.
    entry: [u64; WORDS],
    ring: RingBuf<MapData>,
    pace: Pace,
    told: Told,
    sees_capabilities: bool,
    refusal: Option<String>,
    missed_before: Missed,
}

/// Runs of the programs that the kernel has left out, for every task of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missed {
    acts: u64,
    /// Of those that only list system calls.
    listed: u64,
}

/// The version of the programs on hooks.
pub(super) fn digest_by_hooks() -> String {
    Way::Hooks.digest()
}

impl Recorder {
    /// Loads what a recording needs, so that the first one need not; whether it was not there.
    ///
    /// # Errors
    /// As [`Recorder::open`].
    pub fn load() -> Result<bool, Error> {
        Self::open().map(|recorder| recorder.place.loaded_now)
    }

    /// Finds or loads the best that there is here: the hooks that a fence judges at, else system calls.
    ///
    /// # Errors
    /// Where the kernel or the user cannot have either, with the reason.
    pub fn open() -> Result<Self, Error> {
        let host = Host::probe();
        if !host.privileged {
            return Err(Error::Recording("it needs root".to_owned()));
        }
        let by_hooks = || engine::unless_refused(&digest_by_hooks(), || Self::of(Way::Hooks));
        let refusal = match host.obstacle() {
            Some((reason, _)) => reason,
            None => match by_hooks() {
                // Some kernels list `bpf` among their security modules and refuse to load for it.
                Err(error) if error.is_refusal() => error.to_string(),
                Err(Error::Unavailable(reason)) => reason,
                other => return other,
            },
        };
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::Recording(
                "the numbers of system calls are known for x86-64 only".to_owned(),
            ));
        }
        let mut recorder = Self::of(Way::Calls)?;
        recorder.refusal = Some(refusal);
        Ok(recorder)
    }

    fn of(way: Way) -> Result<Self, Error> {
        let (place, own, missing) = Place::take(way)?;
        let opened = |name, error: aya::maps::MapError| Error::map("open", name, error);
        let ring =
            RingBuf::try_from(Map::RingBuf(own.ring)).map_err(|error| opened("RECORDS", error))?;
        // SAFETY: the ring buffer owns the descriptor and outlives the borrow.
        let stream = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        let pace = Pace::of(stream).map_err(|error| Error::map("wait for", "RECORDS", error))?;
        let told = Told::try_from(Map::HashMap(own.seen)).map_err(|error| opened("SEEN", error))?;
        let mut entry = [0; WORDS];
        entry[0] = u64::from(place.number);
        entry[TOKEN] = RandomState::new().hash_one(place.number) | 1;
        let mut recorder = Self {
            way,
            on_cgroups: Vec::new(),
            place,
            entry,
            ring,
            pace,
            told,
            sees_capabilities: missing.is_empty(),
            refusal: None,
            missed_before: Missed::default(),
        };
        recorder.write_entry()?;
        recorder.missed_before = recorder.missed()?;
        Ok(recorder)
    }

    /// Writes the entry of a recording that has not begun.
    fn write_entry(&mut self) -> Result<(), Error> {
        self.place
            .shared
            .recordings
            .set(self.place.number, self.entry, 0)
            .map_err(|error| Error::map("write", "RECORDINGS", error))
    }

    /// How it records, in a word for the trace.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.way {
            Way::Hooks => "hooks",
            Way::Calls => "system-calls",
        }
    }

    /// Why it does not record at the hooks that a fence judges at.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Whether a capability that was asked for is known to be needed: a question of the kernel's own is told apart.
    #[must_use]
    pub fn tells_questions_apart(&self) -> bool {
        self.way == Way::Hooks
    }

    /// Whether the use of capabilities is seen.
    #[must_use]
    pub fn sees_capabilities(&self) -> bool {
        self.sees_capabilities
    }

    /// Records the tasks of this cgroup, from its first exec on.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn begin(&mut self, cgroup: u64) -> Result<(), Error> {
        let _turn = Pins::turn()?;
        self.place.known_by_cgroup(cgroup)
    }

    /// Ends the recording: nothing is told after that.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn end(&mut self) -> Result<(), Error> {
        self.on_cgroups.clear();
        self.place.shared.stop(self.place.number)
    }

    /// How much has been lost until now, as far as it is counted at once.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        let words = self.place.shared.recordings.get(&self.place.number, 0);
        let words = words.ok()?;
        Some(words[BEFORE_TALLY] + words[BEFORE_TALLY + 2])
    }

    /// The reader looks at what has been told: only what is told after this makes the descriptor readable again. It is readable now and then,
    /// and at once after acts that have to be made sense of right away.
    pub fn look(&self) {
        self.pace.look();
    }

    /// The next act, if there is one. `Err` is a record that does not make sense, with its length.
    pub fn next_act(&mut self) -> Option<Result<Act, usize>> {
        let record = self.ring.next()?;
        Some(decode(&record).ok_or(record.len()))
    }

    /// How often each act was done.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counts(&self) -> Result<HashMap<Seen, u64>, Error> {
        let mut counts = HashMap::new();
        for entry in self.told.iter() {
            let (seen, count) = entry.map_err(|error| Error::map("read", "SEEN", error))?;
            if let Some(seen) = seen_of(&mut Reader(&seen)) {
                counts.insert(seen, count);
            }
        }
        Ok(counts)
    }

    /// What was only counted.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn tally(&self) -> Result<Tally, Error> {
        let words = self
            .place
            .shared
            .recordings
            .get(&self.place.number, 0)
            .map_err(|error| Error::map("read", "RECORDINGS", error))?;
        let [
            lost,
            _again,
            unread,
            foreign,
            unfollowed,
            capabilities,
            calls @ ..,
        ] = &words[BEFORE_TALLY..]
        else {
            return Err(Error::map("read", "RECORDINGS", "it has another size"));
        };
        let (made, succeeded) = calls.split_at(SYSTEM_CALLS / 64);
        let missed = self.missed()?;
        Ok(Tally {
            lost: *lost,
            unread: *unread,
            foreign: *foreign,
            unfollowed: *unfollowed,
            missed: missed.acts - self.missed_before.acts,
            unlisted: missed.listed - self.missed_before.listed,
            capabilities: *capabilities,
            made: numbers(made),
            succeeded: numbers(succeeded),
        })
    }

    fn missed(&self) -> Result<Missed, Error> {
        let pins = &self.place.pins;
        let mut missed = Missed::default();
        let unreadable = |error| Error::state(&pins.version, error);
        for entry in std::fs::read_dir(&pins.version).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let Some(name) = pins::program_at(&path) else {
                continue;
            };
            let count = misses::of_pinned(&path)?;
            if self.way.only_lists(name) {
                missed.listed += count;
            } else {
                missed.acts += count;
            }
        }
        Ok(missed)
    }
}

impl AsFd for Recorder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pace.as_fd()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.on_cgroups.clear();
        // Nobody is left to be told: what stays is collected by the next run.
        if let Ok(_turn) = Pins::turn() {
            self.place.give_back().ok();
        }
    }
}

fn refused(hook: &str, reason: String) -> Error {
    Error::Program {
        hook: hook.to_owned(),
        reason,
    }
}
