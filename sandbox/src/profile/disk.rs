//! Reads profile files: the only place of this room that touches the system.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::MAX_BYTES;

/// A profile file as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path without symbolic links: what tells two names of one file.
    pub(super) identity: PathBuf,
    /// Its first bytes: all of them unless they are more than what was asked for.
    pub(super) bytes: Vec<u8>,
    /// Its size, at least as large as what was read.
    pub(super) size: u64,
}

impl Hash for Found {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            identity,
            bytes,
            size,
        } = self;
        // As it is spelled: that of a path leaves out slashes.
        (identity.as_os_str(), bytes, size).hash(state);
    }
}

/// Reads the file at `path`, but not many more than [`MAX_BYTES`] of it. A pipe is read, too: `-p <(generate)` works.
///
/// # Errors
///
/// If it cannot be opened or read.
pub fn read(path: &Path) -> io::Result<Found> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    // A pipe of a process substitution has no path of its own.
    let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let size = length.max(bytes.len() as u64);
    Ok(Found {
        identity,
        bytes,
        size,
    })
}
