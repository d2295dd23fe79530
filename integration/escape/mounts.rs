//! Mounts and roots: other names of a closed file, and files without a name that a rule could be about.

use std::fs;
use std::os::fd::AsRawFd;

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, World, escaped, past_the_check};
use super::files::{secret_in, steal};
use super::system::{NULL, c, call, descriptor, open, open_at, place, read};

/// The chapter on identity, second part.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::wide("F15", "mounts a directory over another", binds_mount).by_root(),
        Case::wide("C3", "mounts the cgroup file system", |arena| {
            mounts(arena, c"cgroup2")
        })
        .by_root(),
        Case::wide("C3a", "mounts a file system in memory", |arena| {
            mounts(arena, c"tmpfs")
        })
        .by_root(),
        Case::wide("C3b", "mounts /proc again (CVE-2019-16884)", |arena| {
            mounts(arena, c"proc")
        })
        .by_root(),
        Case::wide(
            "C3c",
            "mounts the kernel's file system for programs",
            |arena| mounts(arena, c"bpf"),
        )
        .by_root(),
        Case::least("F16", "reads in a copy of the mounts", clones_tree).by_root(),
        Case::wide("F16a", "makes a copy of the mounts", clones_tree).by_root(),
        Case::least("F16o", "reads in a copy of the mounts", clones_tree)
            .by_root()
            .within(World::Opened),
        Case::wide("F17", "takes a mount away", unmounts).by_root(),
        Case::least(
            "F17o",
            "writes in a mount that was taken away",
            writes_in_lost_mount,
        )
        .by_root()
        .within(World::Opened),
        Case::wide(
            "F18",
            "makes a file system that is mounted nowhere",
            makes_file_system,
        )
        .by_root(),
        Case::least(
            "F18o",
            "writes in a mount that is nowhere",
            makes_file_system,
        )
        .by_root()
        .within(World::Opened),
        Case::wide("F18a", "picks a file system to change it", |_| {
            let path = c("/")?;
            let words = [libc::AT_FDCWD.into(), (&path).into(), 0x8000_0000u32.into()];
            past_the_check(call(libc::SYS_fspick, &words), &[libc::EINVAL])
        })
        .by_root(),
        Case::least("F19", "reads below another root", changes_root).by_root(),
        Case::wide("F19a", "takes another root", |arena| {
            let path = c(arena.open("."))?;
            past_the_check(call(libc::SYS_chroot, &[(&path).into()]), &[])
        })
        .by_root(),
        Case::least("F19o", "reads below another root", changes_root)
            .by_root()
            .within(World::Opened),
        Case::wide("C8", "makes another mount the root", |_| {
            let words = [c"/".into(), c"/".into()];
            past_the_check(
                call(libc::SYS_pivot_root, &words),
                &[libc::EBUSY, libc::EINVAL],
            )
        })
        .by_root(),
        Case::wide("C8a", "moves a mount", |_| {
            let words = [
                (-1).into(),
                c"".into(),
                (-1).into(),
                c"".into(),
                0x8000_0000u32.into(),
            ];
            past_the_check(
                call(libc::SYS_move_mount, &words),
                &[libc::EINVAL, libc::EBADF],
            )
        })
        .by_root(),
        Case::wide("C8b", "changes what a mount may do", changes_mount).by_root(),
    ]
}

/// The control mounts in a namespace of its own; behind a fence there should be no way to have one.
fn private(arena: &Arena) -> Result<(), Stop> {
    const PRIVATE: u64 = libc::MS_REC | libc::MS_PRIVATE;
    let made = call(libc::SYS_unshare, &[libc::CLONE_NEWNS.into()]);
    let made = made.and_then(|_| {
        call(
            libc::SYS_mount,
            &[NULL, c"/".into(), NULL, PRIVATE.into(), NULL],
        )
    });
    match made {
        Err(error) if !arena.fenced => Err(error.into()),
        _ => Ok(()),
    }
}

fn mounts(arena: &Arena, kind: &std::ffi::CStr) -> Attempt {
    private(arena)?;
    mount(arena, kind)
}

pub(super) fn mount(arena: &Arena, kind: &std::ffi::CStr) -> Attempt {
    let target = arena.open("mount");
    fs::create_dir_all(&target)?;
    let path = c(&target)?;
    past_the_check(
        call(
            libc::SYS_mount,
            &[kind.into(), (&path).into(), kind.into(), 0.into(), NULL],
        ),
        &[libc::EBUSY],
    )
}

fn binds_mount(arena: &Arena) -> Attempt {
    private(arena)?;
    let target = arena.open("mount");
    fs::create_dir_all(&target)?;
    let (source, target) = (c(arena.closed("."))?, c(&target)?);
    call(
        libc::SYS_mount,
        &[
            (&source).into(),
            (&target).into(),
            NULL,
            libc::MS_BIND.into(),
            NULL,
        ],
    )?;
    steal(arena.open("mount/secret"))
}

fn unmounts(arena: &Arena) -> Attempt {
    let path = c(arena.open("."))?;
    past_the_check(
        call(
            libc::SYS_umount2,
            &[(&path).into(), libc::MNT_DETACH.into()],
        ),
        &[libc::EINVAL],
    )
}

fn makes_file_system(_: &Arena) -> Attempt {
    let context = descriptor(libc::SYS_fsopen, &[c"tmpfs".into(), 1.into()])?;
    const CREATE: i32 = 6;
    call(
        libc::SYS_fsconfig,
        &[(&context).into(), CREATE.into(), NULL, NULL, 0.into()],
    )?;
    let mount = descriptor(libc::SYS_fsmount, &[(&context).into(), 1.into(), 0.into()])?;
    open_at(mount.as_raw_fd(), "passwd", libc::O_CREAT | libc::O_RDWR)?;
    escaped("made a file in it")
}

/// What is in it has no path that a rule could be about, though it seems to.
fn writes_in_lost_mount(arena: &Arena) -> Attempt {
    private(arena)?;
    mount(arena, c"tmpfs")?;
    let target = arena.open("mount");
    let lost = open(&target, libc::O_RDONLY | libc::O_DIRECTORY)?;
    call(
        libc::SYS_umount2,
        &[(&c(&target)?).into(), libc::MNT_DETACH.into()],
    )?;
    open_at(lost.as_raw_fd(), "passwd", libc::O_CREAT | libc::O_RDWR)?;
    escaped("made a file in it")
}

fn changes_mount(arena: &Arena) -> Attempt {
    const NO_ACCESS_TIME: u64 = 0x10;
    let path = c(arena.open("."))?;
    let mut change = [NO_ACCESS_TIME, 0x70, 0, 0];
    past_the_check(
        call(
            libc::SYS_mount_setattr,
            &[
                libc::AT_FDCWD.into(),
                (&path).into(),
                0.into(),
                place(&mut change),
                32.into(),
            ],
        ),
        &[libc::EINVAL],
    )
}

/// What is in a copy has no path in the namespace.
fn clones_tree(arena: &Arena) -> Attempt {
    const CLONE: i32 = 1;
    let path = c(arena.closed("."))?;
    let tree = descriptor(
        libc::SYS_open_tree,
        &[
            libc::AT_FDCWD.into(),
            (&path).into(),
            (CLONE | libc::O_CLOEXEC).into(),
        ],
    )?;
    let file = open_at(
        std::os::fd::AsRawFd::as_raw_fd(&tree),
        "secret",
        libc::O_RDONLY,
    )?;
    secret_in(&read(&file)?)
}

/// Another root directory, in which the closed file has another name.
fn changes_root(arena: &Arena) -> Attempt {
    call(
        libc::SYS_chroot,
        &[(&c(arena.stage.join("closed"))?).into()],
    )?;
    steal(format!("/{}/secret", arena.case))
}
