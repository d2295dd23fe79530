//! The fence's cgroup: made fresh, limited where controllers are there, emptied and removed at the end.
//! Where the hierarchy is mounted is asked, never assumed. Behaviour: Documentation/admin-guide/cgroup-v2.rst.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::Error;
use super::mountinfo::{self, Mount};
use super::running::Peak;
use crate::policy::Limits;

/// How long killed tasks may take to go. A task in uninterruptible sleep can take longer, and is named then.
const END_SECONDS: u64 = 10;
/// How the directories of fences begin.
const PREFIX: &str = "ringfence-";
/// From this age on, a directory that nobody holds has been left.
pub(super) const SETTLED: Duration = Duration::from_secs(2);
/// Directories that one run looks at: a start costs as much beside a thousand fences as beside a few.
const LOOKED_AT: usize = 16;
/// Period in microseconds for cpu.max: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// A place below which this caller can make cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPlace {
    directory: PathBuf,
    controllers: Vec<String>,
}

impl CgroupPlace {
    /// Finds the place: for root the hierarchy's root, else the caller's own cgroup if that was delegated.
    /// `None` where there is no v2 hierarchy or the caller may not use it.
    ///
    /// # Errors
    /// If /proc cannot be read.
    pub fn find() -> Result<Option<Self>, Error> {
        let Some(root) = hierarchy(&mountinfo::mounts()?) else {
            return Ok(None);
        };
        let directory = if nix::unistd::geteuid().is_root() {
            root
        } else {
            match mountinfo::own_cgroup()? {
                Some(own) => root.join(own),
                None => return Ok(None),
            }
        };
        // Moving a task asks for the right to write to the common ancestor's cgroup.procs as well.
        if !writable(&directory) || !writable(&directory.join("cgroup.procs")) {
            return Ok(None);
        }
        let controllers = read_words(&directory.join("cgroup.controllers"));
        Ok(Some(Self {
            directory,
            controllers,
        }))
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether `controller` can be, or is, handed to cgroups below.
    #[must_use]
    pub fn offers(&self, controller: &str) -> bool {
        if !self.controllers.iter().any(|one| one == controller) {
            return false;
        }
        let control = self.directory.join("cgroup.subtree_control");
        read_words(&control).iter().any(|one| one == controller)
            || fs::write(&control, format!("+{controller}")).is_ok()
    }
}

/// The number of the caller's own cgroup.
///
/// # Errors
/// If it stands in none that can be seen here.
pub fn own_cgroup() -> Result<u64, Error> {
    let own = mountinfo::own_cgroup()?.unwrap_or_default();
    let root = hierarchy(&mountinfo::mounts()?).unwrap_or_default();
    let directory = root.join(own);
    let metadata = fs::metadata(&directory);
    Ok(metadata
        .map_err(|source| failed("find", &directory, source))?
        .ino())
}

/// The cgroup of one fence.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// Locked: what a supervisor holds is not collected.
    handle: Flock<File>,
    id: u64,
}

impl Cgroup {
    /// Makes a fresh cgroup below `place` and sets the limits whose controllers are there.
    ///
    /// # Errors
    /// If the directory cannot be made, or a limit not set although its controller is there.
    pub fn create(place: &CgroupPlace, limits: &Limits) -> Result<Self, Error> {
        collect(&place.directory, SETTLED);
        let handle = make(&place.directory)?;
        // From here on a failure drops the handle, which removes the directory.
        handle.limit(place, limits)?;
        Ok(handle)
    }

    /// The kernel's number of this cgroup, as `bpf_get_current_cgroup_id` gives it: on 64-bit machines the inode
    /// number (fs/kernfs/dir.c, 6.18: `kernfs_ino`).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The processes in it, those of cgroups below included.
    ///
    /// # Errors
    /// If the kernel's list cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut found = Vec::new();
        match collect_processes(&self.directory, &mut found) {
            // Somebody else has removed it, which is possible only when nobody is in it.
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(source) => Err(failed("list the tasks of", &self.directory, source)),
            Ok(()) => Ok(found),
        }
    }

    /// The most that it has held at a time; nothing where its controllers are not there or do not tell.
    #[must_use]
    pub fn peak(&self) -> Peak {
        let number = |name: &str| {
            fs::read_to_string(self.directory.join(name))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        Peak {
            memory: number("memory.peak"),
            tasks: number("pids.peak"),
            sampled: false,
        }
    }

    /// Whether a task is left in it or below.
    ///
    /// # Errors
    /// If the kernel's answer cannot be read.
    pub fn populated(&self) -> Result<bool, Error> {
        match is_populated(&self.directory) {
            Err(error) if is_gone(&error) => Ok(false),
            other => other.map_err(|source| failed("read the state of", &self.directory, source)),
        }
    }

    /// Opens the file that polls ready (`POLLPRI`) when [`Self::populated`] may have changed.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn events(&self) -> Result<File, Error> {
        let path = self.directory.join("cgroup.events");
        File::open(&path).map_err(|source| failed("watch", &path, source))
    }

    /// Kills every task in it and waits until they are gone.
    ///
    /// # Errors
    /// If tasks remain after ten seconds.
    pub fn kill(&self) -> Result<(), Error> {
        if !self.populated()? {
            return Ok(());
        }
        let deadline = Instant::now() + Duration::from_secs(END_SECONDS);
        let events = self.events()?;
        // cgroup.kill came with 5.14; before it, signals are sent until no task is left to fork another.
        let at_once = fs::write(self.directory.join("cgroup.kill"), "1").is_ok();
        while self.populated()? {
            if !at_once {
                for pid in self.processes()? {
                    kill_process(pid)?;
                }
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(Error::CgroupBusy {
                    path: self.directory.clone(),
                    seconds: END_SECONDS,
                });
            };
            wait_for_change(&events, left.min(Duration::from_millis(20)))?;
        }
        Ok(())
    }

    /// Removes it; it must be empty.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&mut self) -> Result<(), Error> {
        match remove_tree(&self.directory) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other.map_err(|source| failed("remove", &self.directory, source)),
        }
    }

    fn limit(&self, place: &CgroupPlace, limits: &Limits) -> Result<(), Error> {
        if let Some(bytes) = limits.memory
            && place.offers("memory")
        {
            self.write("memory.max", &bytes.to_string())?;
            // Swap would let the tasks have more than was allowed; the file is not there without swap accounting.
            if self.directory.join("memory.swap.max").exists() {
                self.write("memory.swap.max", "0")?;
            }
        }
        if let Some(tasks) = limits.pids
            && place.offers("pids")
        {
            self.write("pids.max", &tasks.to_string())?;
        }
        if let Some(percent) = limits.cpu_percent
            && place.offers("cpu")
        {
            let quota = percent.saturating_mul(CPU_PERIOD / 100);
            self.write("cpu.max", &format!("{quota} {CPU_PERIOD}"))?;
        }
        Ok(())
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        let path = self.directory.join(file);
        fs::write(&path, value).map_err(|source| failed("write to", &path, source))
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl AsRawFd for Cgroup {
    fn as_raw_fd(&self) -> i32 {
        self.handle.as_raw_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Nobody is left to be told: a cgroup that stays is collected by a later run once it is empty.
        if self.directory.exists() && self.kill().is_ok() {
            remove_tree(&self.directory).ok();
        }
    }
}

/// The mount point of the v2 hierarchy: pure, or beside v1 hierarchies. A mount of a part of it is used only if there
/// is no whole one.
pub(super) fn hierarchy(mounts: &[Mount]) -> Option<PathBuf> {
    let all = || mounts.iter().filter(|mount| mount.kind == "cgroup2");
    all()
        .find(|mount| mount.root == Path::new("/"))
        .or_else(|| all().next())
        .map(|mount| mount.point.clone())
}

/// Opens and locks a fence's directory; the number is its inode's.
fn hold(directory: &Path) -> io::Result<(u64, Flock<File>)> {
    let file = File::open(directory)?;
    let id = file.metadata()?.ino();
    let handle = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    Ok((id, handle))
}

/// Removes what supervisors that were killed have left: directories of ours that nobody holds. One with a task in it
/// cannot be removed, and stays for a later run; so does one so young that its maker may not hold it yet. Where there are many, each run
/// looks at some of them.
fn collect(parent: &Path, settled: Duration) {
    let Ok(listing) = fs::read_dir(parent) else {
        return;
    };
    let is_ours = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
    };
    let ours: Vec<_> = listing.flatten().filter(is_ours).collect();
    // Process numbers go up: runs one after the other look at others.
    let first = std::process::id() as usize % ours.len().max(1);
    for entry in ours
        .iter()
        .cycle()
        .skip(first)
        .take(LOOKED_AT.min(ours.len()))
    {
        let made = entry.metadata().and_then(|metadata| metadata.modified());
        let is_settled = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > settled));
        // Held while it is removed: its maker sees that it is taken, or gone.
        if is_settled && let Ok(_held) = hold(&entry.path()) {
            remove_tree(&entry.path()).ok();
        }
    }
}

/// Makes one, and holds it. A run beside it may take for left what is not held yet: then another one is made.
fn make(parent: &Path) -> Result<Cgroup, Error> {
    loop {
        let directory = make_directory(parent)?;
        match hold(&directory) {
            // Held and there: from here on nobody collects it.
            Ok((id, handle)) if directory.exists() => {
                return Ok(Cgroup {
                    directory,
                    handle,
                    id,
                });
            }
            Ok(_) => {}
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::WouldBlock => {}
            Err(source) => return Err(failed("open", &directory, source)),
        }
    }
}

fn make_directory(parent: &Path) -> Result<PathBuf, Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{now:x}", std::process::id());
        let directory = parent.join(name);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed("make", &directory, source)),
        }
    }
}

/// What reading a cgroup that was removed gives (fs/kernfs/dir.c, `kernfs_get_active`).
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT))
}

/// Whether a task is left in the cgroup or below.
pub(super) fn is_populated(directory: &Path) -> io::Result<bool> {
    let text = fs::read_to_string(directory.join("cgroup.events"))?;
    Ok(text.lines().any(|line| line == "populated 1"))
}

pub(super) fn collect_processes(directory: &Path, found: &mut Vec<i32>) -> io::Result<()> {
    let text = fs::read_to_string(directory.join("cgroup.procs"))?;
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_processes(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// A cgroup goes by rmdir, those below it first; its files go with it.
fn remove_tree(directory: &Path) -> io::Result<()> {
    // Most have none below.
    match fs::remove_dir(directory) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        removed => return removed,
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

fn kill_process(pid: i32) -> Result<(), Error> {
    use nix::errno::Errno;
    use nix::sys::signal::{Signal, kill};
    match kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::System {
            what: "kill a task that is left in the fence",
            source: errno.into(),
        }),
    }
}

pub(super) fn wait_for_change(events: &File, patience: Duration) -> Result<(), Error> {
    let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::from(20u8));
    match poll(&mut fds, patience) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::System {
            what: "wait for the fence to empty",
            source: errno.into(),
        }),
    }
}

fn writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

fn read_words(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .map(|text| text.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Cgroup {
        what,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn mount(root: &str, point: &str, kind: &str) -> Mount {
        Mount {
            root: root.into(),
            point: point.into(),
            kind: kind.into(),
        }
    }

    #[test]
    fn what_a_run_makes_is_not_collected_by_one_beside_it_however_late_it_is_held() {
        let parent = tempfile::tempdir().expect("a directory");
        let place = parent.path();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        collect(place, Duration::ZERO);
                    }
                });
            }
            let stayed = (0..10_000).all(|_| {
                let made = make(place);
                made.is_ok_and(|made| (0..4).all(|_| made.directory.is_dir()))
            });
            is_over.store(true, Ordering::Relaxed);
            assert!(stayed);
        });
    }

    #[test]
    fn the_hierarchy_is_found_pure_and_hybrid() {
        let pure = [mount("/", "/sys/fs/cgroup", "cgroup2")];
        assert_eq!(hierarchy(&pure), Some("/sys/fs/cgroup".into()));
        let hybrid = [
            mount("/", "/sys/fs/cgroup/memory", "cgroup"),
            mount("/part", "/elsewhere", "cgroup2"),
            mount("/", "/sys/fs/cgroup/unified", "cgroup2"),
        ];
        assert_eq!(hierarchy(&hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(hierarchy(&hybrid[..1]), None);
    }
}
