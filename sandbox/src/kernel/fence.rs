//! One fence in the maps.

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    path::PathBuf,
};

use aya::maps::{Map, MapData, RingBuf};
use aya_obj::generated::bpf_map_type;
use nix::fcntl::{Flock, FlockArg};
use ringfence_abi::{
    automaton,
    limits::{EVENT_RING_BYTES, FENCES},
    policy::{Header, LARGE_WORDS, MEDIUM_WORDS, MODE_AUDIT, MODE_ENFORCE, MODE_OFF, SMALL_WORDS},
};

use super::{
    Engine, Error, Events,
    engine::{Maps, Role},
    map,
};
use crate::policy::{Automaton, Mode, NetworkPolicy, Policy};

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h).
const NO_EXIST: u64 = 1;
pub(super) const NAMES: [&str; 3] = ["TABLES_SMALL", "TABLES_MEDIUM", "TABLES_LARGE"];
pub(super) const SIZES: [usize; 3] = [SMALL_WORDS, MEDIUM_WORDS, LARGE_WORDS];

/// One policy in the kernel, with the cgroup whose tasks it holds. Dropping it leaves it standing: [`Fence::remove`]
/// takes it down, and what is not taken down is collected by a later run once its tasks are gone.
pub struct Fence {
    /// Identifier, never 0.
    pub id: u32,
    cgroup: u64,
    size_class: usize,
    record: PathBuf,
    events: Option<RingBuf<MapData>>,
    _alive: Flock<File>,
}

/// Counters of a fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Acts denied.
    pub denied: u64,
    /// Acts that would have been denied but for audit mode.
    pub audited: u64,
    /// Events that found no room.
    pub lost: u64,
    /// Denials for an error of the fence itself.
    pub errors: u64,
    /// Tasks inside now.
    pub tasks: u64,
}

impl Fence {
    pub(super) fn install(
        engine: &mut Engine,
        policy: &Policy,
        cgroup: u64,
    ) -> Result<Self, Error> {
        let automaton = &policy.files.automaton;
        let size_class = match engine.role {
            Role::Judge => size_class(automaton.words.len())?,
            Role::Watch => 0,
        };
        verify(automaton)?;
        let (id, alive, record) = reserve(engine, cgroup)?;
        let mut fence = Self {
            id,
            cgroup,
            size_class,
            record,
            events: None,
            _alive: alive,
        };
        let filled = match engine.role {
            Role::Judge => fence
                .set_table(&mut engine.maps, policy)
                .and_then(|()| fence.open_gate(&mut engine.maps)),
            Role::Watch => fence.open_gate(&mut engine.maps),
        };
        match filled {
            Ok(()) => Ok(fence),
            Err(error) => {
                fence.take_down(&mut engine.maps)?;
                Err(error)
            }
        }
    }

    /// The compiled policy.
    fn set_table(&self, maps: &mut Maps, policy: &Policy) -> Result<(), Error> {
        let name = NAMES[self.size_class];
        let value = encode(policy, SIZES[self.size_class]);
        let table = array(value.len()).map_err(|error| Error::map("create", name, error))?;
        map::write_only_element(table.fd().as_fd(), value.len(), &value)
            .map_err(|error| Error::map("fill", name, error))?;
        maps.tables[self.size_class]
            .insert(self.id, &table, 0)
            .map_err(|error| Error::map("write", name, spell(&error)))
    }

    /// The event stream, and last the cgroup: from then on tasks are enrolled.
    fn open_gate(&mut self, maps: &mut Maps) -> Result<(), Error> {
        let ring = ring().map_err(|error| Error::map("create", "EVENTS", error))?;
        maps.events
            .insert(self.id, &ring, 0)
            .map_err(|error| Error::map("write", "EVENTS", spell(&error)))?;
        let ring = RingBuf::try_from(Map::RingBuf(ring))
            .map_err(|error| Error::map("open", "EVENTS", error))?;
        self.events = Some(ring);
        let class = u32::try_from(self.size_class).unwrap_or(u32::MAX);
        maps.cgroups
            .insert(self.cgroup, [self.id, class], 0)
            .map_err(|error| Error::map("write", "CGROUPS", spell(&error)))
    }

    /// The fence's denials, to be read by one reader.
    ///
    /// `None` the second time.
    pub fn events(&mut self) -> Option<Events> {
        self.events.take().map(Events::new)
    }

    /// The fence's counters.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn totals(&self, engine: &Engine) -> Result<Totals, Error> {
        let [denied, audited, lost, errors, tasks] = engine
            .maps
            .counters
            .get(&self.id, 0)
            .map_err(|error| Error::map("read", "COUNTERS", error))?;
        Ok(Totals {
            denied,
            audited,
            lost,
            errors,
            tasks,
        })
    }

    /// Takes the fence down. Its tasks must be gone: one that is left is denied everything from here on.
    ///
    /// # Errors
    /// Where a map cannot be written; a later run collects what is left.
    pub fn remove(self, engine: &mut Engine) -> Result<(), Error> {
        self.take_down(&mut engine.maps)
    }

    /// The counters go last, after the record: until then nobody else can take the identifier.
    fn take_down(&self, maps: &mut Maps) -> Result<(), Error> {
        fs::remove_file(&self.record).map_err(|error| Error::state(&self.record, error))?;
        forget(maps, self.id, Some(self.cgroup))
    }
}

/// Removes every entry of a fence; entries that are not there are fine.
pub(super) fn forget(maps: &mut Maps, id: u32, cgroup: Option<u64>) -> Result<(), Error> {
    if let Some(cgroup) = cgroup {
        absent_is_fine("CGROUPS", maps.cgroups.remove(&cgroup))?;
    }
    for (table, name) in maps.tables.iter_mut().zip(NAMES) {
        absent_is_fine(name, table.remove(&id))?;
    }
    absent_is_fine("EVENTS", maps.events.remove(&id))?;
    absent_is_fine("COUNTERS", maps.counters.remove(&id))
}

fn absent_is_fine(
    map: &'static str,
    removed: Result<(), aya::maps::MapError>,
) -> Result<(), Error> {
    use aya::maps::MapError::{KeyNotFound, SyscallError};
    match removed {
        Ok(()) | Err(KeyNotFound) => Ok(()),
        Err(SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(Error::map("clear", map, spell(&error))),
    }
}

/// Takes a free identifier and leaves a locked record: its lock says that the supervisor is alive, its text which cgroup
/// the fence has.
fn reserve(engine: &mut Engine, cgroup: u64) -> Result<(u32, Flock<File>, PathBuf), Error> {
    for id in 1..=FENCES {
        match engine.maps.counters.insert(id, [0; 5], NO_EXIST) {
            Ok(()) => {}
            Err(aya::maps::MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::EEXIST) =>
            {
                continue;
            }
            Err(error) => return Err(Error::map("write", "COUNTERS", spell(&error))),
        }
        let path = engine.pins.fences.join(id.to_string());
        let state = |error| Error::state(&path, error);
        fs::write(&path, cgroup.to_string()).map_err(state)?;
        let file = File::open(&path).map_err(state)?;
        let alive = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| Error::state(&path, error.into()))?;
        return Ok((id, alive, path));
    }
    Err(Error::TooMany(FENCES))
}

/// Which of the three table sizes holds this many words.
fn size_class(words: usize) -> Result<usize, Error> {
    SIZES
        .iter()
        .position(|&size| words <= size)
        .ok_or(Error::TooLarge {
            words,
            limit: LARGE_WORDS,
        })
}

/// Checks that no step of a valid state leaves the table: the programs mask indices and do not ask.
fn verify(automaton: &Automaton) -> Result<(), Error> {
    let words = &automaton.words;
    let damaged = |what: &str| Err(Error::Damaged(what.to_owned()));
    let classes = u64::from(automaton.classes.iter().copied().max().unwrap_or(0));
    let mut seen = vec![false; words.len()];
    let mut open = vec![automaton.start, automaton::DEAD];
    while let Some(state) = open.pop() {
        let Some(&word) = words.get(state as usize) else {
            return damaged("a state lies outside the table");
        };
        if std::mem::replace(&mut seen[state as usize], true) {
            continue;
        }
        for class in 0..=classes {
            let class = u8::try_from(class).unwrap_or(u8::MAX);
            let index = usize::try_from(automaton::entry_index(word, class)).unwrap_or(usize::MAX);
            let Some(&entry) = words.get(index) else {
                return damaged("an entry lies outside the table");
            };
            open.push(automaton::next(state, word, entry));
        }
    }
    if automaton::rights_of(words, automaton::DEAD) != 0 {
        return damaged("the dead state has rights");
    }
    Ok(())
}

/// The value of the table's map: header, words, and zeros up to the size of its class.
fn encode(policy: &Policy, size: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(value_bytes(size));
    let automaton = &policy.files.automaton;
    value.extend_from_slice(&automaton.start.to_ne_bytes());
    value.push(match policy.files.mode {
        Mode::Enforce => MODE_ENFORCE,
        Mode::Audit => MODE_AUDIT,
        Mode::Off => MODE_OFF,
    });
    value.push(match policy.network {
        NetworkPolicy::None => MODE_ENFORCE,
        NetworkPolicy::Open => MODE_OFF,
    });
    value.extend_from_slice(&Header::DENY_ALL.reserved);
    value.extend_from_slice(&automaton.classes);
    for word in &automaton.words {
        value.extend_from_slice(&word.to_ne_bytes());
    }
    value.resize(value_bytes(size), 0);
    value
}

/// The bytes of a table's value in a size class.
pub(super) fn value_bytes(words: usize) -> usize {
    size_of::<Header>() + words * size_of::<u64>()
}

/// A table, which is also what the maps of tables take as their template.
pub(super) fn array(value_bytes: usize) -> Result<MapData, aya::maps::MapError> {
    let value_bytes = u32::try_from(value_bytes).unwrap_or(u32::MAX);
    let definition = aya_obj::Map::new_from_params(
        bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
        4,
        value_bytes,
        1,
        0,
    );
    MapData::create(definition, "ringfence_table", None)
}

fn ring() -> Result<MapData, aya::maps::MapError> {
    let definition = aya_obj::Map::new_from_params(
        bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32,
        0,
        0,
        EVENT_RING_BYTES,
        0,
    );
    MapData::create(definition, "ringfence_event", None)
}

/// An error with its causes: aya keeps the system call's error in them.
fn spell(error: &aya::maps::MapError) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_class_is_the_smallest_that_holds_the_table() {
        assert_eq!(size_class(SMALL_WORDS).unwrap(), 0);
        assert_eq!(size_class(SMALL_WORDS + 1).unwrap(), 1);
        assert_eq!(size_class(LARGE_WORDS).unwrap(), 2);
        assert!(matches!(
            size_class(LARGE_WORDS + 1),
            Err(Error::TooLarge { .. })
        ));
    }

    #[test]
    fn a_table_whose_states_lead_out_of_it_is_refused() {
        let mut automaton = Automaton::deny_all();
        assert!(verify(&automaton).is_ok());
        automaton.words[0] = automaton::state_word(1, 0, 7);
        assert!(verify(&automaton).is_err());
        automaton.words[0] = automaton::state_word(90, 0, 0);
        assert!(verify(&automaton).is_err());
        automaton.words = vec![automaton::state_word(0, 5, 0), 0];
        assert!(verify(&automaton).is_err());
    }
}
