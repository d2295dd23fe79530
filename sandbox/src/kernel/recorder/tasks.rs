//! Recording tasks one by one, by their numbers: those that are there already, in a cgroup that they share with others, and those of a
//! container, whose runtime prepares them in its cgroup.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
};

use aya::maps::MapError;
use ringfence_abi::record::{AT_EXEC, BY_EXEC, BY_TASK};

use super::Recorder;
use crate::kernel::{Error, engine, fence::absent_is_fine, pins::Pins};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the initial pid namespace.
const INITIAL: u64 = 0xEFFF_FFFC;
/// Threads can come to be while they are counted, and are recorded then if who started them was.
const ROUNDS: usize = 64;

impl Recorder {
    /// Records a process, all its threads, and what has come and will come of it. Gives the processes.
    ///
    /// # Errors
    /// If they cannot be followed, or there is no such process.
    pub fn follow(&mut self, process: u32) -> Result<BTreeSet<u32>, Error> {
        numbers_are_the_kernels()?;
        self.begin_with_nobody(BY_TASK)?;
        let family = self.take_family(process)?;
        family.ok_or_else(|| Error::Recording(format!("there is no process {process}")))
    }

    /// Records each task that executes something in this cgroup or below from that exec on, and what comes of it wherever it goes.
    ///
    /// # Errors
    /// If they cannot be followed.
    pub fn begin_at_exec(&mut self, cgroup: u64) -> Result<(), Error> {
        self.begin_with_nobody(BY_TASK | BY_EXEC)?;
        let recorded = &mut self.place.shared.recorded;
        recorded
            .insert(cgroup, self.place.number | AT_EXEC, 0)
            .map_err(|error| Error::map("write", "RECORDED", engine::spell(&error)))
    }

    /// Records these processes as well, and what comes of them; one that has gone meanwhile is none.
    ///
    /// # Errors
    /// If they cannot be followed.
    pub fn take_in_all(&mut self, processes: &[u32]) -> Result<(), Error> {
        numbers_are_the_kernels()?;
        for &process in processes {
            self.take_family(process)?;
        }
        Ok(())
    }

    fn begin_with_nobody(&mut self, known_by: u32) -> Result<(), Error> {
        let _turn = Pins::turn()?;
        self.place.attach(self.way, true)?;
        // It has begun.
        self.entry[0] |= 1 << 32;
        self.write_entry()?;
        self.place.known_by(known_by)
    }

    /// Gives the processes; `None` if there is no such one.
    fn take_family(&mut self, process: u32) -> Result<Option<BTreeSet<u32>>, Error> {
        let mut known = BTreeSet::new();
        for _ in 0..ROUNDS {
            let Some(family) = family(process)? else {
                self.let_go(known.iter())?;
                return Ok(None);
            };
            let new: Vec<u32> = family.values().flatten().copied().collect();
            let new: Vec<u32> = new.into_iter().filter(|one| known.insert(*one)).collect();
            if new.is_empty() {
                let living: BTreeSet<u32> = family.values().flatten().copied().collect();
                self.let_go(known.difference(&living))?;
                return Ok(Some(family.into_keys().collect()));
            }
            for thread in new {
                self.take_in(thread)?;
            }
        }
        Err(Error::Recording(
            "its processes come faster than they can be counted".to_owned(),
        ))
    }
}

impl Recorder {
    fn take_in(&mut self, thread: u32) -> Result<(), Error> {
        let failed = |error: MapError| Error::map("write", "RECORDED_TASKS", engine::spell(&error));
        let (tasks, number) = (&mut self.place.shared.tasks, self.place.number);
        match tasks.get(&thread, 0) {
            Ok(other) if other & !AT_EXEC == number => Ok(()),
            Ok(_) => Err(Error::Recording(format!(
                "thread {thread} is recorded already, by another `ringfence learn`"
            ))),
            Err(MapError::KeyNotFound) => tasks.insert(thread, number, 0).map_err(failed),
            Err(error) => Err(failed(error)),
        }
    }

    /// Threads that had ended before they were taken in: their numbers can become another's.
    fn let_go<'a>(&mut self, threads: impl Iterator<Item = &'a u32>) -> Result<(), Error> {
        for thread in threads {
            absent_is_fine("RECORDED_TASKS", self.place.shared.tasks.remove(thread))?;
        }
        Ok(())
    }
}

/// Whether tasks have the same numbers here as in the kernel.
fn numbers_are_the_kernels() -> Result<(), Error> {
    let unreadable = |error| Error::state("/proc/self/ns/pid", error);
    match fs::metadata("/proc/self/ns/pid").map_err(unreadable)?.ino() {
        INITIAL => Ok(()),
        _ => Err(Error::Recording(
            "a running process is known by its number in the initial pid namespace, and this is another; run it outside \
             of the container"
                .to_owned(),
        )),
    }
}

/// The process and its living descendants, each with its threads; `None` if there is no such process.
fn family(process: u32) -> Result<Option<BTreeMap<u32, Vec<u32>>>, Error> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let unreadable = |error| Error::state("/proc", error);
    for entry in fs::read_dir("/proc").map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(parent) = parent(number) {
            children.entry(parent).or_default().push(number);
        }
    }
    let mut family = BTreeMap::new();
    let mut next = vec![process];
    while let Some(one) = next.pop() {
        let threads = threads(one);
        if one == process && threads.is_empty() {
            return Ok(None);
        }
        family.insert(one, threads);
        next.extend(children.remove(&one).unwrap_or_default());
    }
    Ok(Some(family))
}

/// Empty where there is no such process any more.
fn threads(process: u32) -> Vec<u32> {
    let listing = fs::read_dir(format!("/proc/{process}/task"));
    let names = listing.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The fourth field of proc_pid_stat(5), behind a name in parentheses that may hold anything.
fn parent(process: u32) -> Option<u32> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
