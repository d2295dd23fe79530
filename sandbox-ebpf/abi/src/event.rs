//! One verdict on its way to user space: a fixed [`Header`], then the path, then for rename and link the other path.

use crate::limits::{CHAIN, COMM_BYTES};

/// What the task tried. The numbers are part of the border: append, never renumber.
pub mod operation {
    macro_rules! operations {
        ($($number:literal $name:ident $text:literal,)*) => {
            $(#[doc = concat!("`", $text, "`")] pub const $name: u16 = $number;)*
            /// The operation's name, or `None` for a number that this version does not know.
            #[must_use]
            pub const fn name(operation: u16) -> Option<&'static str> {
                match operation { $($name => Some($text),)* _ => None }
            }
        };
    }
    operations! {
        1 OPEN "open",
        2 CREATE "create",
        3 MKDIR "mkdir",
        4 MKNOD "mknod",
        5 SYMLINK "symlink",
        6 LINK "link",
        7 RENAME "rename",
        8 UNLINK "unlink",
        9 RMDIR "rmdir",
        10 TRUNCATE "truncate",
        11 CHMOD "chmod",
        12 CHOWN "chown",
        13 SET_TIMES "utimes",
        14 SET_XATTR "setxattr",
        15 REMOVE_XATTR "removexattr",
        16 READ_LINK "readlink",
        17 LIST "readdir",
        18 IOCTL "ioctl",
        19 EXEC "exec",
        20 MAP_EXEC "mmap-exec",
        21 PROTECT_EXEC "mprotect-exec",
        22 RECEIVE "receive-fd",
        23 FORK "fork",
        24 GET_XATTR "getxattr",
        25 CHROOT "chroot",
        26 MOUNT "mount",
        27 PTRACE "ptrace",
        28 SIGNAL "signal",
        29 CONNECT_UNIX "connect-unix",
        30 WATCH "inotify",
        31 BPF "bpf",
        32 CAPABILITY "capability",
        33 SOCKET "socket",
        34 SYSTEM_CALL "system-call",
        35 NAMESPACE "user-namespace",
        36 PERF "perf",
        37 MODULE "kernel-module",
        38 LOAD "kernel-load",
        39 KEY "key",
        40 RING "io-uring",
        41 PAGE_FAULTS "userfaultfd",
        42 KERNEL_LOG "syslog",
        43 SET_TIME "settime",
        44 QUOTA "quota",
        45 NETWORK_DEVICE "tun",
        46 SCHEDULE "schedule",
        47 IPC "ipc",
        48 SIGNAL_OWNER "signal-owner",
        49 CONNECT "connect",
        50 SEND "send",
        51 BIND "bind",
        52 LISTEN "listen",
        53 GREET "tls-greeting",
        54 BIND_UNIX "bind-unix",
    }
}

/// Whether an event of this operation carries a [`crate::network::Peer`] in place of a path.
#[must_use]
pub const fn has_peer(operation: u16) -> bool {
    matches!(
        operation,
        operation::CONNECT
            | operation::SEND
            | operation::BIND
            | operation::LISTEN
            | operation::GREET
    )
}

/// Why the verdict was reached. The numbers are part of the border: append, never renumber.
pub mod cause {
    /// No rule allows the right, or a deny rule takes it away.
    pub const RULE: u8 = 1;
    /// The object has no path in this mount namespace: a detached or foreign mount.
    pub const FOREIGN: u8 = 2;
    /// The object has no path at all: memory files, unknown kernel objects.
    pub const ANONYMOUS: u8 = 3;
    /// The path is longer than [`crate::limits::PATH_BYTES`].
    pub const TOO_LONG: u8 = 4;
    /// The path has more steps than [`crate::limits::WALK_STEPS`].
    pub const TOO_DEEP: u8 = 5;
    /// The file has been removed, and a removed file is not executed.
    pub const UNLINKED: u8 = 6;
    /// The new name allows other things than the old one.
    pub const RIGHTS_DIFFER: u8 = 7;
    /// The fence itself failed: no scratch slot, no table, a read that failed.
    pub const INTERNAL: u8 = 8;
    /// The act is closed to every fenced task.
    pub const CLOSED: u8 = 9;
}

/// Allowed, and reported because the section's mode is audit.
pub const VERDICT_AUDIT: u8 = 1;
/// Denied.
pub const VERDICT_DENY: u8 = 2;

/// One task of an event's program chain.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancestor {
    /// Process identifier in the initial pid namespace; 0 ends the chain.
    pub pid: u32,
    /// Its short name, NUL padded. The task chooses it: information, never identity.
    pub comm: [u8; COMM_BYTES],
}

/// The fixed part of an event. `path_bytes` bytes of the path and `other_bytes` bytes of the other path follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Nanoseconds since boot (`bpf_ktime_get_boot_ns`).
    pub time: u64,
    /// The fence.
    pub fence: u32,
    /// Thread that acted, in the initial pid namespace.
    pub thread: u32,
    /// Its user, in the initial user namespace.
    pub user: u32,
    /// What was tried: [`operation`].
    pub operation: u16,
    /// [`VERDICT_AUDIT`] or [`VERDICT_DENY`].
    pub verdict: u8,
    /// Why: [`cause`].
    pub cause: u8,
    /// Rights that the act needs, [`crate::rights`].
    pub needed: u8,
    /// Rights that the path has.
    pub granted: u8,
    /// Bytes of the path.
    pub path_bytes: u16,
    /// Bytes of the other path: the new name of a rename or link.
    pub other_bytes: u16,
    /// Error that a watched system call returned, as a positive number; 0 where a hook reports its own verdict.
    pub error: u16,
    /// What of the operation, as a number: the capability, the signal, the socket's family, the request of a control
    /// operation; 0 where there is nothing to say.
    pub detail: u32,
    /// One more than the number of the surface that would open it ([`crate::surface`]); 0 if it is not about one.
    pub surface: u8,
    /// The program whose rights were in force; 0 for the fence at large.
    pub program: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// The process and its ancestors inside the fence, nearest first.
    pub chain: [Ancestor; CHAIN],
}

const _: () = assert!(size_of::<Ancestor>() == 20);
const _: () = assert!(size_of::<Header>() == 40 + 20 * CHAIN);
