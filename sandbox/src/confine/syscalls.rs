//! The system calls that a fence closes, as data: what, with which errno, and why. How they become a filter is
//! [`super::seccomp`]'s business.
//!
//! This is a list of what is closed, not of what is open: what programs do all day is judged by path, peer and
//! capability elsewhere. Here stands what manages the kernel, makes namespaces, or goes round those judgements.

use ringfence_abi::surface::{
    BPF, CHROOT, CLOCK, FILE_HANDLES, IO_URING, IPC, KEXEC, KEYRING, MEMORY_EXEC, MODULES, MOUNT,
    NAMESPACES, PERF, QUOTA, SCHEDULER, SYSLOG, SYSTEM, Surfaces, TERMINAL_INPUT, TUN, USERFAULTFD,
    USERNS,
};

use crate::policy::{Argument, ClosedCall};

/// One system call that is closed whatever its arguments.
pub(super) struct Closed {
    /// The kernel's name.
    pub(super) name: &'static str,
    /// Its number where libseccomp 2.5 does not know it: that of [`NEWER`].
    pub(super) number: Option<u32>,
    /// The caller is told this.
    pub(super) errno: i32,
    /// What opens it if all of it is open; nothing does if it is `None`.
    pub(super) opened_by: Option<Surfaces>,
}

/// One system call that is closed for some arguments.
pub(super) struct ClosedWhen {
    /// The kernel's name.
    pub(super) name: &'static str,
    /// Argument, from 0.
    pub(super) argument: u32,
    /// What it must be to be refused.
    pub(super) refused: Argument,
    /// The caller is told this.
    pub(super) errno: i32,
    /// What opens it if all of it is open; nothing does if it is `None`.
    pub(super) opened_by: Option<Surfaces>,
}

impl Closed {
    /// Whether it stays closed where `open` is open.
    pub(super) fn stays(&self, open: Surfaces) -> bool {
        stays(self.opened_by, open)
    }
}

impl ClosedWhen {
    /// Whether it stays closed where `open` is open.
    pub(super) fn stays(&self, open: Surfaces) -> bool {
        stays(self.opened_by, open)
    }

    /// Whether these arguments are refused.
    pub(super) fn meets(&self, arguments: &[u64; 6]) -> bool {
        let argument = usize::try_from(self.argument).ok();
        let Some(given) = argument.and_then(|argument| arguments.get(argument)) else {
            return false;
        };
        match self.refused {
            Argument::Masked { mask, value } => given & mask == value,
            Argument::AllBut(value) => *given != value,
        }
    }
}

/// What every fence closes where `open` is open, for who builds a filter elsewhere.
#[must_use]
pub fn closed_calls(open: Surfaces) -> Vec<ClosedCall> {
    let whole = CLOSED.iter().filter(|call| call.stays(open));
    let whole = whole.map(|call| ClosedCall {
        name: call.name,
        errno: call.errno,
        when: None,
    });
    let some = closed_when()
        .into_iter()
        .filter(move |call| call.stays(open));
    let some = some.map(|call| ClosedCall {
        name: call.name,
        errno: call.errno,
        when: Some((call.argument, call.refused)),
    });
    whole.chain(some).collect()
}

/// The system calls that are open whatever a policy lists.
#[must_use]
pub fn always_open() -> &'static [&'static str] {
    ALWAYS
}

fn stays(opened_by: Option<Surfaces>, open: Surfaces) -> bool {
    opened_by.is_none_or(|by| !open.contains(by))
}

/// What every process needs to start and to end, whatever a policy lists: execve starts the command and exit ends it,
/// signal handlers and interrupted calls return by sigreturn and restart_syscall, and by write the launcher tells why an
/// exec failed.
pub(super) const ALWAYS: &[&str] = &[
    "execve",
    "exit",
    "exit_group",
    "rt_sigreturn",
    "sigreturn",
    "restart_syscall",
    "write",
];

/// The first number that no version of this table knows: from here on a call "does not exist" (ENOSYS), which is what
/// programs are prepared for on older kernels. 469 is file_setattr of 6.17.
pub(super) const FIRST_UNKNOWN: u32 = 470;
/// 32-bit ARM has private calls from here on (arch/arm/include/uapi/asm/unistd.h, `__ARM_NR_BASE`).
pub(super) const FIRST_PRIVATE: u32 = 0x000f_0000;

const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;
const EACCES: i32 = libc::EACCES;

/// Calls that libseccomp 2.5 may not know, by number. Calls since 5.1 have one number on every architecture
/// (include/uapi/asm-generic/unistd.h, 6.18).
pub(super) const NEWER: &[(&str, u32)] = &[
    ("mount_setattr", 442),
    ("quotactl_fd", 443),
    ("landlock_create_ruleset", 444),
    ("landlock_add_rule", 445),
    ("landlock_restrict_self", 446),
    ("memfd_secret", 447),
    ("process_mrelease", 448),
    ("futex_waitv", 449),
    ("set_mempolicy_home_node", 450),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// The number of a call in [`NEWER`].
pub(super) const fn newer(name: &str) -> Option<u32> {
    let mut position = 0;
    while position < NEWER.len() {
        if equal(NEWER[position].0.as_bytes(), name.as_bytes()) {
            return Some(NEWER[position].1);
        }
        position += 1;
    }
    None
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut position = 0;
    while position < one.len() && position < other.len() {
        if one[position] != other[position] {
            return false;
        }
        position += 1;
    }
    one.len() == other.len()
}

const fn closed(name: &'static str, errno: i32) -> Closed {
    Closed {
        name,
        number: newer(name),
        errno,
        opened_by: None,
    }
}

const fn unless(surface: Surfaces, name: &'static str) -> Closed {
    Closed {
        opened_by: Some(surface),
        ..closed(name, EPERM)
    }
}

/// Closed in every fence, unless what opens it is open.
pub(super) const CLOSED: &[Closed] = &[
    // What is where in the file system is what path rules stand on.
    unless(MOUNT, "mount"),
    unless(MOUNT, "umount"),
    unless(MOUNT, "umount2"),
    unless(MOUNT, "pivot_root"),
    unless(MOUNT, "move_mount"),
    unless(MOUNT, "open_tree"),
    unless(MOUNT, "open_tree_attr"),
    unless(MOUNT, "fsopen"),
    unless(MOUNT, "fsconfig"),
    unless(MOUNT, "fsmount"),
    unless(MOUNT, "fspick"),
    unless(MOUNT, "mount_setattr"),
    unless(CHROOT, "chroot"),
    // Opens by inode number, past every path.
    unless(FILE_HANDLES, "open_by_handle_at"),
    // Namespaces give capabilities, mounts and new kernel surface. See NAMESPACE_FLAGS for those of clone and unshare.
    unless(NAMESPACES, "setns"),
    // Passes its flags in memory, where a filter cannot look, so that it is there only if every namespace may be made:
    // "not there" makes C libraries use clone, whose flags are judged one by one.
    Closed {
        errno: ENOSYS,
        ..unless(NAMESPACES.union(USERNS), "clone3")
    },
    // Code and tracing in the kernel.
    unless(BPF, "bpf"),
    unless(PERF, "perf_event_open"),
    unless(MODULES, "init_module"),
    unless(MODULES, "finit_module"),
    unless(MODULES, "delete_module"),
    unless(MODULES, "create_module"),
    unless(KEXEC, "kexec_load"),
    unless(KEXEC, "kexec_file_load"),
    // Stalls the kernel at a place of the attacker's choice.
    unless(USERFAULTFD, "userfaultfd"),
    // Does system calls without system calls.
    unless(IO_URING, "io_uring_setup"),
    unless(IO_URING, "io_uring_enter"),
    unless(IO_URING, "io_uring_register"),
    // Keyrings are shared by user, not by fence; request_key starts a helper outside.
    unless(KEYRING, "add_key"),
    unless(KEYRING, "request_key"),
    unless(KEYRING, "keyctl"),
    // The machine as a whole.
    unless(SYSTEM, "reboot"),
    unless(SYSTEM, "swapon"),
    unless(SYSTEM, "swapoff"),
    unless(SYSTEM, "acct"),
    unless(SYSTEM, "sethostname"),
    unless(SYSTEM, "setdomainname"),
    unless(SYSTEM, "vhangup"),
    unless(SYSTEM, "iopl"),
    unless(SYSTEM, "ioperm"),
    unless(QUOTA, "quotactl"),
    unless(QUOTA, "quotactl_fd"),
    unless(CLOCK, "settimeofday"),
    unless(CLOCK, "clock_settime"),
    unless(CLOCK, "clock_settime64"),
    unless(CLOCK, "stime"),
    unless(SYSLOG, "syslog"),
    // Old, unused, and with a history of holes.
    closed("lookup_dcookie", EPERM),
    closed("nfsservctl", ENOSYS),
    closed("uselib", ENOSYS),
    closed("vm86", EPERM),
    closed("vm86old", EPERM),
    // Changes flags by path or descriptor where kernels that have it may lack the hook; chattr falls back to ioctl.
    closed("file_setattr", ENOSYS),
];

/// Closed besides under the fallback engine, which has no eyes for these.
pub(super) const CLOSED_IN_FALLBACK: &[Closed] = &[
    // Memory that nobody else can look into, and that can be mapped as code.
    Closed {
        errno: ENOSYS,
        ..unless(MEMORY_EXEC, "memfd_secret")
    },
    // Landlock does not see extended attributes read by path. "Not supported" is what programs are prepared for.
    closed("getxattr", libc::ENOTSUP),
    closed("lgetxattr", libc::ENOTSUP),
    closed("listxattr", libc::ENOTSUP),
    closed("llistxattr", libc::ENOTSUP),
    closed("getxattrat", ENOSYS),
    closed("listxattrat", ENOSYS),
];

/// Closed besides under the fallback engine where it has no IPC namespace: objects of the same user would be in reach.
pub(super) const CLOSED_WITHOUT_IPC_NAMESPACE: &[Closed] = &[
    shared("shmget"),
    shared("shmat"),
    shared("shmctl"),
    shared("semget"),
    shared("semop"),
    shared("semtimedop"),
    shared("semctl"),
    shared("msgget"),
    shared("msgsnd"),
    shared("msgrcv"),
    shared("msgctl"),
    // All of them behind one number, on 32-bit x86.
    shared("ipc"),
    shared("mq_open"),
    shared("mq_unlink"),
];

const fn shared(name: &'static str) -> Closed {
    Closed {
        errno: ENOSYS,
        ..unless(IPC, name)
    }
}

/// Every flag that makes a namespace, as clone(2) takes them, and what opens it.
const NAMESPACE_FLAGS: [(i32, Surfaces); 7] = [
    (libc::CLONE_NEWNS, NAMESPACES),
    (libc::CLONE_NEWCGROUP, NAMESPACES),
    (libc::CLONE_NEWUTS, NAMESPACES),
    (libc::CLONE_NEWIPC, NAMESPACES),
    (libc::CLONE_NEWUSER, USERNS),
    (libc::CLONE_NEWPID, NAMESPACES),
    (libc::CLONE_NEWNET, NAMESPACES),
];
/// CLONE_NEWTIME, which only unshare and clone3 take: in clone it lies in the exit signal's byte.
const CLONE_NEWTIME: u64 = 0x80;
/// ADDR_NO_RANDOMIZE: debuggers set it. All other bits change what a mapping or a system call means.
const PERSONALITY_ALLOWED_BIT: u32 = 18;
/// The low half of an ioctl request is all that the kernel looks at (fs/ioctl.c: `unsigned int cmd`).
const LOW_HALF: u64 = 0xffff_ffff;
/// MFD_NOEXEC_SEAL, since 6.3.
const MFD_NOEXEC_SEAL: u64 = 8;
/// The bits of a socket type that name the type, not flags (include/linux/net.h, `SOCK_TYPE_MASK`).
const SOCKET_TYPE_MASK: u64 = 0xf;
/// `_IOW('T', 202, int)` (include/uapi/linux/if_tun.h).
const TUNSETIFF: u64 = 0x4004_54ca;

const fn when(name: &'static str, argument: u32, mask: u64, value: u64, errno: i32) -> ClosedWhen {
    ClosedWhen {
        name,
        argument,
        refused: Argument::Masked { mask, value },
        errno,
        opened_by: None,
    }
}

const fn all_but(name: &'static str, argument: u32, value: u64) -> ClosedWhen {
    ClosedWhen {
        name,
        argument,
        refused: Argument::AllBut(value),
        errno: EPERM,
        opened_by: None,
    }
}

impl ClosedWhen {
    const fn unless(self, surface: Surfaces) -> Self {
        Self {
            opened_by: Some(surface),
            ..self
        }
    }
}

/// Closed in every fence for some arguments, unless what opens it is open.
pub(super) fn closed_when() -> Vec<ClosedWhen> {
    let mut rules = Vec::new();
    for (flag, surface) in NAMESPACE_FLAGS {
        let flag = u64::from(flag.cast_unsigned());
        rules.push(when("clone", 0, flag, flag, EPERM).unless(surface));
        rules.push(when("unshare", 0, flag, flag, EPERM).unless(surface));
    }
    rules.push(when("unshare", 0, CLONE_NEWTIME, CLONE_NEWTIME, EPERM).unless(NAMESPACES));
    // Enters a namespace of any kind (0), or a user namespace, where a task has capabilities.
    let user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    rules.push(when("setns", 1, LOW_HALF, 0, EPERM).unless(USERNS));
    rules.push(when("setns", 1, user, user, EPERM).unless(USERNS));
    // Puts characters into the terminal's input, to be read by the shell outside once the fence is gone.
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        let request = request & LOW_HALF;
        rules.push(when("ioctl", 1, LOW_HALF, request, EPERM).unless(TERMINAL_INPUT));
    }
    // Makes a network device.
    rules.push(when("ioctl", 1, LOW_HALF, TUNSETIFF, EPERM).unless(TUN));
    rules.extend(personality());
    rules
}

/// `personality` only asks (all bits set), goes back to the default (none), or keeps addresses from being random.
///
/// A rule can look at an argument once, so "not one of these" is said by pairs of bits. Around a circle of all bits but the one that
/// is allowed, some bit that is set comes before one that is not, unless all are set or none; and where all are, that one is, too.
fn personality() -> impl Iterator<Item = ClosedWhen> {
    const BITS: u32 = u32::BITS;
    let circle = (0..BITS).filter(|bit| *bit != PERSONALITY_ALLOWED_BIT);
    let behind = circle.clone().cycle().skip(1);
    let pairs = circle.clone().zip(behind).map(|(set, clear)| {
        let set = 1 << set;
        (set | 1 << clear, set)
    });
    let all = circle.fold(0, |all, bit| all | 1 << bit);
    let gap = (all | 1 << PERSONALITY_ALLOWED_BIT, all);
    pairs
        .chain([gap])
        .map(|(mask, value)| when("personality", 0, mask, value, EPERM))
}

/// Closed besides under the fallback engine for some arguments.
pub(super) fn closed_when_in_fallback() -> Vec<ClosedWhen> {
    let mut rules = memory_files();
    rules.extend(other_tasks());
    rules
}

/// Calls that set something of a task by its number: a filter cannot tell a number inside from one outside, so what is
/// left is 0, the caller itself. Where the supervisor is asked, it lets the caller's own number through.
fn other_tasks() -> impl Iterator<Item = ClosedWhen> {
    const IOPRIO_WHO_PROCESS: u64 = 1;
    [
        all_but("setpriority", 0, libc::PRIO_PROCESS.into()),
        all_but("setpriority", 1, 0),
        all_but("ioprio_set", 0, IOPRIO_WHO_PROCESS),
        all_but("ioprio_set", 1, 0),
        all_but("sched_setscheduler", 0, 0),
        all_but("sched_setparam", 0, 0),
        all_but("sched_setattr", 0, 0),
        all_but("sched_setaffinity", 0, 0),
        all_but("prlimit64", 0, 0),
        all_but("migrate_pages", 0, 0),
        all_but("move_pages", 0, 0),
    ]
    .into_iter()
    .map(|rule| rule.unless(SCHEDULER))
}

/// The argument by which one of [`other_tasks`] names the task that it is about.
pub(super) fn names_a_task_by(name: &str) -> Option<usize> {
    let named = match name {
        "setpriority" | "ioprio_set" => 1,
        name if other_tasks().any(|rule| rule.name == name) => 0,
        _ => return None,
    };
    Some(named)
}

fn memory_files() -> Vec<ClosedWhen> {
    // A file in memory is on no mount of ours, so only its own seal keeps it from being executed.
    vec![when("memfd_create", 1, MFD_NOEXEC_SEAL, 0, EACCES).unless(MEMORY_EXEC)]
}

/// Where the supervisor listens, nobody else does: as the kernel answers while it does (kernel/seccomp.c, 6.18,
/// `has_duplicate_listener`), and for ever. A later listener could let a call go on that the supervisor was to refuse.
pub(super) fn another_listener() -> ClosedWhen {
    let flag = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    when("seccomp", 1, flag, flag, libc::EBUSY)
}

/// What remains of `socketpair` where Unix sockets cannot be judged by path: a datagram socket of a pair can still send
/// to any name.
pub(super) fn nameless_pairs_only() -> Vec<ClosedWhen> {
    [libc::SOCK_DGRAM, libc::SOCK_RAW]
        .into_iter()
        .map(|kind| {
            let kind = u64::from(kind.cast_unsigned());
            when("socketpair", 1, SOCKET_TYPE_MASK, kind, EACCES)
        })
        .collect()
}
