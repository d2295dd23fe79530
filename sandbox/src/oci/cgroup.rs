//! The cgroup that a runtime has made for one container: what tells its processes from all others.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use ringfence_abi::limits::CGROUP_LEVELS;

use super::Error;

/// A change that comes within ten milliseconds of another is told of later, and not at all if the cgroup is removed before
/// (kernel/cgroup/cgroup.c, `cgroup_file_notify` and `cgroup_rm_file`); nor is the removal itself. So it is looked at again after
/// this many milliseconds,
const LOOK_AGAIN: u16 = 1000;
/// or, when its first process has ended, after this many, and then twice as many each time.
const LOOK_SOON: u16 = 1;

/// A cgroup in which nobody is but one container.
#[derive(Debug)]
pub struct OwnCgroup {
    directory: PathBuf,
    id: u64,
    events: File,
    look_again: u16,
}

impl OwnCgroup {
    /// The cgroup of the container whose first process is `pid`, in the v2 hierarchy that is mounted at `hierarchy`.
    ///
    /// # Errors
    /// If there is none, or somebody else is in it.
    pub fn of(pid: i32, hierarchy: &Path) -> Result<Self, Error> {
        let listing = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = fs::read_to_string(&listing).map_err(Error::file("read", &listing))?;
        let path = in_hierarchy(&text).map_err(|why| Error::Cgroup(why.to_owned()))?;
        let directory = hierarchy.join(path);
        let tasks = directory.join("cgroup.procs");
        let inside = fs::read_to_string(&tasks).map_err(Error::file("read", &tasks))?;
        if let Some(other) = inside.lines().find(|&one| one != pid.to_string()) {
            return Err(Error::Cgroup(format!(
                "process {other} is in {} as well",
                directory.display()
            )));
        }
        Self::at(directory)
    }

    /// The cgroup of a container that runs: the one that its bundle names as `path`, where its first process stands in or below it.
    ///
    /// # Errors
    /// If there is none, or somebody who is not of the container stands in it.
    pub fn of_running(pid: i32, hierarchy: &Path, path: Option<&str>) -> Result<Self, Error> {
        let listing = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = fs::read_to_string(&listing).map_err(Error::file("read", &listing))?;
        let stands_in = in_hierarchy(&text).map_err(|why| Error::Cgroup(why.to_owned()))?;
        let own = path.and_then(|path| named(stands_in, path));
        let found = Self::at(hierarchy.join(own.unwrap_or(stands_in)))?;
        let members = Members::of(pid)?;
        for process in found.processes()? {
            if !members.has(process)? {
                return Err(Error::Cgroup(format!(
                    "process {process} is in {} as well",
                    found.directory.display()
                )));
            }
        }
        Ok(found)
    }

    fn at(directory: PathBuf) -> Result<Self, Error> {
        let events = directory.join("cgroup.events");
        let metadata = fs::metadata(&directory).map_err(Error::file("look at", &directory))?;
        Ok(Self {
            id: metadata.ino(),
            events: File::open(&events).map_err(Error::file("watch", &events))?,
            look_again: LOOK_AGAIN,
            directory,
        })
    }

    /// Who stands in it, and in those below it.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn processes(&self) -> Result<Vec<u32>, Error> {
        let mut processes = Vec::new();
        for directory in below(&self.directory)? {
            let path = directory.join("cgroup.procs");
            let text = match fs::read_to_string(&path) {
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(Error::file("read", &path))?,
            };
            processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        Ok(processes)
    }

    /// The kernel's number of it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until one of `descriptors` is readable or this cgroup may have changed.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn wait(&mut self, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut waiting = vec![PollFd::new(self.events.as_fd(), PollFlags::POLLPRI)];
        waiting.extend(
            descriptors
                .iter()
                .map(|&one| PollFd::new(one, PollFlags::POLLIN)),
        );
        let patience = PollTimeout::from(self.look_again);
        self.look_again = self.look_again.saturating_mul(2).min(LOOK_AGAIN);
        match poll(&mut waiting, patience) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::Monitor {
                what: "wait for the container",
                source: errno.into(),
            }),
        }
    }

    /// It is likely to become empty now.
    pub fn expect_end(&mut self) {
        self.look_again = LOOK_SOON;
    }

    /// Ends every task in it and below.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&self) -> Result<(), Error> {
        let path = self.directory.join("cgroup.kill");
        match fs::write(&path, "1") {
            // It is gone, and whoever was in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(Error::file("write", &path)),
        }
    }

    /// Whether no task is left in it or below. One that was removed holds none.
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        use io::{Read as _, Seek as _};
        let mut text = String::new();
        let read = self
            .events
            .rewind()
            .and_then(|()| self.events.read_to_string(&mut text));
        read.is_err() || text.lines().any(|line| line == "populated 0")
    }
}

/// A directory and all below it.
fn below(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let listing = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && next > 1 => continue,
            other => other.map_err(Error::file("read", &directory))?,
        };
        for entry in listing {
            let entry = entry.map_err(Error::file("read", &directory))?;
            let kind = entry
                .file_type()
                .map_err(Error::file("look at", entry.path()))?;
            if kind.is_dir() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Of the cgroups above `stands_in` and itself, the one that `cgroupsPath` of a bundle names: by its last name, or as systemd's
/// `slice:prefix:name`.
fn named<'a>(stands_in: &'a Path, path: &str) -> Option<&'a Path> {
    let parts: Vec<&str> = path.split(':').collect();
    let name = match parts.as_slice() {
        [_, "", name] => format!("{name}.scope"),
        [_, prefix, name] => format!("{prefix}-{name}.scope"),
        _ => Path::new(path).file_name()?.to_str()?.to_owned(),
    };
    let mut above = stands_in.ancestors();
    above.find(|path| path.file_name().is_some_and(|found| *found == *name))
}

/// Who is of a container: processes in its mount namespace, and what they have started.
struct Members {
    mounts: PathBuf,
}

impl Members {
    fn of(pid: i32) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
        Ok(Self {
            mounts: fs::read_link(&path).map_err(Error::file("read", &path))?,
        })
    }

    /// Whether `process` is; one that has gone is nobody.
    fn has(&self, process: u32) -> Result<bool, Error> {
        let mut next = process;
        while next > 1 {
            let path = PathBuf::from(format!("/proc/{next}/ns/mnt"));
            let mounts = match fs::read_link(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                other => other.map_err(Error::file("read", &path))?,
            };
            if mounts == self.mounts {
                return Ok(true);
            }
            let path = PathBuf::from(format!("/proc/{next}/status"));
            let text = match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                other => other.map_err(Error::file("read", &path))?,
            };
            let parent = text.lines().find_map(|line| line.strip_prefix("PPid:"));
            next = parent
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0);
        }
        Ok(false)
    }
}

/// The path below the hierarchy's root, from `/proc/PID/cgroup` (cgroups(7)).
fn in_hierarchy(text: &str) -> Result<&Path, &'static str> {
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .ok_or("it is in no cgroup of the v2 hierarchy")?;
    let path = Path::new(path);
    if path.as_os_str().is_empty() {
        return Err(
            "the runtime has left it in the root cgroup (crun does on hosts whose controllers are in v1 hierarchies)",
        );
    }
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if path.components().count() > CGROUP_LEVELS as usize {
        return Err("it lies too deep in the hierarchy");
    }
    if !plain || path.to_string_lossy().ends_with(" (deleted)") {
        return Err("it lies outside of the cgroup namespace, or is gone");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_that_a_bundle_names_is_found_above_its_first_process() {
        let found = |stands_in: &'static str, path| named(Path::new(stands_in), path);
        let own = Some(Path::new("machine.slice/libpod-1f.scope"));
        let systemd = "machine.slice:libpod:1f";
        assert_eq!(
            found("machine.slice/libpod-1f.scope/container", systemd),
            own
        );
        assert_eq!(found("machine.slice/libpod-1f.scope", systemd), own);
        assert_eq!(
            found("default/c1/init.scope", "/default/c1"),
            Some(Path::new("default/c1"))
        );
        assert_eq!(found("elsewhere/c2", "/default/c1"), None);
        assert_eq!(found("c1", ""), None);
    }

    #[test]
    fn who_is_of_a_container_is_told_by_its_mounts() {
        let own = std::process::id();
        let members = Members::of(i32::try_from(own).unwrap()).unwrap();
        assert!(members.has(own).unwrap());
        let other = Members {
            mounts: "mnt:[1]".into(),
        };
        assert!(!other.has(own).unwrap());
    }

    #[test]
    fn only_a_cgroup_below_the_root_is_a_containers_own() {
        let hybrid = "4:memory:/a\n0::/default/c1\n";
        assert_eq!(in_hierarchy(hybrid), Ok(Path::new("default/c1")));
        for shared in ["0::/\n", "4:memory:/a\n", "0::/../x\n", "0::/x (deleted)\n"] {
            assert!(in_hierarchy(shared).is_err(), "{shared}");
        }
    }
}
