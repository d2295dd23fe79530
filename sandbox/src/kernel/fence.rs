//! One fence in the maps.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use aya_obj::generated::bpf_map_type;
use nix::fcntl::{Flock, FlockArg};
use ringfence_abi::{
    limits::{EVENT_RING_BYTES, FENCES},
    network::Resolver,
    policy::{LARGE_WORDS, Label, MEDIUM_WORDS, SMALL_WORDS},
};

use super::{
    Cgroup, Engine, Error, Events, Grants,
    attach::{self, OnCgroup, Purpose},
    collect,
    engine::Role,
    misses, names,
    pins::Pins,
    register, slots,
    table::{self, Table},
    traffic::{self, Traffic},
};
use crate::policy::{Mode, Policy};

pub(super) const NAMES: [&str; 3] = ["TABLES_SMALL", "TABLES_MEDIUM", "TABLES_LARGE"];
pub(super) const SIZES: [usize; 3] = [SMALL_WORDS, MEDIUM_WORDS, LARGE_WORDS];

/// One policy in the kernel, with the cgroup whose tasks it holds. Dropping it leaves it standing: [`Fence::remove`]
/// takes it down, and what is not taken down is collected by a later run once its tasks are gone.
pub struct Fence {
    /// Identifier, never 0.
    pub id: u32,
    pub(super) cgroup: Cgroup,
    /// Of its tables: at large first, then of its programs. Labels of tasks name them, so they stay.
    pub(super) classes: Vec<u8>,
    /// Whether the programs that redirect are on its cgroup.
    redirects: bool,
    /// The programs on its cgroup, apart from what counts.
    attached: Vec<OnCgroup>,
    pub(super) record: PathBuf,
    events: Option<Events>,
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
    /// Packets that the net below the hooks held back.
    pub dropped: u64,
    /// Runs of the programs that the kernel has left out since they were loaded, in this fence or another: acts that nobody
    /// judged.
    pub missed: u64,
}

impl Fence {
    pub(super) fn install(
        engine: &mut Engine,
        policy: &Policy,
        cgroup: &Cgroup,
    ) -> Result<Self, Error> {
        let tables = match engine.role {
            Role::Judge => table::all_of(policy)?,
            Role::Watch => table::of_the_network(policy)?,
        };
        let is_reached = is_reached(policy);
        if is_reached && engine.role == Role::Judge && !engine.has_network() {
            return Err(attach::missing(&engine.pins, Purpose::Judging));
        }
        let (id, alive, record) = reserve(engine, cgroup)?;
        let mut fence = Self {
            id,
            cgroup: cgroup.clone(),
            classes: tables.iter().map(|table| table.size_class).collect(),
            redirects: false,
            attached: Vec::new(),
            record,
            events: None,
            _alive: alive,
        };
        let has_network = engine.has_network();
        let filled = fence
            .set_tables(engine, &tables)
            .and_then(|()| match has_network {
                true => fence.attach(engine, policy),
                false => Ok(()),
            })
            .and_then(|()| fence.open_gate(engine));
        match filled {
            Ok(()) => Ok(fence),
            Err(error) => {
                fence.take_down(engine)?;
                Err(error)
            }
        }
    }

    /// The programs on the cgroup.
    fn attach(&mut self, engine: &mut Engine, policy: &Policy) -> Result<(), Error> {
        let most = attach::most(engine.role, policy);
        // As `attach::needed` has it.
        self.redirects = most.mode == Mode::Audit || most.reaches && !most.is_off();
        self.attached = attach::needed(engine.role, policy);
        let label = self.label();
        attach::attach(
            &engine.pins,
            &mut engine.maps,
            &self.attached,
            &self.cgroup,
            label,
        )
    }

    /// The compiled policies: of the fence at large first, then of each program by its number.
    fn set_tables(&self, engine: &mut Engine, tables: &[Table]) -> Result<(), Error> {
        for (program, table) in (0..).zip(tables) {
            slots::fill(&engine.pins, &mut engine.maps, (self.id, program), table)?;
        }
        Ok(())
    }

    /// The event stream, and last the cgroup: from then on tasks are enrolled.
    fn open_gate(&mut self, engine: &mut Engine) -> Result<(), Error> {
        let maps = &mut engine.maps;
        self.events = Some(slots::stream(&engine.pins, maps, self.id)?);
        maps.cgroups
            .insert(self.cgroup.id, self.label(), 0)
            .map_err(|error| Error::map("write", "CGROUPS", spell(&error)))
    }

    /// The label of its tasks outside of every program.
    fn label(&self) -> [u8; 8] {
        let class = self.classes.first().copied().unwrap_or(0);
        label(Label::new(self.id, class))
    }

    /// The fence's denials, to be read by one reader.
    ///
    /// `None` the second time.
    pub fn events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// The fence's counters.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn totals(&self, engine: &Engine) -> Result<Totals, Error> {
        let [denied, audited, lost, errors, tasks, dropped] = engine
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
            dropped,
            // A watching program that is left out tells less, and lets nothing through.
            missed: match engine.role {
                Role::Judge if !engine.pins.unguarded().exists() => {
                    misses::count(&engine.pins.version)?
                }
                Role::Judge | Role::Watch => 0,
            },
        })
    }

    /// Counts what passes between the fence and its peers, from here on: before the command runs.
    ///
    /// # Errors
    /// Where the programs are not in place, or a map cannot be written.
    pub fn count_traffic(&self, engine: &mut Engine) -> Result<(), Error> {
        if !attach::is_loaded(&engine.pins, engine.role, Purpose::Counting) {
            return Err(attach::missing(&engine.pins, Purpose::Counting));
        }
        engine
            .maps
            .traffic
            .insert(traffic::rest(self.id), [0; 3], 0)
            .map_err(|error| Error::map("write", "TRAFFIC", error))?;
        let label = self.label();
        attach::attach_counting(&engine.pins, &mut engine.maps, &self.cgroup, label)
    }

    /// Has Unix sockets judged by the addresses that calls pass: abstract names by the rules, and paths by nobody but who stands in the
    /// cgroup `supervisor`, which judges them. From here on, and before the command runs.
    ///
    /// # Errors
    /// Where the programs are not in place, or a map cannot be written.
    pub fn judge_unix(&self, engine: &mut Engine, supervisor: Option<u64>) -> Result<(), Error> {
        engine.has_unix()?;
        if let Some(supervisor) = supervisor {
            engine
                .maps
                .connectors
                .insert(self.id, supervisor, 0)
                .map_err(|error| Error::map("write", "CONNECTORS", spell(&error)))?;
        }
        let label = self.label();
        attach::attach_unix(&engine.pins, &mut engine.maps, &self.cgroup, label)
    }

    /// What has passed since [`Fence::count_traffic`].
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn traffic(&self, engine: &Engine) -> Result<Vec<Traffic>, Error> {
        traffic::of_fence(&engine.maps.traffic, self.id)
    }

    /// Takes the fence down. Its tasks must be gone: one that is left is denied everything from here on.
    ///
    /// # Errors
    /// Where a map cannot be written; a later run collects what is left.
    pub fn remove(self, engine: &mut Engine) -> Result<(), Error> {
        self.take_down(engine)
    }

    /// What lets the fence reach addresses by the names that led there.
    ///
    /// # Errors
    /// Where the map cannot be opened.
    pub fn grants(&self, engine: &Engine) -> Result<Grants, Error> {
        Grants::open(&engine.pins, self.id)
    }

    /// Sends the fence's name queries to `resolver`, wherever they were going: from here on, and before the command runs.
    ///
    /// # Errors
    /// Where the programs that redirect are not in place, or the map cannot be written.
    pub fn set_resolver(&self, engine: &mut Engine, resolver: Resolver) -> Result<(), Error> {
        if !self.redirects {
            return Err(attach::missing(&engine.pins, Purpose::Judging));
        }
        engine
            .maps
            .resolvers
            .insert(self.id, resolver_bytes(&resolver), 0)
            .map_err(|error| Error::map("write", "RESOLVERS", spell(&error)))
    }

    /// The record goes last: until then nobody else can take the identifier.
    pub(super) fn take_down(&self, engine: &mut Engine) -> Result<(), Error> {
        register::forget(&self.record, Some(self.cgroup.id))?;
        let pins: &Pins = &engine.pins;
        attach::detach(pins, &mut engine.maps, &self.attached, &self.cgroup)?;
        let filled = Filled {
            classes: &self.classes,
            had_peers: self.redirects,
        };
        forget(engine, self.id, Some(self.cgroup.id), Some(filled))?;
        fs::remove_file(&self.record).map_err(|error| Error::state(&self.record, error))
    }
}

/// In the field order of [`Resolver`].
pub(super) fn resolver_bytes(resolver: &Resolver) -> [u8; size_of::<Resolver>()] {
    let mut bytes = [0; size_of::<Resolver>()];
    bytes[..4].copy_from_slice(&resolver.address4);
    bytes[4..20].copy_from_slice(&resolver.address6);
    bytes[20..22].copy_from_slice(&resolver.port.to_ne_bytes());
    bytes
}

/// Whether any policy of the fence has a rule about an address or a host.
fn is_reached(policy: &Policy) -> bool {
    let programs = policy.programs.iter().map(|program| &program.network);
    programs
        .chain([&policy.network])
        .any(|network| network.reaches)
}

/// What a fence can have left in the maps. Elsewhere nothing has to be searched.
#[derive(Clone, Copy)]
pub(super) struct Filled<'a> {
    /// Classes of its tables.
    classes: &'a [u8],
    /// Whether programs that know names and peers were on its cgroup.
    had_peers: bool,
}

/// Removes every entry of a fence; entries that are not there are fine. Without `filled` it is not known what there can be. The counters
/// stay, for they tell whether a task is left.
pub(super) fn forget(
    engine: &mut Engine,
    id: u32,
    cgroup: Option<u64>,
    filled: Option<Filled<'_>>,
) -> Result<(), Error> {
    let maps = &mut engine.maps;
    if let Some(cgroup) = cgroup {
        absent_is_fine("CGROUPS", maps.cgroups.remove(&cgroup))?;
    }
    match filled {
        Some(filled) => slots::leave_own(&engine.pins, maps, id, filled.classes)?,
        None => slots::leave(&engine.pins, maps, id)?,
    }
    absent_is_fine("RESOLVERS", maps.resolvers.remove(&id))?;
    absent_is_fine("CONNECTORS", maps.connectors.remove(&id))?;
    if filled.is_none_or(|filled| filled.had_peers) {
        names::forget(&mut maps.names, id)?;
        names::forget_flows(&mut maps.flows, id)?;
    }
    traffic::forget(&mut maps.traffic, id)
}

pub(super) fn absent_is_fine(
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
/// the fence has. One of which a task is left is not free: a task is forgotten a moment after its end.
fn reserve(engine: &mut Engine, cgroup: &Cgroup) -> Result<(u32, Flock<File>, PathBuf), Error> {
    if let Some(reserved) = reserve_free(engine, cgroup)? {
        return Ok(reserved);
    }
    collect::leftovers(engine)?;
    reserve_free(engine, cgroup)?.ok_or(Error::TooMany(FENCES))
}

fn reserve_free(
    engine: &mut Engine,
    cgroup: &Cgroup,
) -> Result<Option<(u32, Flock<File>, PathBuf)>, Error> {
    // Nobody else makes a record in this turn, and one that nobody holds may be of a fence that stands.
    let taken: HashSet<u32> = collect::records(engine)?.into_iter().collect();
    // The lowest: its maps may have stayed, and counters are kept for no more numbers than there were fences at a time.
    for id in (1..=FENCES).filter(|id| !taken.contains(id)) {
        match engine.maps.counters.get(&id, 0) {
            Ok([.., tasks, _]) if tasks != 0 => continue,
            Ok(_) | Err(aya::maps::MapError::KeyNotFound) => {}
            Err(error) => return Err(Error::map("read", "COUNTERS", spell(&error))),
        }
        let path = engine.pins.fences.join(id.to_string());
        let state = |error| Error::state(&path, error);
        let alive = recorded(&path, cgroup).map_err(state)?;
        if let Err(error) = engine.maps.counters.insert(id, [0; 6], 0) {
            fs::remove_file(&path).map_err(state)?;
            return Err(Error::map("write", "COUNTERS", spell(&error)));
        }
        return Ok(Some((id, alive, path)));
    }
    Ok(None)
}

/// Writes a record and locks it.
fn recorded(path: &Path, cgroup: &Cgroup) -> io::Result<Flock<File>> {
    let file = File::options().create_new(true).write(true).open(path)?;
    let mut alive =
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    let mut text = format!("{}\n", cgroup.id).into_bytes();
    text.extend(cgroup.directory.as_os_str().as_bytes());
    if let Err(error) = alive.write_all(&text) {
        // Without its cgroup it would be collected while the fence stands.
        fs::remove_file(path)?;
        return Err(error);
    }
    Ok(alive)
}

/// A label as the map holds it, in the order of its fields.
fn label(label: Label) -> [u8; 8] {
    let [a, b, c, d] = label.fence.to_ne_bytes();
    [
        a,
        b,
        c,
        d,
        label.program,
        label.size_class,
        label.next_program,
        label.next_size_class,
    ]
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

pub(super) fn ring() -> Result<MapData, aya::maps::MapError> {
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
pub(super) fn spell(error: &aya::maps::MapError) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
