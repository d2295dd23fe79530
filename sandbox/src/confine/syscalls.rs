//! The system calls that a fence closes, as data: what, with which errno, and why. How they become a filter is
//! [`super::seccomp`]'s business.
//!
//! This is a list of what is closed, not of what is open: what programs do all day is judged by path, peer and
//! capability elsewhere. Here stands what manages the kernel, makes namespaces, or goes round those judgements.

/// One system call that is closed whatever its arguments.
pub(super) struct Closed {
    /// The kernel's name.
    pub(super) name: &'static str,
    /// Its number where libseccomp 2.5 does not know it. Calls since 5.1 have one number on every architecture
    /// (include/uapi/asm-generic/unistd.h).
    pub(super) number: Option<u32>,
    /// The caller is told this.
    pub(super) errno: i32,
}

/// One system call that is closed for some arguments: `argument & mask == value`.
pub(super) struct ClosedWhen {
    /// The kernel's name.
    pub(super) name: &'static str,
    /// Argument, from 0.
    pub(super) argument: u32,
    /// Bits that are looked at.
    pub(super) mask: u64,
    /// What they must be to be refused.
    pub(super) value: u64,
    /// The caller is told this.
    pub(super) errno: i32,
}

/// The first number that no version of this table knows: from here on a call "does not exist" (ENOSYS), which is what
/// programs are prepared for on older kernels. 469 is file_setattr of 6.17.
pub(super) const FIRST_UNKNOWN: u32 = 470;
/// 32-bit ARM has private calls from here on (arch/arm/include/uapi/asm/unistd.h, `__ARM_NR_BASE`).
pub(super) const FIRST_PRIVATE: u32 = 0x000f_0000;

const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;
const EACCES: i32 = libc::EACCES;

const fn closed(name: &'static str, errno: i32) -> Closed {
    Closed {
        name,
        number: None,
        errno,
    }
}

const fn newer(name: &'static str, number: u32, errno: i32) -> Closed {
    Closed {
        name,
        number: Some(number),
        errno,
    }
}

/// Closed in every fence.
pub(super) const CLOSED: &[Closed] = &[
    // What is where in the file system is what path rules stand on.
    closed("mount", EPERM),
    closed("umount", EPERM),
    closed("umount2", EPERM),
    closed("pivot_root", EPERM),
    closed("move_mount", EPERM),
    closed("open_tree", EPERM),
    newer("open_tree_attr", 467, EPERM),
    closed("fsopen", EPERM),
    closed("fsconfig", EPERM),
    closed("fsmount", EPERM),
    closed("fspick", EPERM),
    newer("mount_setattr", 442, EPERM),
    // Opens by inode number, past every path.
    closed("open_by_handle_at", EPERM),
    // Namespaces give capabilities, mounts and new kernel surface. clone3 passes its flags in memory, where a filter
    // cannot look: "not there" makes C libraries use clone.
    closed("setns", EPERM),
    closed("clone3", ENOSYS),
    // Code and tracing in the kernel.
    closed("bpf", EPERM),
    closed("perf_event_open", EPERM),
    closed("init_module", EPERM),
    closed("finit_module", EPERM),
    closed("delete_module", EPERM),
    closed("create_module", EPERM),
    closed("kexec_load", EPERM),
    closed("kexec_file_load", EPERM),
    // Stalls the kernel at a place of the attacker's choice.
    closed("userfaultfd", EPERM),
    // Does system calls without system calls.
    closed("io_uring_setup", EPERM),
    closed("io_uring_enter", EPERM),
    closed("io_uring_register", EPERM),
    // Keyrings are shared by user, not by fence; request_key starts a helper outside.
    closed("add_key", EPERM),
    closed("request_key", EPERM),
    closed("keyctl", EPERM),
    // The machine as a whole.
    closed("reboot", EPERM),
    closed("swapon", EPERM),
    closed("swapoff", EPERM),
    closed("acct", EPERM),
    closed("quotactl", EPERM),
    newer("quotactl_fd", 443, EPERM),
    closed("sethostname", EPERM),
    closed("setdomainname", EPERM),
    closed("settimeofday", EPERM),
    closed("clock_settime", EPERM),
    closed("stime", EPERM),
    closed("syslog", EPERM),
    closed("vhangup", EPERM),
    closed("iopl", EPERM),
    closed("ioperm", EPERM),
    // Old, unused, and with a history of holes.
    closed("lookup_dcookie", EPERM),
    closed("nfsservctl", ENOSYS),
    closed("uselib", ENOSYS),
    closed("vm86", EPERM),
    closed("vm86old", EPERM),
    // Changes flags by path or descriptor where kernels that have it may lack the hook; chattr falls back to ioctl.
    newer("file_setattr", 469, ENOSYS),
];

/// Closed besides under the fallback engine, which has no eyes for these.
pub(super) const CLOSED_IN_FALLBACK: &[Closed] = &[
    // Memory that nobody else can look into, and that can be mapped as code.
    newer("memfd_secret", 447, ENOSYS),
    // Landlock does not see extended attributes read by path. "Not supported" is what programs are prepared for.
    closed("getxattr", libc::ENOTSUP),
    closed("lgetxattr", libc::ENOTSUP),
    closed("listxattr", libc::ENOTSUP),
    closed("llistxattr", libc::ENOTSUP),
    newer("getxattrat", 464, ENOSYS),
    newer("listxattrat", 465, ENOSYS),
];

/// Every flag that makes a namespace, as clone(2) takes them.
const NAMESPACE_FLAGS: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
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

const fn when(name: &'static str, argument: u32, mask: u64, value: u64, errno: i32) -> ClosedWhen {
    ClosedWhen {
        name,
        argument,
        mask,
        value,
        errno,
    }
}

/// Closed in every fence for some arguments.
pub(super) fn closed_when() -> Vec<ClosedWhen> {
    let mut rules = Vec::new();
    for flag in NAMESPACE_FLAGS {
        let flag = u64::from(flag.cast_unsigned());
        rules.push(when("clone", 0, flag, flag, EPERM));
        rules.push(when("unshare", 0, flag, flag, EPERM));
    }
    rules.push(when("unshare", 0, CLONE_NEWTIME, CLONE_NEWTIME, EPERM));
    // Puts characters into the terminal's input, to be read by the shell outside once the fence is gone.
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        rules.push(when("ioctl", 1, LOW_HALF, request & LOW_HALF, EPERM));
    }
    rules.extend(personality());
    rules
}

/// `personality` only asks (all bits set), goes back to the default (none), or keeps addresses from being random.
/// A rule can look at an argument once, so "not one of these" is said bit by bit: the top bit tells the question
/// from the others.
fn personality() -> impl Iterator<Item = ClosedWhen> {
    const TOP: u64 = 1 << 31;
    (0..31).flat_map(|bit| {
        let set = (bit != PERSONALITY_ALLOWED_BIT)
            .then(|| when("personality", 0, TOP | 1 << bit, 1 << bit, EPERM));
        let question_with_a_gap = when("personality", 0, TOP | 1 << bit, TOP, EPERM);
        set.into_iter().chain([question_with_a_gap])
    })
}

/// Closed besides under the fallback engine for some arguments.
pub(super) fn closed_when_in_fallback() -> Vec<ClosedWhen> {
    // A file in memory is on no mount of ours, so only its own seal keeps it from being executed.
    vec![when("memfd_create", 1, MFD_NOEXEC_SEAL, 0, EACCES)]
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
