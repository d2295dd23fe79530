//! Changes of what may only be read, and of what is closed: mode, owner, times, attributes; watches and leases.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};

use super::arena::Arena;
use super::case::{Attempt, Case, absent, escaped, nothing};
use super::files::{secret_in, steal};
use super::system::{c, call, descriptor, in_child, open, place, read};

/// The second part of the chapter.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::least("F23", "a closed file is opened by its handle", by_handle).by_root(),
        Case::least(
            "F24",
            "a closed file is opened by a path of nearly 4096 bytes",
            by_long_path,
        ),
        Case::least(
            "F33",
            "an extended attribute is set on what may be read",
            sets_attribute,
        ),
        Case::least(
            "F33a",
            "an access control list is set on what may be read",
            sets_list,
        ),
        Case::least(
            "F34",
            "flags of a file that may be read are set",
            sets_flags,
        ),
        Case::least(
            "F35",
            "fanotify stalls and watches the whole file system",
            watches_all,
        )
        .by_root(),
        Case::least("F35a", "inotify watches a closed directory", watches),
        Case::least(
            "F42",
            "the mode of what may be read is changed",
            changes_mode,
        ),
        Case::least(
            "F42a",
            "the mode is changed by a descriptor for reading",
            changes_mode_by_descriptor,
        ),
        Case::least(
            "F42b",
            "the mode is changed by the link of an O_PATH descriptor in /proc",
            changes_mode_by_proc,
        ),
        Case::least(
            "F43",
            "the owner of what may be read is changed",
            changes_owner,
        ),
        Case::least(
            "F44",
            "the times of a closed file are changed",
            changes_times,
        ),
        Case::least(
            "F51",
            "openat2 starts from an O_PATH descriptor of a closed directory",
            by_path_descriptor,
        ),
        Case::least(
            "F53",
            "a dump of memory is written where nothing may be written",
            dumps_core,
        ),
        Case::least(
            "F55",
            "what may only be read is mapped shared and made writable",
            maps_shared,
        ),
        Case::least("F56", "a lease is taken on a closed file", takes_lease),
        Case::wide(
            "F57",
            "a file that belongs to somebody else is opened by the power of root",
            overrides_mode,
        )
        .by_root(),
    ]
}

/// `struct file_handle` with room for the largest.
#[repr(C)]
struct Handle {
    size: u32,
    kind: i32,
    bytes: [u8; 128],
}

pub(super) fn by_handle(arena: &Arena) -> Attempt {
    let mut handle = Handle {
        size: 128,
        kind: 0,
        bytes: [0; 128],
    };
    let path = c(arena.closed("secret"))?;
    let mut mount = 0i32;
    call(
        libc::SYS_name_to_handle_at,
        &[
            libc::AT_FDCWD.into(),
            (&path).into(),
            place(&mut handle),
            place(&mut mount),
            0.into(),
        ],
    )?;
    let above = open(arena.open("."), libc::O_RDONLY | libc::O_DIRECTORY)?;
    let file = descriptor(
        libc::SYS_open_by_handle_at,
        &[(&above).into(), place(&mut handle), libc::O_RDONLY.into()],
    )?;
    secret_in(&read(&file)?)
}

fn by_long_path(arena: &Arena) -> Attempt {
    let top = arena.open(".").display().to_string();
    let end = format!("/../../../closed/{}/secret", arena.case);
    let dots = "/.".repeat((4094 - top.len() - end.len()) / 2);
    // `open/F24/.` is as deep as `open/F24`.
    steal(format!(
        "{top}{dots}{}",
        end.replacen("/../../..", "/../..", 1)
    ))
}

fn set_attribute(arena: &Arena, name: &std::ffi::CStr, value: &[u8]) -> std::io::Result<()> {
    let path = c(arena.read("file"))?;
    call(
        libc::SYS_setxattr,
        &[
            (&path).into(),
            name.into(),
            value.into(),
            value.len().into(),
            0.into(),
        ],
    )?;
    Ok(())
}

fn sets_attribute(arena: &Arena) -> Attempt {
    match set_attribute(arena, c"user.escape", b"x") {
        // Before 6.6 a tmpfs has attributes of root only.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            if !nix::unistd::getuid().is_root() {
                return absent("this file system has no attributes of users");
            }
            set_attribute(arena, c"trusted.escape", b"x")?;
        }
        end => end?,
    }
    escaped("set")
}

fn sets_list(arena: &Arena) -> Attempt {
    // Version 2: owner, group and others may read (include/uapi/linux/posix_acl_xattr.h).
    let mut list = vec![2, 0, 0, 0];
    for tag in [1u16, 4, 0x20] {
        list.extend(tag.to_le_bytes());
        list.extend(4u16.to_le_bytes());
        list.extend(u32::MAX.to_le_bytes());
    }
    set_attribute(arena, c"system.posix_acl_access", &list)?;
    escaped("set")
}

fn sets_flags(arena: &Arena) -> Attempt {
    const GET: u32 = 0x8008_6601;
    const SET: u32 = 0x4008_6602;
    const NO_DUMP: i64 = 0x40;
    let file = open(arena.read("file"), libc::O_RDONLY)?;
    let mut flags = 0i64;
    call(
        libc::SYS_ioctl,
        &[(&file).into(), GET.into(), place(&mut flags)],
    )
    .map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTTY) => std::io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        _ => error,
    })?;
    flags |= NO_DUMP;
    call(
        libc::SYS_ioctl,
        &[(&file).into(), SET.into(), place(&mut flags)],
    )?;
    escaped("set")
}

fn watches_all(arena: &Arena) -> Attempt {
    const CONTENT: u32 = 4;
    const ADD_MOUNT: u32 = 0x11;
    const OPEN_PERMISSION: u64 = 0x1_0000;
    let group = descriptor(
        libc::SYS_fanotify_init,
        &[CONTENT.into(), libc::O_RDONLY.into()],
    )?;
    if !arena.fenced {
        // A mark on a mount would stall the machine; to be let in so far is enough.
        return escaped("made a group");
    }
    let path = c(arena.closed("."))?;
    call(
        libc::SYS_fanotify_mark,
        &[
            (&group).into(),
            ADD_MOUNT.into(),
            OPEN_PERMISSION.into(),
            libc::AT_FDCWD.into(),
            (&path).into(),
        ],
    )?;
    escaped("marked the mount")
}

fn watches(arena: &Arena) -> Attempt {
    let group = descriptor(libc::SYS_inotify_init1, &[libc::O_CLOEXEC.into()])?;
    let path = c(arena.closed("."))?;
    call(
        libc::SYS_inotify_add_watch,
        &[(&group).into(), (&path).into(), libc::IN_OPEN.into()],
    )?;
    escaped("watches")
}

fn changes_mode(arena: &Arena) -> Attempt {
    fs::set_permissions(arena.read("file"), fs::Permissions::from_mode(0o4777))?;
    escaped("changed")
}

fn changes_mode_by_descriptor(arena: &Arena) -> Attempt {
    let file = open(arena.read("file"), libc::O_RDONLY)?;
    call(libc::SYS_fchmod, &[(&file).into(), 0o777.into()])?;
    escaped("changed")
}

fn changes_mode_by_proc(arena: &Arena) -> Attempt {
    let file = open(arena.closed("secret"), libc::O_PATH)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    escaped("changed")
}

fn changes_owner(arena: &Arena) -> Attempt {
    let file = arena.read("file");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file)?);
    chown(&file, Some(owner), None)?;
    escaped("changed")
}

fn changes_times(arena: &Arena) -> Attempt {
    let path = c(arena.closed("secret"))?;
    let mut times = [libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    }; 2];
    call(
        libc::SYS_utimensat,
        &[
            libc::AT_FDCWD.into(),
            (&path).into(),
            place(&mut times),
            0.into(),
        ],
    )?;
    escaped("changed")
}

fn by_path_descriptor(arena: &Arena) -> Attempt {
    let folder = open(arena.closed("folder"), libc::O_PATH | libc::O_DIRECTORY)?;
    let path = c("secret")?;
    // struct open_how: flags, mode, resolve = RESOLVE_BENEATH
    let mut how = [0u64, 0, 8];
    let file = descriptor(
        libc::SYS_openat2,
        &[
            (&folder).into(),
            (&path).into(),
            place(&mut how),
            size_of::<[u64; 3]>().into(),
        ],
    )?;
    secret_in(&read(&file)?)
}

fn dumps_core(arena: &Arena) -> Attempt {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if !arena.fenced && !pattern.starts_with("core") {
        return absent("dumps of memory go elsewhere");
    }
    std::env::set_current_dir(arena.read("."))?;
    let mut limit = libc::rlimit {
        rlim_cur: 1 << 20,
        rlim_max: libc::RLIM_INFINITY,
    };
    call(
        libc::SYS_prlimit64,
        &[
            0.into(),
            libc::RLIMIT_CORE.into(),
            place(&mut limit),
            super::system::NULL,
        ],
    )?;
    in_child(|| {
        // SAFETY: ends the child.
        unsafe { libc::abort() }
    })
    .ok();
    let names = fs::read_dir(arena.read("."))?.flatten();
    let dumped = names
        .into_iter()
        .find(|name| name.file_name().to_string_lossy().starts_with("core"));
    match dumped {
        Some(name) => escaped(name.path().display()),
        None => nothing("no dump"),
    }
}

fn maps_shared(arena: &Arena) -> Attempt {
    // Opened for both, as a mapping needs: what is refused is the open.
    let file = open(arena.read("file"), libc::O_RDWR)?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    super::system::map(4096, both, libc::MAP_SHARED, Some(&file), 0)?;
    escaped("mapped")
}

fn takes_lease(arena: &Arena) -> Attempt {
    let file = open(arena.closed("secret"), libc::O_RDONLY)?;
    call(
        libc::SYS_fcntl,
        &[
            (&file).into(),
            libc::F_SETLEASE.into(),
            libc::F_RDLCK.into(),
        ],
    )?;
    escaped("taken")
}

fn overrides_mode(arena: &Arena) -> Attempt {
    let file = arena.open("others");
    fs::write(&file, "x")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0))?;
    open(&file, libc::O_RDONLY)?;
    escaped("opened a file of mode 0")
}
