//! Names: made, moved, linked and removed where nothing may be written; content that goes with them.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::arena::Arena;
use super::case::{Attempt, Case, escaped};
use super::files::steal;
use super::system::{c, call, open};

/// The chapter on files, second part.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::least(
            "F22",
            "a file without a name gets one where nothing may be written",
            names_unnamed,
        ),
        Case::least(
            "F38",
            "a socket is bound where nothing may be written",
            binds,
        ),
        Case::least(
            "F40",
            "what may be read is truncated by its path",
            truncates,
        ),
        Case::least(
            "F41",
            "what may be read is opened with O_TRUNC for reading",
            truncates_open,
        ),
        Case::least(
            "F45",
            "a directory that may be read is moved to where it may be written",
            moves_directory,
        ),
        Case::least(
            "F46",
            "a closed directory is moved to where it may be read",
            moves_closed,
        ),
        Case::least(
            "F47",
            "a file is moved over one that may only be read",
            moves_over,
        ),
        Case::least(
            "F48",
            "names are made and removed where nothing may be written",
            makes_names,
        ),
        Case::least("F49", "a closed directory is listed", lists),
        Case::least("F50", "a closed symbolic link is read", reads_link),
        Case::least(
            "F52",
            "a hard link makes what may be read writable",
            links_to_write,
        ),
        Case::least(
            "F54",
            "a device node of the disk or of memory is made",
            makes_device,
        )
        .by_root(),
    ]
}

fn names_unnamed(arena: &Arena) -> Attempt {
    let unnamed = open(arena.open("."), libc::O_TMPFILE | libc::O_RDWR)?;
    let by_proc = c(format!("/proc/self/fd/{}", unnamed.as_raw_fd()))?;
    let target = c(arena.read("new"))?;
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
    escaped("made a name")
}

fn binds(arena: &Arena) -> Attempt {
    UnixListener::bind(arena.read("socket"))?;
    escaped("bound")
}

fn truncates(arena: &Arena) -> Attempt {
    let path = c(arena.read("file"))?;
    call(libc::SYS_truncate, &[(&path).into(), 0.into()])?;
    escaped("truncated")
}

fn truncates_open(arena: &Arena) -> Attempt {
    open(arena.read("file"), libc::O_RDONLY | libc::O_TRUNC)?;
    escaped("truncated")
}

fn moves_directory(arena: &Arena) -> Attempt {
    fs::rename(arena.read("folder"), arena.open("folder"))?;
    escaped("moved")
}

fn moves_closed(arena: &Arena) -> Attempt {
    fs::rename(arena.closed("folder"), arena.open("folder"))?;
    steal(arena.open("folder/secret"))
}

fn moves_over(arena: &Arena) -> Attempt {
    fs::write(arena.open("mine"), "mine")?;
    fs::rename(arena.open("mine"), arena.read("file"))?;
    escaped("replaced")
}

fn makes_names(arena: &Arena) -> Attempt {
    type Act = fn(&Arena) -> std::io::Result<()>;
    let acts: [(&str, Act); 6] = [
        ("mkdir", |arena| fs::create_dir(arena.read("new-folder"))),
        ("symlink", |arena| symlink("x", arena.read("new-link"))),
        ("create", |arena| fs::write(arena.read("new-file"), "")),
        ("mkfifo", |arena| {
            let path = c(arena.read("new-fifo"))?;
            call(
                libc::SYS_mknod,
                &[(&path).into(), (libc::S_IFIFO | 0o600).into(), 0.into()],
            )
            .map(drop)
        }),
        ("unlink", |arena| fs::remove_file(arena.read("program"))),
        ("rmdir", |arena| {
            fs::remove_file(arena.read("folder/file"))?;
            fs::remove_dir(arena.read("folder"))
        }),
    ];
    let mut last = Ok(());
    for (name, act) in acts {
        match act(arena) {
            Ok(()) if arena.fenced => return escaped(name),
            end => last = last.and(end),
        }
    }
    last?;
    escaped("all of them")
}

fn lists(arena: &Arena) -> Attempt {
    let names = fs::read_dir(arena.closed("."))?.count();
    escaped(format!("{names} names"))
}

fn reads_link(arena: &Arena) -> Attempt {
    escaped(fs::read_link(arena.closed("link"))?.display())
}

fn links_to_write(arena: &Arena) -> Attempt {
    fs::hard_link(arena.read("file"), arena.open("link"))?;
    open(arena.open("link"), libc::O_RDWR)?;
    escaped("opened for writing")
}

fn makes_device(arena: &Arena) -> Attempt {
    let path = c(arena.open("memory"))?;
    call(
        libc::SYS_mknod,
        &[
            (&path).into(),
            (libc::S_IFCHR | 0o600).into(),
            libc::makedev(1, 1).into(),
        ],
    )?;
    escaped("made")
}
