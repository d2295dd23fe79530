//! A system call that failed behind the fallback engine: whether that was the fence, and on which path.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use ringfence_abi::{event::operation, rights::WRITE};

use crate::{
    command::look::look,
    compile::{Entry, Explainer, Look, follow},
    event::{Cause, Event, Source},
};

/// `event` with the path that the call meant and the rights that the profile gives it; [`Cause::Other`] if the profile
/// allows the call, so that permission bits have denied it, or an engine that is stricter than the profile; [`Cause::Absent`] if it
/// was to look at what is not there, or to open a terminal by who has none.
///
/// The path is resolved from outside and afterwards: it explains, and decides nothing.
pub(super) fn resolved(event: Event, explainer: &Explainer) -> Event {
    let mut event = resolved_by(event, explainer, &look);
    let is_judged = event.source == Source::Syscall && event.cause == Cause::Rule;
    let is_missing = || looks_only(&event) && look(&event.path) == Entry::Missing;
    if is_judged && (is_missing() || is_terminal_of_nobody(&event)) {
        event.cause = Cause::Absent;
    }
    event
}

/// The same by who knows another root, but for what is absent: the mounts of a container that has ended are, too.
pub(in crate::command) fn resolved_by(
    mut event: Event,
    explainer: &Explainer,
    look: Look<'_>,
) -> Event {
    if event.source != Source::Syscall || event.cause == Cause::Closed {
        return event;
    }
    let base = event.other.take().unwrap_or_default();
    let passed = Path::new(OsStr::from_bytes(&base)).join(OsStr::from_bytes(&event.path));
    let passed = by_number(&passed, &event);
    event.path = if is_about_the_name(event.operation) {
        with_parent_followed(&passed, look)
    } else {
        follow(passed.as_os_str().as_bytes(), look)
    };
    event.granted = explainer.rights_in(event.program, &event.path);
    if event.needed & !event.granted == 0 {
        event.cause = Cause::Other;
    }
    event
}

/// Whether the call finds out whether something is there, as who goes through `PATH` does, makes nothing, and is not about a task, which
/// may have gone since.
fn looks_only(event: &Event) -> bool {
    let looks = [
        operation::OPEN,
        operation::LIST,
        operation::READ_LINK,
        operation::EXEC,
    ];
    looks.contains(&event.operation)
        && event.needed & WRITE == 0
        && !event.path.starts_with(b"/proc/")
}

/// Whether the call opens the terminal of who opens it, as shells do when they start, where there is none (`ENXIO`, so that nothing was
/// learned of it). A task that is gone is taken for one of the session that the fence was started in.
fn is_terminal_of_nobody(event: &Event) -> bool {
    let has_terminal = |task: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).ok()?;
        terminal(&stat)
    };
    let of_task = || has_terminal(&event.chain.first()?.pid.to_string());
    event.operation == operation::OPEN
        && event.path == b"/dev/tty"
        && of_task().or_else(|| has_terminal("self")) == Some(false)
}

/// Whether a task has a controlling terminal, by `/proc/PID/stat`: the seventh field, the fifth behind the name, which may hold anything.
fn terminal(stat: &str) -> Option<bool> {
    let (_, behind) = stat.rsplit_once(") ")?;
    let number = behind.split(' ').nth(4)?;
    Some(number != "0")
}

/// `/proc/self` is another for each task: the path as it was for the one that passed it.
fn by_number(path: &Path, event: &Event) -> PathBuf {
    let own = ["/proc/self", "/proc/thread-self"];
    let rest = own.iter().find_map(|own| path.strip_prefix(own).ok());
    match (rest, event.chain.first()) {
        (Some(rest), Some(task)) if !rest.as_os_str().is_empty() => {
            Path::new("/proc").join(task.pid.to_string()).join(rest)
        }
        _ => path.to_path_buf(),
    }
}

/// Whether the operation is about a directory's entry, which may be a link, and not about what a link leads to.
fn is_about_the_name(number: u16) -> bool {
    matches!(
        number,
        operation::UNLINK
            | operation::RMDIR
            | operation::RENAME
            | operation::LINK
            | operation::SYMLINK
            | operation::MKDIR
            | operation::MKNOD
    )
}

fn with_parent_followed(path: &Path, look: Look<'_>) -> Vec<u8> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.as_os_str().as_bytes().to_vec();
    };
    let parent = follow(parent.as_os_str().as_bytes(), look);
    let parent = Path::new(OsStr::from_bytes(&parent));
    parent
        .join(name)
        .into_os_string()
        .as_encoded_bytes()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controlling_terminal_is_the_fifth_field_behind_the_name() {
        assert_eq!(terminal("7 (a) b) S 1 7 7 0 -1 4194560"), Some(false));
        assert_eq!(terminal("7 (bash) S 1 7 7 34816 7 4194560"), Some(true));
        assert_eq!(terminal("7 (bash) S 1"), None);
        assert_eq!(terminal(""), None);
    }
}
