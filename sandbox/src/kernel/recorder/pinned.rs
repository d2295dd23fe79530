//! The programs that record, loaded once: pinned like those that judge, shared by all recordings.
//!
//! Those on hooks stay attached: they ask one number where nothing is recorded. Those on tracepoints would cost every system
//! call of the host, so they are attached while a recording stands, by whoever comes first, and taken off by whoever goes
//! last. A recorder that was killed is collected by the next run of any kind.

use std::{
    fs::{self, File},
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
};

use aya::maps::{self, MapData};
use nix::fcntl::{Flock, FlockArg};
use ringfence_abi::{
    limits::RECORDINGS,
    record::{AT_EXEC, BY_CGROUP, BY_ONE, Known},
};

use super::{
    load,
    own::{Own, Standing},
    read::WORDS,
    way::Way,
};
use crate::kernel::{
    Error, collect as collecting,
    engine::{self, open},
    fence::absent_is_fine,
    memory,
    pins::{self, Pins, STATE},
};

/// The maps that recordings share, and a place among them.
pub(super) struct Place {
    pub(super) pins: Pins,
    /// The number of the recording.
    pub(super) number: u32,
    pub(super) shared: Shared,
    /// Whether the programs were not there.
    pub(super) loaded_now: bool,
    record: PathBuf,
    standing: Standing,
    /// Says that the recorder is alive.
    _alive: Flock<File>,
}

/// The maps that recordings share.
pub(super) struct Shared {
    pub(super) recordings: maps::Array<MapData, [u64; WORDS]>,
    pub(super) recorded: maps::HashMap<MapData, u64, u32>,
    by: maps::Array<MapData, [u64; 2]>,
    pub(super) tasks: maps::HashMap<MapData, u32, u32>,
    seen: maps::HashOfMaps<MapData, u32>,
    records: maps::HashOfMaps<MapData, u32>,
}

impl Shared {
    fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            recordings: open(pins, "RECORDINGS")?,
            recorded: open(pins, "RECORDED")?,
            by: open(pins, "RECORDED_BY")?,
            tasks: open(pins, "RECORDED_TASKS")?,
            seen: open(pins, "SEEN")?,
            records: open(pins, "RECORDS")?,
        })
    }

    /// How the recordings that stand know their tasks.
    fn known(&self) -> Result<Known, Error> {
        let [first, cgroup] = self
            .by
            .get(&0, 0)
            .map_err(|error| Error::map("read", "RECORDED_BY", error))?;
        let [by, number] = halves(first);
        Ok(Known { by, number, cgroup })
    }

    /// The caller has its turn.
    fn set_known(&mut self, known: Known) -> Result<(), Error> {
        let first = of_halves([known.by, known.number]);
        self.by
            .set(0, [first, known.cgroup], 0)
            .map_err(|error| Error::map("write", "RECORDED_BY", error))
    }

    /// Lets go of the tasks of a recording.
    pub(super) fn stop(&mut self, number: u32) -> Result<(), Error> {
        let known = self.known()?;
        if known.by & BY_ONE != 0 && known.number == number {
            // The number stays: who has read the word before takes nothing for another's.
            self.set_known(Known {
                by: known.by & !BY_ONE,
                cgroup: 0,
                ..known
            })?;
        }
        let cgroups: Vec<u64> = of(&self.recorded, number);
        for cgroup in cgroups {
            absent_is_fine("RECORDED", self.recorded.remove(&cgroup))?;
        }
        let tasks: Vec<u32> = of(&self.tasks, number);
        for task in tasks {
            absent_is_fine("RECORDED_TASKS", self.tasks.remove(&task))?;
        }
        Ok(())
    }

    /// Removes every entry of a recording; entries that are not there are fine.
    fn forget(&mut self, number: u32) -> Result<(), Error> {
        self.stop(number)?;
        let (seen, records) = (&mut self.seen, &mut self.records);
        let (seen, records) = both(|| seen.remove(&number), || records.remove(&number));
        absent_is_fine("SEEN", seen)?;
        absent_is_fine("RECORDS", records)
    }
}

/// The two halves of a word as it lies in memory.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}

fn of_halves([first, second]: [u32; 2]) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The keys of this recording.
fn of<K: aya::Pod>(map: &maps::HashMap<MapData, K, u32>, number: u32) -> Vec<K> {
    let entries = map.iter().flatten();
    entries
        .filter(|(_, found)| found & !AT_EXEC == number)
        .map(|(key, _)| key)
        .collect()
}

impl Place {
    /// Finds the programs of an earlier recording, or loads and pins them; then takes a number, makes the maps of this recording and
    /// attaches what is on tracepoints. Optional ones that there are not are named.
    pub(super) fn take(way: Way) -> Result<(Self, Own, Vec<&'static str>), Error> {
        let (pins, _turn) = Pins::open(&way.digest())?;
        let loaded_now = !pins.is_complete();
        if loaded_now {
            pins::remove(&pins.version)?;
            if let Err(error) = memory::shortly(|| load::load(&pins, way)) {
                pins::remove(&pins.version)?;
                return Err(error);
            }
            let complete = pins.complete();
            fs::create_dir(&complete).map_err(|error| Error::state(&complete, error))?;
            collecting::unused_versions(&pins)?;
        }
        let mut shared = Shared::open(&pins)?;
        leftovers(&pins, &mut shared)?;
        let (number, record, alive) = reserve(&pins)?;
        let mut place = Self {
            pins,
            number,
            shared,
            loaded_now,
            record,
            standing: Standing::default(),
            _alive: alive,
        };
        match place.furnish(way) {
            Ok((own, missing)) => Ok((place, own, missing)),
            Err(error) => {
                place.give_back()?;
                Err(error)
            }
        }
    }

    /// Makes the maps of this recording, and attaches what it needs.
    fn furnish(&mut self, way: Way) -> Result<(Own, Vec<&'static str>), Error> {
        let own = Own::create()?;
        self.standing = Standing::of(&self.pins, self.number, &own)?;
        Ok((own, self.attach(way, false)?))
    }

    /// Attaches what is on tracepoints, unless another recording has: what every recording needs, or what follows tasks. The caller
    /// has its turn.
    pub(super) fn attach(&self, way: Way, follows: bool) -> Result<Vec<&'static str>, Error> {
        let mut missing = Vec::new();
        let wanted = way.tracepoints().iter();
        for one in wanted.filter(|one| one.follows == follows) {
            match load::attach(&self.pins, one) {
                Ok(()) => {}
                Err(_) if !one.required => missing.push(one.name),
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Says that a recording knows its tasks in this way. The caller has its turn.
    pub(super) fn known_by(&mut self, bit: u32) -> Result<(), Error> {
        let known = self.shared.known()?;
        self.shared.set_known(Known {
            by: known.by | bit,
            ..known
        })
    }

    /// Records the tasks of this cgroup: the first recording that does is not looked up. The caller has its turn.
    pub(super) fn known_by_cgroup(&mut self, cgroup: u64) -> Result<(), Error> {
        let known = self.shared.known()?;
        let known = if known.by & BY_ONE == 0 {
            Known {
                by: known.by | BY_ONE,
                number: self.number,
                cgroup,
            }
        } else {
            Known {
                by: known.by | BY_CGROUP,
                ..known
            }
        };
        self.shared
            .recorded
            .insert(cgroup, self.number, 0)
            .map_err(|error| Error::map("write", "RECORDED", engine::spell(&error)))?;
        self.shared.set_known(known)
    }

    /// Forgets the recording. The caller has its turn.
    pub(super) fn give_back(&mut self) -> Result<(), Error> {
        self.standing.end();
        self.shared.forget(self.number)?;
        fs::remove_file(&self.record).map_err(|error| Error::state(&self.record, error))?;
        rest(&self.pins, &mut self.shared)
    }
}

/// Both at once: the kernel takes its time to make a large map, and waits for a grace period whenever a map of maps changes.
pub(super) fn both<One: Send, Other: Send>(
    one: impl FnOnce() -> One + Send,
    other: impl FnOnce() -> Other,
) -> (One, Other) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (
            one.join().unwrap_or_else(|panic| resume_unwind(panic)),
            other,
        )
    })
}

fn reserve(pins: &Pins) -> Result<(u32, PathBuf, Flock<File>), Error> {
    for number in 0..RECORDINGS {
        let path = pins.fences.join(number.to_string());
        let state = |error| Error::state(&path, error);
        if path.exists() {
            continue;
        }
        let file = File::create_new(&path).map_err(state)?;
        let alive = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| Error::state(&path, error.into()))?;
        return Ok((number, path, alive));
    }
    Err(Error::Recording(format!(
        "there are {RECORDINGS} recordings already, which is all that there is room for"
    )))
}

/// Forgets the recordings of every way whose recorder is gone. The caller has its turn.
pub(in crate::kernel) fn collect() -> Result<(), Error> {
    for way in Way::ALL {
        let fences = Path::new(STATE).join("fences").join(way.digest());
        let is_empty = |mut listing: fs::ReadDir| listing.next().is_none();
        if fs::read_dir(&fences).map_or(true, is_empty) {
            continue;
        }
        let pins = Pins::of(&way.digest());
        // Programs that were removed have taken everything with them.
        if pins.is_complete() {
            leftovers(&pins, &mut Shared::open(&pins)?)?;
        }
    }
    Ok(())
}

fn leftovers(pins: &Pins, shared: &mut Shared) -> Result<(), Error> {
    let unreadable = |error| Error::state(&pins.fences, error);
    for entry in fs::read_dir(&pins.fences).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(number) = name.and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if collecting::is_held(&path)? {
            continue;
        }
        shared.forget(number)?;
        fs::remove_file(&path).map_err(|error| Error::state(&path, error))?;
    }
    rest(pins, shared)
}

/// Takes the programs off the tracepoints where no recording stands any more.
fn rest(pins: &Pins, shared: &mut Shared) -> Result<(), Error> {
    let unreadable = |error| Error::state(&pins.fences, error);
    let mut standing = fs::read_dir(&pins.fences).map_err(unreadable)?;
    if standing.next().is_some() {
        return Ok(());
    }
    let number = shared.known()?.number;
    shared.set_known(Known {
        number,
        ..Known::default()
    })?;
    for one in Way::ALL.iter().flat_map(|way| way.tracepoints()) {
        let link = pins.link(one.name);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::state(link, error));
            }
            _ => {}
        }
    }
    Ok(())
}
