//! Which file a command names: the search of the fence's own PATH, done before the fork so that it can be explained.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::Error;

/// Searched if the fence's environment has no PATH; what glibc's `confstr(_CS_PATH)` answers.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file that `command` names for a process in `directory` with `environment`.
///
/// # Errors
/// [`Error::ProgramNotFound`] and [`Error::ProgramNotRunnable`].
pub fn resolve(
    command: &OsStr,
    environment: &[(OsString, OsString)],
    directory: &Path,
) -> Result<PathBuf, Error> {
    let not_found = || Error::ProgramNotFound {
        command: command.to_owned(),
    };
    if command.is_empty() {
        return Err(not_found());
    }
    if command.as_bytes().contains(&b'/') {
        let path = directory.join(command);
        return match runnable(&path) {
            Ok(()) => Ok(path),
            Err(error) if is_absent(&error) => Err(not_found()),
            Err(error) => Err(not_runnable(path, &error)),
        };
    }
    let search = environment
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value.as_os_str());
    let mut refused = None;
    for place in std::env::split_paths(search) {
        // An empty element is the working directory (POSIX, XBD 8.3), and joins to just that.
        let path = directory.join(place).join(command);
        match runnable(&path) {
            Ok(()) => return Ok(path),
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                refused.get_or_insert((path, error));
            }
        }
    }
    match refused {
        Some((path, error)) => Err(not_runnable(path, &error)),
        None => Err(not_found()),
    }
}

/// Why `execve` of `path` failed, in words.
pub(super) fn explain(path: &Path, error: &io::Error) -> Error {
    let reason = match error.raw_os_error() {
        Some(libc::ENOEXEC) => {
            "it is neither a program for this machine nor a script with a `#!` line; name its interpreter".to_owned()
        }
        Some(libc::ENOENT) => {
            "the interpreter that its `#!` line or program header names does not exist".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => format!(
            "{error}; allow it, and the interpreter that its `#!` line or program header names, under files.exec"
        ),
        _ => error.to_string(),
    };
    Error::ProgramNotRunnable {
        path: path.to_path_buf(),
        reason,
    }
}

/// Whether this is a file that somebody may execute; who exactly is for the kernel to say, as the fence's user.
fn runnable(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

fn not_runnable(path: PathBuf, error: &io::Error) -> Error {
    let reason = match error.raw_os_error() {
        Some(libc::EISDIR) => "it is a directory".to_owned(),
        Some(libc::EACCES) => {
            "it is not an executable file; set its mode with `chmod +x`".to_owned()
        }
        _ => error.to_string(),
    };
    Error::ProgramNotRunnable { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn executable(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_path_of_the_fence_is_searched_and_not_that_of_the_caller() {
        let place = tempfile::tempdir().unwrap();
        executable(&place.path().join("tool"), 0o755);
        let environment = [("PATH".into(), place.path().as_os_str().to_owned())];
        let found = resolve(OsStr::new("tool"), &environment, Path::new("/")).unwrap();
        assert_eq!(found, place.path().join("tool"));
        let error = resolve(OsStr::new("ls"), &environment, Path::new("/")).unwrap_err();
        assert_eq!(error.exit_code(), 127);
    }

    #[test]
    fn a_file_without_execute_permission_is_126() {
        let place = tempfile::tempdir().unwrap();
        executable(&place.path().join("tool"), 0o644);
        let error = resolve(OsStr::new("./tool"), &[], place.path()).unwrap_err();
        assert_eq!(error.exit_code(), 126);
        assert!(error.to_string().contains("chmod +x"));
    }
}
