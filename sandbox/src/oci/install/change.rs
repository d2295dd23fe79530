//! One file that changes.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::oci::Error;

/// A file, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is made, and where it leads.
    Link(PathBuf, PathBuf),
    /// The file is written, as a whole and at once.
    Write(PathBuf, String),
    /// The program is put there, likewise.
    Program(PathBuf, &'static [u8]),
    /// It is removed.
    Remove(PathBuf),
}

impl Change {
    pub(super) fn apply(&self) -> Result<(), Error> {
        match self {
            Self::Link(path, to) => folder_of(path)
                .and_then(|_| symlink(to, path))
                .map_err(Error::file("make the link", path)),
            Self::Write(path, text) => {
                let mode = fs::metadata(path).map_or(0o644, |old| old.permissions().mode() & 0o777);
                write(path, text.as_bytes(), mode).map_err(Error::file("write", path))
            }
            Self::Program(path, bytes) => {
                write(path, bytes, 0o755).map_err(Error::file("write", path))
            }
            Self::Remove(path) => fs::remove_file(path).map_err(Error::file("remove", path)),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(path, leads) => {
                writeln!(to, "link {} -> {}", path.display(), leads.display())
            }
            Self::Remove(path) => writeln!(to, "remove {}", path.display()),
            Self::Program(path, bytes) => {
                writeln!(
                    to,
                    "write {} (a program of {} bytes)",
                    path.display(),
                    bytes.len()
                )
            }
            Self::Write(path, text) => {
                writeln!(to, "write {}", path.display())?;
                text.lines().try_for_each(|line| writeln!(to, "    {line}"))
            }
        }
    }
}

/// The file's folder, which is made if it is not there.
fn folder_of(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    Ok(folder)
}

/// An engine that reads the file meanwhile sees the old text or the new one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder_of(path)?)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Where a link leads; `None` if nothing is there.
pub(super) fn link(path: &Path) -> Result<Option<PathBuf>, Error> {
    match fs::read_link(path) {
        Ok(leads) => Ok(Some(leads)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(Error::content(
            path,
            &"it is there and is no link".to_owned(),
        )),
        Err(error) => Err(Error::file("read the link", path)(error)),
    }
}

/// What a program consists of; `None` if it is not there.
pub(super) fn program(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => fs::read(path).map(Some).map_err(Error::file("read", path)),
        Ok(_) => Err(Error::content(
            path,
            &"it is there and is no file".to_owned(),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("look at", path)(error)),
    }
}

/// What a file says; `None` if it is not there.
pub(super) fn text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}
