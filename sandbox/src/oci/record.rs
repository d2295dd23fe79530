//! What is known of the containers that are fenced: a file for each, locked by its monitor for as long as it stands.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg},
    unistd::{AccessFlags, faccessat},
};
use serde::{Deserialize, Serialize};

use super::{Error, Left};

/// Where the files are.
const RECORDS: &str = "/run/ringfence/containers";

/// A fenced container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its cgroup's directory.
    pub cgroup: PathBuf,
    /// Its profile.
    pub profile: String,
    /// What its processes are left.
    #[serde(flatten)]
    pub left: Left,
    /// Whether a launcher stands in front of what `exec` adds.
    #[serde(default)]
    pub launcher: bool,
    /// Whether it is recorded and not fenced.
    #[serde(default)]
    pub is_learned: bool,
}

/// A record that this process keeps; dropping it removes it.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Held {
    /// Writes and locks the record of the container whose cgroup has the number `cgroup`; `None` if another process keeps one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(cgroup: u64, record: &Record) -> Result<Option<Self>, Error> {
        let folder = Path::new(RECORDS);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(Error::file("make", folder))?;
        let path = folder.join(format!("{cgroup}.json"));
        let failed = || Error::file("write", &path);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(failed()(errno.into())),
        };
        let text = serde_json::to_vec(record).map_err(|error| Error::content(&path, &error))?;
        lock.set_len(0).map_err(failed())?;
        lock.write_all(&text).map_err(failed())?;
        Ok(Some(Self { path, _lock: lock }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that stays is taken for that of a monitor that was killed, and removed by the next look.
        fs::remove_file(&self.path).ok();
    }
}

/// The record of the container whose cgroup has this number, whether its monitor lives or not.
///
/// # Errors
/// If it cannot be read.
pub fn of_cgroup(cgroup: u64) -> Result<Option<Record>, Error> {
    let path = Path::new(RECORDS).join(format!("{cgroup}.json"));
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => {
            let text = other.map_err(Error::file("read", &path))?;
            let record = serde_json::from_slice(&text);
            record
                .map(Some)
                .map_err(|error| Error::content(&path, &error))
        }
    }
}

/// Whether this user can keep records at all, asked before anything is changed for a container.
///
/// # Errors
/// If not: it is not root then, or root of a user namespace alone.
pub fn can_be_kept() -> Result<(), Error> {
    let folder = Path::new(RECORDS);
    for place in folder.ancestors() {
        match faccessat(AT_FDCWD, place, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(Error::Rootless {
                    path: folder.to_owned(),
                    source: errno.into(),
                });
            }
        }
    }
    Ok(())
}

/// The records of containers with this name: more than one if several roots of runtimes use it.
///
/// # Errors
/// If one cannot be read.
pub fn of_container(id: &str) -> Result<Vec<Record>, Error> {
    Ok(all()?
        .into_iter()
        .map(|(_, record)| record)
        .filter(|record| record.id == id)
        .collect())
}

/// Waits until no fence of the container `id` in `bundle` stands any more; false if one does after `patience`.
///
/// # Errors
/// If the records cannot be read.
pub fn ended(id: &str, bundle: &Path, patience: Duration) -> Result<bool, Error> {
    let (failed, ended) = mpsc::channel();
    for (path, record) in all()? {
        if record.id == id && record.bundle == bundle {
            let failed = failed.clone();
            thread::spawn(move || {
                if let Err(error) = wait(&path) {
                    failed.send(error).ok();
                }
            });
        }
    }
    drop(failed);
    match ended.recv_timeout(patience) {
        Err(RecvTimeoutError::Disconnected) => Ok(true),
        Err(RecvTimeoutError::Timeout) => Ok(false),
        Ok(error) => Err(error),
    }
}

/// Until the monitor of this record has let go of it. One that was killed has left it behind: it is removed.
fn wait(path: &Path) -> Result<(), Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::file("read", path))?,
    };
    let _unheld = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::file("wait for", path)(errno.into()))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn all() -> Result<Vec<(PathBuf, Record)>, Error> {
    let folder = Path::new(RECORDS);
    let unreadable = || Error::file("read", folder);
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unreadable())?,
    };
    let mut records = Vec::new();
    for entry in listing {
        let path = entry.map_err(unreadable())?.path();
        let text = match fs::read(&path) {
            // It was removed in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::file("read", &path))?,
        };
        // One that is being written is of a container that nobody can have been told of.
        if let Ok(record) = serde_json::from_slice(&text) {
            records.push((path, record));
        }
    }
    Ok(records)
}
