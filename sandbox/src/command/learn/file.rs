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

/// Puts a profile in place of a file, as a whole or not at all; what is no file, as a device or a pipe, is written to and stays.
///
/// # Errors
/// If it cannot be written.
pub fn write_profile(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |source| Failure::File {
        action: "write the profile to",
        path: path.to_owned(),
        source,
    };
    // Root could put a file in the place of `/dev/null`.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, text).map_err(failed);
    }
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

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::FileTypeExt as _, process::Command, thread};

    use super::*;

    #[test]
    fn what_is_no_file_is_written_to_and_stays() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let reader = thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write_profile(&pipe, "version = 1\n").unwrap();
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert_eq!(reader.join().unwrap(), "version = 1\n");
    }

    #[test]
    fn a_file_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("profile.toml");
        fs::write(&file, "something longer than what comes\n").unwrap();
        write_profile(&file, "version = 1\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "version = 1\n");
    }
}
