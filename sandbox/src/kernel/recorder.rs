//! Recording what a command does, for `learn`: programs and maps of this process alone, gone when it ends.
//!
//! Nothing is pinned: a recording costs every task of the host a look-up at each system call while it lasts.

use std::{
    collections::HashMap,
    fs,
    hash::{BuildHasher as _, RandomState},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    process,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{self, MapData, RingBuf},
    programs::Program,
};
use ringfence_abi::{
    limits::SYSTEM_CALLS,
    record::{Act as Header, Seen},
};

use super::{
    Error, Host,
    engine::{self, OBJECT, YOUNGER_HOOKS},
    layout::Kernel,
    misses,
    pins::{self, Pins},
    reader::Reader,
};
use crate::trace::{Act, Tally};

/// What the names of the programs that record begin with.
pub(super) const PREFIX: &str = "record_";
/// Maps that only a recording needs, and how small they may be elsewhere.
pub(super) const MAPS: [(&str, u32); 4] = [
    ("SEEN", 1),
    ("EXECUTING", 1),
    ("RECORDED", 1),
    ("RECORDS", 4096),
];
const SEEN_BYTES: usize = size_of::<Seen>();
const WORDS: usize = 5 + 2 * SYSTEM_CALLS / 64;

/// The programs that record by system calls, each with its tracepoint, and whether a kernel without it will do.
const CALLS: [(&str, &str, bool); 4] = [
    ("record_enter", "sys_enter", true),
    ("record_exit", "sys_exit", true),
    ("record_execute", "sched_process_exec", true),
    // Since 6.14.
    ("record_capability", "cap_capable", false),
];

/// What counts system calls beside the hooks.
const BESIDE_HOOKS: [(&str, &str); 2] = [
    ("record_made", "sys_enter"),
    ("record_succeeded", "sys_exit"),
];

/// Programs that record.
pub struct Recorder {
    name: &'static str,
    object: Ebpf,
    ring: RingBuf<MapData>,
    sees_capabilities: bool,
    refusal: Option<String>,
}

impl Recorder {
    /// Loads and attaches the best that there is here: the hooks that a fence judges at, else system calls.
    ///
    /// # Errors
    /// Where the kernel or the user cannot have either, with the reason.
    pub fn open() -> Result<Self, Error> {
        let host = Host::probe();
        if !host.privileged {
            return Err(Error::Recording("it needs root".to_owned()));
        }
        let kernel = Kernel::read()?;
        let types = Btf::from_sys_fs().map_err(|error| Error::Btf(error.to_string()))?;
        let refusal = match host.obstacle() {
            Some((reason, _)) => reason,
            None => match Self::by_hooks(&kernel, &types) {
                // Some kernels list `bpf` among their security modules and refuse to load for it.
                Err(error @ Error::Program { .. }) => error.to_string(),
                other => return other,
            },
        };
        let mut recorder = Self::by_system_calls(&kernel, &types)?;
        recorder.refusal = Some(refusal);
        Ok(recorder)
    }

    fn by_hooks(kernel: &Kernel, types: &Btf) -> Result<Self, Error> {
        let mut object = load(kernel, types)?;
        for (name, program) in object.programs_mut() {
            let Program::Lsm(program) = program else {
                continue;
            };
            let Some(hook) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if YOUNGER_HOOKS.contains(&hook) && !kernel.has_hook(hook) {
                continue;
            }
            program
                .load(hook, types)
                .and_then(|()| program.attach())
                .map_err(|error| refused(hook, engine::spell(&error)))?;
        }
        for (name, tracepoint) in BESIDE_HOOKS {
            attach(&mut object, name, tracepoint)?;
        }
        Self::of("hooks", object, true)
    }

    fn by_system_calls(kernel: &Kernel, types: &Btf) -> Result<Self, Error> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::Recording(
                "the numbers of system calls are known for x86-64 only".to_owned(),
            ));
        }
        let mut object = load(kernel, types)?;
        let mut sees_capabilities = false;
        for (name, tracepoint, required) in CALLS {
            let Err(error) = attach(&mut object, name, tracepoint) else {
                sees_capabilities |= !required;
                continue;
            };
            if required {
                return Err(error);
            }
        }
        Self::of("system-calls", object, sees_capabilities)
    }

    fn of(name: &'static str, mut object: Ebpf, sees_capabilities: bool) -> Result<Self, Error> {
        let ring = take(&mut object, "RECORDS")?;
        Ok(Self {
            name,
            object,
            ring,
            sees_capabilities,
            refusal: None,
        })
    }

    /// How it records, in a word for the trace.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Why it does not record at the hooks that a fence judges at.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Whether a capability that was asked for is known to be needed: a question of the kernel's own is told apart.
    #[must_use]
    pub fn tells_questions_apart(&self) -> bool {
        self.name == "hooks"
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
        let failed = |reason: &dyn std::fmt::Display| Error::map("write", "RECORDED", reason);
        let map = self
            .object
            .map_mut("RECORDED")
            .ok_or_else(|| failed(&"the object does not define it"))?;
        let mut map =
            maps::HashMap::<_, u64, u32>::try_from(map).map_err(|error| failed(&error))?;
        map.insert(cgroup, 0, 0).map_err(|error| failed(&error))
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
        let failed = |reason: &dyn std::fmt::Display| Error::map("read", "SEEN", reason);
        let map = self
            .object
            .map("SEEN")
            .ok_or_else(|| failed(&"the object does not define it"))?;
        let map = maps::HashMap::<_, [u8; SEEN_BYTES], u64>::try_from(map)
            .map_err(|error| failed(&error))?;
        let mut counts = HashMap::new();
        for entry in map.iter() {
            let (seen, count) = entry.map_err(|error| failed(&error))?;
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
        let failed = |reason: &dyn std::fmt::Display| Error::map("read", "TALLY", reason);
        let map = self
            .object
            .map("TALLY")
            .ok_or_else(|| failed(&"the object does not define it"))?;
        let map = maps::Array::<_, [u64; WORDS]>::try_from(map).map_err(|error| failed(&error))?;
        let words = map.get(&0, 0).map_err(|error| failed(&error))?;
        let [lost, _again, unread, foreign, capabilities, calls @ ..] = words;
        let (made, succeeded) = calls.split_at(SYSTEM_CALLS / 64);
        Ok(Tally {
            lost,
            unread,
            foreign,
            missed: self.missed(|name| !is_beside_hooks(name))?,
            unlisted: self.missed(is_beside_hooks)?,
            capabilities,
            made: numbers(made),
            succeeded: numbers(succeeded),
        })
    }

    /// Runs of these programs that the kernel has left out, for every task of the host.
    fn missed(&self, of: impl Fn(&str) -> bool) -> Result<u64, Error> {
        let mut sum = 0;
        for (name, program) in self.object.programs().filter(|(name, _)| of(name)) {
            if let Ok(descriptor) = program.fd() {
                sum += misses::of(descriptor.as_fd()).map_err(|error| Error::Program {
                    hook: name.to_owned(),
                    reason: error.to_string(),
                })?;
            }
        }
        Ok(sum)
    }
}

impl AsFd for Recorder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring buffer owns the descriptor and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

/// Loads the object; its maps of tables need a place to be found in, which is removed again.
fn load(kernel: &Kernel, types: &Btf) -> Result<Ebpf, Error> {
    let (pins, _turn) = Pins::open(&format!("recording-{}", process::id()))?;
    let loaded = load_at(&pins, kernel, types);
    pins::remove(&pins.version)?;
    // Nobody's fence is in it.
    fs::remove_dir(&pins.fences).map_err(|error| Error::state(&pins.fences, error))?;
    loaded
}

fn load_at(pins: &Pins, kernel: &Kernel, types: &Btf) -> Result<Ebpf, Error> {
    let random = [
        RandomState::new().hash_one(0),
        RandomState::new().hash_one(1),
    ];
    let setattr_has_mapping = u32::from(kernel.setattr_has_mapping);
    let mut loader = EbpfLoader::new();
    let tables = engine::prepare(pins)?;
    for (name, path) in &tables {
        loader.map_pin_path(name, path);
    }
    let loaded = loader
        .btf(Some(types))
        .override_global("LAYOUT", kernel.offsets.as_slice(), true)
        .override_global("SETATTR_HAS_MAPPING", &setattr_has_mapping, true)
        .override_global("HASH_KEY", random.as_slice(), true)
        .load(OBJECT)?;
    Ok(loaded)
}

fn attach(object: &mut Ebpf, name: &str, tracepoint: &str) -> Result<(), Error> {
    match object.program_mut(name) {
        Some(Program::RawTracePoint(program)) => program
            .load()
            .and_then(|()| program.attach(tracepoint))
            .map(|_| ())
            .map_err(|error| refused(tracepoint, engine::spell(&error))),
        _ => Err(refused(
            tracepoint,
            "the object does not define it".to_owned(),
        )),
    }
}

/// Where a tracepoint's programs can be preempted (since 7.0, include/trace/bpf_probe.h), the kernel leaves out each run that
/// would begin on the same processor meanwhile. Hooks have no such limit (kernel/bpf/trampoline.c, `bpf_prog_check_recur`).
fn is_beside_hooks(name: &str) -> bool {
    BESIDE_HOOKS.iter().any(|(beside, _)| *beside == name)
}

fn refused(hook: &str, reason: String) -> Error {
    Error::Program {
        hook: hook.to_owned(),
        reason,
    }
}

fn take<M: TryFrom<maps::Map, Error: std::fmt::Display>>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<M, Error> {
    let map = object
        .take_map(name)
        .ok_or_else(|| Error::map("find", name, "the object does not define it"))?;
    M::try_from(map).map_err(|error| Error::map("open", name, error))
}

fn numbers(words: &[u64]) -> Vec<u32> {
    let bits = (0u32..).zip(words).flat_map(|(word, &bits)| {
        (0..u64::BITS)
            .filter(move |bit| bits >> bit & 1 != 0)
            .map(move |bit| word * u64::BITS + bit)
    });
    bits.collect()
}

/// Reads a record in the field order of [`Header`].
fn decode(record: &[u8]) -> Option<Act> {
    let mut reader = Reader(record);
    let seen = seen_of(&mut reader)?;
    let time = reader.u64()?;
    let process = reader.u32()?;
    let path_bytes = reader.u16()?;
    let other_bytes = reader.u16()?;
    debug_assert_eq!(record.len() - reader.0.len(), size_of::<Header>());
    let path = reader.take(usize::from(path_bytes))?.to_vec();
    let other = reader.take(usize::from(other_bytes))?.to_vec();
    Some(Act {
        seen,
        time,
        process,
        path,
        other,
    })
}

fn seen_of(reader: &mut Reader<'_>) -> Option<Seen> {
    Some(Seen {
        path: reader.u64()?,
        other: reader.u64()?,
        program: reader.u64()?,
        detail: reader.u32()?,
        operation: reader.u16()?,
        needed: reader.u8()?,
        flags: reader.u8()?,
    })
}
