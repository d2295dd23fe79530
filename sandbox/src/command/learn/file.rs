//! Profiles with evidence, on disk.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    command::Failure,
    learn::{self, Learned},
    profile::{self, CommandLine},
};

/// Reads a profile with its evidence. What is no profile is refused with its place, as everywhere.
///
/// # Errors
/// If it cannot be read or is no profile.
pub fn read_profile(path: &Path) -> Result<Learned, Failure> {
    let text = fs::read_to_string(path).map_err(|source| Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if path.extension().is_some_and(|ending| ending == "json") {
        return Err(Failure::Argument(format!(
            "{}: evidence stands in comments, and JSON has none; use TOML",
            path.display()
        )));
    }
    // A path without a slash would be taken for a shipped profile's name.
    let named = if path.is_absolute() {
        path.to_owned()
    } else {
        Path::new(".").join(path)
    };
    profile::load(&[named.into_os_string()], CommandLine::default())?;
    learn::read(&text).map_err(|source| Failure::Learned {
        path: path.to_owned(),
        source,
    })
}

/// Puts a profile in place of what is there, as a whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write_profile(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |source| Failure::File {
        action: "write the profile to",
        path: path.to_owned(),
        source,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let mode = fs::metadata(path).map_or(0o644, |found| found.permissions().mode() & 0o777);
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))
        .map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
