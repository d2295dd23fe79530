//! Other people's programs: started, waited for, and their failure told with the command line.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// One line of progress. Standard error, so that a verb's output stays clean.
pub(crate) fn say(line: impl AsRef<str>) {
    eprintln!("xtask: {}", line.as_ref());
}

/// Runs to the end; anything but success is an error that shows the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and gives standard output as text.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("could not start {}", shown(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed: {}\n{}",
            shown(command),
            output.status,
            complaint.trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something that is not text", shown(command)))
}

/// The command as a person would type it, near enough for a message.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A program by its path, or by its name on `PATH` and in cargo's own folder.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let runnable = |path: &Path| {
        path.metadata()
            .is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| runnable(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend([
        "/usr/sbin".into(),
        "/sbin".into(),
        crate::place::cargo_home().join("bin"),
    ]);
    folders
        .iter()
        .map(|folder| folder.join(program))
        .find(|path| runnable(path))
}

/// Whether this process may install packages and start machines. The owner of `/proc/self` is the effective user.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|seen| seen.uid() == 0)
}

/// Quoted for a POSIX shell, whatever bytes it holds.
pub(crate) fn quoted(word: &OsStr) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut text = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend_from_slice(br"'\''"),
            other => text.push(*other),
        }
    }
    text.push(b'\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_survive_a_shell() {
        let awkward = "a 'b' \"c\" $HOME `id` \\ \n*";
        let mut script = b"printf %s ".to_vec();
        script.extend(quoted(OsStr::new(awkward)));
        let script = String::from_utf8(script).unwrap();
        assert_eq!(
            read(Command::new("sh").args(["-c", &script])).unwrap(),
            awkward
        );
    }

    #[test]
    fn a_failure_shows_the_command_and_what_it_said() {
        let message = format!(
            "{:#}",
            read(Command::new("sh").args(["-c", "echo oops >&2; exit 3"])).unwrap_err()
        );
        assert!(
            message.contains("sh -c") && message.contains("oops") && message.contains('3'),
            "{message}"
        );
    }
}
