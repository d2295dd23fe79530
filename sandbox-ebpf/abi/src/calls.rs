//! System calls that recording by system calls looks at: what each does, and where its arguments are.
//!
//! Numbers of arch/x86/entry/syscalls/syscall_64.tbl.

use crate::{
    event::operation,
    rights::{READ, WRITE},
};

/// No argument.
pub const NONE: u8 = 9;
/// `CLONE_NEW*` (include/uapi/linux/sched.h), that of time namespaces left out: to `clone` it is part of the signal's
/// number.
pub const NAMESPACES: u32 = 0x7e02_0000;

/// open(2).
pub const OPEN: u64 = 2;
/// mmap(2).
pub const MAP: u64 = 9;
/// ioctl(2).
pub const CONTROL: u64 = 16;
/// socket(2).
pub const SOCKET: u64 = 41;
/// connect(2).
pub const CONNECT: u64 = 42;
/// sendto(2).
pub const SEND_TO: u64 = 44;
/// sendmsg(2).
pub const SEND_MESSAGE: u64 = 46;
/// bind(2).
pub const BIND: u64 = 49;
/// listen(2).
pub const LISTEN: u64 = 50;
/// clone(2).
pub const CLONE: u64 = 56;
/// execve(2).
pub const EXECUTE: u64 = 59;
/// creat(2).
pub const CREATE: u64 = 85;
/// openat(2).
pub const OPEN_AT: u64 = 257;
/// unshare(2).
pub const UNSHARE: u64 = 272;
/// open_by_handle_at(2).
pub const OPEN_BY_HANDLE: u64 = 304;
/// execveat(2).
pub const EXECUTE_AT: u64 = 322;
/// clone3(2).
pub const CLONE_3: u64 = 435;
/// openat2(2).
pub const OPEN_AT_2: u64 = 437;

/// Whether something is told when it has succeeded.
#[inline(always)]
pub fn is_of_interest(number: u64) -> bool {
    matches!(
        number,
        OPEN | MAP
            | CONTROL
            | SOCKET
            | CONNECT
            | SEND_TO
            | SEND_MESSAGE
            | BIND
            | LISTEN
            | CREATE
            | OPEN_AT
            | OPEN_BY_HANDLE
            | OPEN_AT_2
            | CLONE
            | UNSHARE
            | CLONE_3
    ) || on_descriptor(number).is_some()
        || shape(number).is_some()
}

/// Calls that return twice: to the child with 0, which is not told. The arguments lie in its parent's memory, which may have
/// gone on by then.
#[inline(always)]
pub fn is_clone(number: u64) -> bool {
    number == CLONE || number == CLONE_3
}

/// System calls that change what an open descriptor names.
#[inline(always)]
pub fn on_descriptor(number: u64) -> Option<u16> {
    match number {
        77 => Some(operation::TRUNCATE),
        91 => Some(operation::CHMOD),
        93 => Some(operation::CHOWN),
        190 => Some(operation::SET_XATTR),
        199 => Some(operation::REMOVE_XATTR),
        _ => None,
    }
}

/// What a system call does, and where its arguments are.
pub struct Shape {
    /// [`operation`].
    pub operation: u16,
    /// [`crate::rights`].
    pub needed: u8,
    /// Index of the directory's descriptor, or [`NONE`].
    pub directory: u8,
    /// Index of the name.
    pub path: u8,
    /// Index of the other name's directory, or [`NONE`].
    pub other_directory: u8,
    /// Index of the other name, or [`NONE`].
    pub other: u8,
    /// Whether a link in the last name is followed.
    pub follows: bool,
    /// Index of the flags that may say otherwise.
    pub flags: u8,
}

/// What a system call that names its objects does.
#[inline(always)]
pub fn shape(number: u64) -> Option<Shape> {
    let two = |operation, arguments: [u8; 4]| Shape {
        operation,
        needed: WRITE,
        directory: arguments[0],
        path: arguments[1],
        other_directory: arguments[2],
        other: arguments[3],
        follows: false,
        flags: NONE,
    };
    let entry = |operation, directory, path| Shape {
        operation,
        needed: WRITE,
        directory,
        path,
        other_directory: NONE,
        other: NONE,
        follows: false,
        flags: NONE,
    };
    let followed = |operation, directory, path| Shape {
        follows: true,
        ..entry(operation, directory, path)
    };
    let read = |operation, directory, path| Shape {
        needed: READ,
        ..entry(operation, directory, path)
    };
    Some(match number {
        82 => two(operation::RENAME, [NONE, 0, NONE, 1]),
        264 | 316 => two(operation::RENAME, [0, 1, 2, 3]),
        86 => two(operation::LINK, [NONE, 0, NONE, 1]),
        265 => two(operation::LINK, [0, 1, 2, 3]),
        83 => entry(operation::MKDIR, NONE, 0),
        258 => entry(operation::MKDIR, 0, 1),
        84 => entry(operation::RMDIR, NONE, 0),
        87 => entry(operation::UNLINK, NONE, 0),
        263 => entry(operation::UNLINK, 0, 1),
        88 => entry(operation::SYMLINK, NONE, 1),
        266 => entry(operation::SYMLINK, 1, 2),
        133 => entry(operation::MKNOD, NONE, 0),
        259 => entry(operation::MKNOD, 0, 1),
        76 => followed(operation::TRUNCATE, NONE, 0),
        90 => followed(operation::CHMOD, NONE, 0),
        268 => followed(operation::CHMOD, 0, 1),
        452 => Shape {
            flags: 3,
            ..followed(operation::CHMOD, 0, 1)
        },
        92 => followed(operation::CHOWN, NONE, 0),
        94 => entry(operation::CHOWN, NONE, 0),
        260 => Shape {
            flags: 4,
            ..followed(operation::CHOWN, 0, 1)
        },
        280 => Shape {
            flags: 3,
            ..followed(operation::SET_TIMES, 0, 1)
        },
        261 => followed(operation::SET_TIMES, 0, 1),
        132 | 235 => followed(operation::SET_TIMES, NONE, 0),
        188 => followed(operation::SET_XATTR, NONE, 0),
        189 => entry(operation::SET_XATTR, NONE, 0),
        463 => Shape {
            flags: 2,
            ..followed(operation::SET_XATTR, 0, 1)
        },
        197 => followed(operation::REMOVE_XATTR, NONE, 0),
        198 => entry(operation::REMOVE_XATTR, NONE, 0),
        466 => Shape {
            flags: 2,
            ..followed(operation::REMOVE_XATTR, 0, 1)
        },
        89 => read(operation::READ_LINK, NONE, 0),
        267 => read(operation::READ_LINK, 0, 1),
        254 => Shape {
            follows: true,
            ..read(operation::WATCH, NONE, 1)
        },
        _ => return None,
    })
}

/// Terminal requests have the type `T`; on a regular file they fail with `ENOTTY` (`isatty`).
#[inline(always)]
#[must_use]
pub fn is_terminal(command: u32) -> bool {
    command >> 8 & 0xff == 0x54
}

/// Requests that only ask, on regular files and directories.
#[inline(always)]
#[must_use]
pub fn asks_only(command: u32) -> bool {
    const FIBMAP: u32 = 1;
    const FIGETBSZ: u32 = 2;
    const FIONBIO: u32 = 0x5421;
    const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
    const FS_IOC32_GETFLAGS: u32 = 0x8004_6601;
    const FS_IOC_GETVERSION: u32 = 0x8008_7601;
    const FS_IOC_FIEMAP: u32 = 0xc020_660b;
    const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
    const FS_IOC_GETFSLABEL: u32 = 0x8100_9431;
    const FS_IOC_GET_ENCRYPTION_POLICY: u32 = 0xc009_6616;
    is_terminal(command)
        || matches!(
            command,
            FIBMAP
                | FIGETBSZ
                | FIONBIO
                | FS_IOC_GETFLAGS
                | FS_IOC32_GETFLAGS
                | FS_IOC_GETVERSION
                | FS_IOC_FIEMAP
                | FS_IOC_FSGETXATTR
                | FS_IOC_GETFSLABEL
                | FS_IOC_GET_ENCRYPTION_POLICY
        )
}
