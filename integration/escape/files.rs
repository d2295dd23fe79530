//! Files: other names of what is closed, races between names and files, ways to change what may only be read.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::arena::{Arena, SECRET};
use super::case::{Attempt, Case, escaped, nothing};
use super::system::{c, call, open, read};

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::least("F0", "a closed file is opened by its own name", by_its_name),
        Case::least(
            "F1",
            "a symbolic link leads to a closed file",
            by_symbolic_link,
        ),
        Case::least(
            "F2",
            "a symbolic link is swapped while it is opened",
            by_swapped_link,
        ),
        Case::least("F3", "a name with .. leads to a closed file", by_dots),
        Case::least(
            "F4",
            "/proc/self/root and /proc/self/cwd lead to a closed file",
            by_proc_root,
        ),
        Case::least(
            "F5",
            "a hard link to a closed file is made where all may be read",
            by_hard_link,
        ),
        Case::least(
            "F7",
            "a descriptor for the path gets a new name",
            by_linked_descriptor,
        ),
        Case::least(
            "F8",
            "a descriptor for the path is opened again",
            by_reopened_path,
        ),
        Case::least(
            "F8a",
            "a descriptor for reading is opened again for writing",
            by_reopened_reader,
        ),
        Case::least("F12", "two names are exchanged", by_exchange),
    ]
}

/// What the file says, if it is the secret.
pub(super) fn steal(path: impl AsRef<Path>) -> Attempt {
    let file = open(path, libc::O_RDONLY)?;
    secret_in(&read(&file)?)
}

pub(super) fn secret_in(text: &str) -> Attempt {
    if text.contains(SECRET) {
        escaped("read the secret")
    } else {
        nothing(format!(
            "read {:?}",
            text.chars().take(20).collect::<String>()
        ))
    }
}

fn by_its_name(arena: &Arena) -> Attempt {
    steal(arena.closed("secret"))
}

fn by_symbolic_link(arena: &Arena) -> Attempt {
    symlink(arena.closed("secret"), arena.open("link"))?;
    steal(arena.open("link"))
}

fn by_swapped_link(arena: &Arena) -> Attempt {
    let link = arena.open("link");
    let next = arena.open("next");
    let over = AtomicBool::new(false);
    fs::write(arena.open("plain"), "plain")?;
    symlink(arena.open("plain"), &link)?;
    thread::scope(|scope| {
        let swapper = scope.spawn(|| -> std::io::Result<()> {
            while !over.load(Ordering::Relaxed) {
                for target in [arena.closed("secret"), arena.open("plain")] {
                    symlink(target, &next)?;
                    fs::rename(&next, &link)?;
                }
            }
            Ok(())
        });
        let mut refused = 0;
        let mut caught = None;
        let mut tried = 0;
        // On a busy machine the swapper may not run for a while: both targets must have been met.
        while tried < arena.rounds
            || (refused == 0 && caught.is_none() && tried < arena.rounds * 100)
        {
            tried += 1;
            match steal(&link) {
                Ok(what) => caught = Some(what),
                Err(super::case::Stop::Refused(_)) => refused += 1,
                Err(_) => thread::yield_now(),
            }
        }
        over.store(true, Ordering::Relaxed);
        swapper
            .join()
            .map_err(|_| super::case::Stop::Broken("the swapper panicked".into()))??;
        match caught {
            Some(what) => escaped(what),
            None => nothing(format!(
                "{refused} of {tried} opens were refused, the others read what is open"
            )),
        }
    })
}

fn by_dots(arena: &Arena) -> Attempt {
    let name = format!("../../closed/{}/secret", arena.case);
    steal(arena.open(&name))
}

fn by_proc_root(arena: &Arena) -> Attempt {
    let closed = arena.closed("secret");
    let below = closed.strip_prefix("/").unwrap_or(&closed);
    for way in [
        "/proc/self/root",
        "/proc/thread-self/root",
        "/proc/self/task/../root",
    ] {
        if let Ok(what) = steal(Path::new(way).join(below)) {
            return escaped(format!("{way}: {what}"));
        }
    }
    steal(format!("/proc/self/cwd/{}/secret", arena.case))
}

fn by_hard_link(arena: &Arena) -> Attempt {
    fs::hard_link(arena.closed("secret"), arena.open("link"))?;
    steal(arena.open("link"))
}

fn by_linked_descriptor(arena: &Arena) -> Attempt {
    let path = open(arena.closed("secret"), libc::O_PATH)?;
    let by_proc = c(format!("/proc/self/fd/{}", path.as_raw_fd()))?;
    let target = c(arena.open("link"))?;
    let here = libc::AT_FDCWD;
    call(
        libc::SYS_linkat,
        &[
            here.into(),
            (&by_proc).into(),
            here.into(),
            (&target).into(),
            libc::AT_SYMLINK_FOLLOW.into(),
        ],
    )?;
    steal(arena.open("link"))
}

fn by_reopened_path(arena: &Arena) -> Attempt {
    let path = open(arena.closed("secret"), libc::O_PATH)?;
    steal(format!("/proc/self/fd/{}", path.as_raw_fd()))
}

fn by_reopened_reader(arena: &Arena) -> Attempt {
    let reader = open(arena.read("file"), libc::O_RDONLY)?;
    open(
        format!("/proc/self/fd/{}", reader.as_raw_fd()),
        libc::O_RDWR,
    )?;
    escaped("opened for writing")
}

fn by_exchange(arena: &Arena) -> Attempt {
    fs::write(arena.open("mine"), "mine")?;
    let (mine, theirs) = (c(arena.open("mine"))?, c(arena.closed("secret"))?);
    let here = libc::AT_FDCWD;
    call(
        libc::SYS_renameat2,
        &[
            here.into(),
            (&mine).into(),
            here.into(),
            (&theirs).into(),
            libc::RENAME_EXCHANGE.into(),
        ],
    )?;
    steal(arena.open("mine"))
}
