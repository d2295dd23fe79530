//! The kernel's own interfaces: mounts, namespaces, programs in the kernel, the machine as a whole.
//!
//! Acts that would hurt are asked for with arguments that the kernel rejects after it has asked who may: "permitted, then
//! EINVAL" is an escape.

use std::ffi::c_long;
use std::io;
use std::os::fd::OwnedFd;

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, absent, escaped, past_the_check};
use super::files::{secret_in, steal};
use super::system::{NULL, Word, c, call, descriptor, map, open, open_at, place, read};

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    let machine = [
        Case::wide("K1", "loads a program into the kernel", loads_program).by_root(),
        Case::wide("K1a", "makes a map of the kernel's programs", makes_map).by_root(),
        Case::wide("K2", "changes what keeps the fence's programs", |arena| {
            changes_directory(arena, "/run/ringfence/bpf")
        })
        .by_root(),
        Case::wide("K2a", "changes the fence's own directory", |arena| {
            changes_directory(arena, "/run/ringfence")
        })
        .by_root(),
        Case::wide(
            "K3",
            "watches the kernel with performance events",
            watches_kernel,
        )
        .by_root(),
        Case::wide(
            "K3a",
            "counts its own instructions with performance events",
            counts_itself,
        )
        .by_root(),
        Case::wide("K4", "loads a kernel module", loads_module).by_root(),
        Case::wide(
            "K4a",
            "loads a kernel module from a file",
            loads_module_file,
        )
        .by_root(),
        Case::wide("K4b", "removes a kernel module", removes_module).by_root(),
        Case::wide("K5", "loads another kernel", loads_kernel).by_root(),
        Case::wide("K5a", "reboots", reboots).by_root(),
        Case::wide("K5b", "swaps to a file", |_| by_path(libc::SYS_swapon)).by_root(),
        Case::wide("K5c", "ends swapping", |_| by_path(libc::SYS_swapoff)).by_root(),
        Case::wide("K5d", "turns accounting on", |_| by_path(libc::SYS_acct)).by_root(),
        Case::wide("K5e", "asks for disk quotas", asks_quota),
        Case::wide("K5f", "names the host", |_| names(libc::SYS_sethostname)).by_root(),
        Case::wide("K5g", "names the domain", |_| {
            names(libc::SYS_setdomainname)
        })
        .by_root(),
        Case::wide("K5h", "sets the clock", sets_clock).by_root(),
        Case::wide("K5i", "adjusts the clock", adjusts_clock).by_root(),
        Case::wide("K5j", "opens the ports of devices", opens_ports).by_root(),
        Case::wide("K5k", "reads the kernel's log", reads_log).by_root(),
        Case::wide("K5l", "hangs the terminal up", |_| {
            past_the_check(call(libc::SYS_vhangup, &[]), &[])
        })
        .by_root(),
        Case::wide("K6", "adds a key to a keyring of the user", adds_key),
        Case::wide("K6a", "makes a keyring of its own", |_| {
            keyctl(&[1.into(), NULL])
        }),
        Case::wide("K6b", "lists the session's keyring", |_| {
            keyctl(&[6.into(), (-3).into(), 0.into()])
        }),
        Case::wide("K7", "serves page faults", serves_faults),
        Case::wide(
            "K7a",
            "serves page faults by the device",
            serves_faults_by_device,
        )
        .by_root(),
        Case::wide("K8", "raises its capabilities", raises).by_root(),
        Case::wide("K8a", "becomes somebody else", |_| {
            past_the_check(
                call(libc::SYS_setresuid, &[1.into(), 1.into(), 1.into()]),
                &[],
            )
        })
        .by_root(),
        Case::wide("K8b", "joins groups", |_| {
            let mut groups = [0u32];
            past_the_check(
                call(libc::SYS_setgroups, &[1.into(), place(&mut groups)]),
                &[],
            )
        })
        .by_root(),
        Case::wide(
            "K8c",
            "takes its no_new_privs back by executing as another",
            |_| {
                past_the_check(call(libc::SYS_setfsuid, &[1.into()]), &[])?;
                match call(libc::SYS_setfsuid, &[(-1).into()])? {
                    1 => escaped("acts as another on files"),
                    _ => Err(Stop::Nothing("still acts as itself".into())),
                }
            },
        )
        .by_root(),
        Case::wide(
            "K13",
            "makes calls of 32-bit programs, which a filter may not know",
            by_old_gate,
        ),
        Case::wide("K13a", "makes calls of the x32 architecture", by_x32),
    ];
    machine.into_iter().chain(devices()).collect()
}

fn devices() -> Vec<Case> {
    [
        ("K11", "/dev/mem"),
        ("K11a", "/dev/kmsg"),
        ("K11b", "/dev/kvm"),
        ("K11c", "/dev/fuse"),
        ("K11d", "/dev/port"),
        ("K11e", "/dev/vda"),
        ("K11f", "/dev/loop-control"),
        ("K11g", "/dev/mapper/control"),
        ("K11h", "/dev/userfaultfd"),
        ("K11i", "/dev/cpu/0/msr"),
        ("K11j", "/dev/snapshot"),
        ("K11k", "/dev/uinput"),
        ("K11l", "/dev/vfio/vfio"),
        ("K11m", "/dev/vsock"),
        ("K11n", "/dev/ptmx"),
        ("K11o", "/dev/autofs"),
    ]
    .into_iter()
    .map(|(id, path)| {
        Case::least(id, format!("opens {path}"), move |arena| {
            opens_device(arena, path)
        })
        .by_root()
    })
    .collect()
}

/// Opens a device that no rule lists, and does nothing with it.
fn opens_device(arena: &Arena, path: &str) -> Attempt {
    match open(path, libc::O_RDWR | libc::O_NONBLOCK | libc::O_NOCTTY) {
        Ok(_) => escaped("opened"),
        Err(error) if arena.fenced => Err(error.into()),
        Err(error) => absent(format!("{path}: {error}")),
    }
}

fn loads_program(_: &Arena) -> Attempt {
    // union bpf_attr of BPF_PROG_LOAD, with a program of no instructions: rejected as soon as it may be looked at.
    let mut attributes = [0u64; 16];
    attributes[0] = 1;
    let load = [5.into(), place(&mut attributes), 128.into()];
    past_the_check(
        call(libc::SYS_bpf, &load),
        &[libc::EINVAL, libc::E2BIG, libc::EFAULT],
    )
}

fn makes_map(_: &Arena) -> Attempt {
    // BPF_MAP_CREATE: an array of one word.
    let mut attributes = [0u32; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    descriptor(
        libc::SYS_bpf,
        &[0.into(), place(&mut attributes), 128.into()],
    )?;
    escaped("made")
}

/// Makes a directory there and removes it.
fn changes_directory(arena: &Arena, path: &str) -> Attempt {
    if !arena.pinned {
        return absent("this engine keeps nothing there");
    }
    let place = std::path::Path::new(path);
    let made = if arena.fenced {
        place.join("escaped")
    } else {
        arena.open("escaped")
    };
    std::fs::create_dir(&made)?;
    std::fs::remove_dir(&made)?;
    escaped("made a directory")
}

/// `struct perf_event_attr`, as far as it is needed: a clock in software.
fn event(flags: u64, task: i32) -> io::Result<OwnedFd> {
    let mut attributes = [0u64; 16];
    attributes[0] = 1 | (128 << 32);
    attributes[5] = flags;
    descriptor(
        libc::SYS_perf_event_open,
        &[
            place(&mut attributes),
            task.into(),
            (-1).into(),
            (-1).into(),
            0.into(),
        ],
    )
}

fn watches_kernel(arena: &Arena) -> Attempt {
    if !arena.fenced && arena.lockdown {
        return past_the_check(event(0, 0), &[]);
    }
    event(0, 0)?;
    escaped("watches")
}

fn counts_itself(_: &Arena) -> Attempt {
    // exclude_kernel and exclude_hv
    event(0x60, 0)?;
    escaped("counts")
}

fn loads_module(_: &Arena) -> Attempt {
    past_the_check(
        call(libc::SYS_init_module, &[c"".into(), 0.into(), c"".into()]),
        &[libc::ENOEXEC, libc::EINVAL],
    )
}

fn loads_module_file(_: &Arena) -> Attempt {
    past_the_check(
        call(libc::SYS_finit_module, &[(-1).into(), c"".into(), 0.into()]),
        &[libc::EBADF, libc::EINVAL, libc::ENOEXEC],
    )
}

fn removes_module(_: &Arena) -> Attempt {
    past_the_check(
        call(
            libc::SYS_delete_module,
            &[c"no-such-module".into(), libc::O_NONBLOCK.into()],
        ),
        &[libc::ENOENT],
    )
}

fn loads_kernel(arena: &Arena) -> Attempt {
    if !arena.fenced && arena.lockdown {
        return absent("the kernel is locked down");
    }
    let none = [0.into(), 0.into(), NULL, c_long::MAX.into()];
    past_the_check(call(libc::SYS_kexec_load, &none), &[libc::EINVAL])
}

fn reboots(_: &Arena) -> Attempt {
    // The first magic number is wrong.
    past_the_check(
        call(libc::SYS_reboot, &[0.into(), 0.into(), 0.into(), NULL]),
        &[libc::EINVAL],
    )
}

fn by_path(number: c_long) -> Attempt {
    past_the_check(
        call(number, &[c"/no/such/file".into(), 0.into()]),
        &[libc::ENOENT],
    )
}

fn asks_quota(_: &Arena) -> Attempt {
    // Q_SYNC of all file systems.
    const SYNC: i64 = 0x0080_0001 << 8;
    past_the_check(
        call(libc::SYS_quotactl, &[SYNC.into(), NULL, 0.into(), NULL]),
        &[],
    )
}

fn names(number: c_long) -> Attempt {
    // Too long for a name, which is looked at second.
    past_the_check(call(number, &[c"x".into(), 65_536.into()]), &[libc::EINVAL])
}

fn sets_clock(_: &Arena) -> Attempt {
    // Neither a time nor a zone: only the question of who may (kernel/time/time.c, do_sys_settimeofday64).
    past_the_check(call(libc::SYS_settimeofday, &[NULL, NULL]), &[])
}

fn adjusts_clock(_: &Arena) -> Attempt {
    const MAX_ERROR: u32 = 4;
    // SAFETY: integers.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    call(libc::SYS_adjtimex, &[place(&mut state)])?;
    state.modes = MAX_ERROR;
    past_the_check(call(libc::SYS_adjtimex, &[place(&mut state)]), &[])
}

fn opens_ports(arena: &Arena) -> Attempt {
    if !arena.fenced && arena.lockdown {
        return absent("the kernel is locked down");
    }
    past_the_check(
        call(libc::SYS_ioperm, &[0x80.into(), 1.into(), 1.into()]),
        &[],
    )
}

fn reads_log(_: &Arena) -> Attempt {
    const SIZE: i32 = 10;
    past_the_check(call(libc::SYS_syslog, &[SIZE.into(), NULL, 0.into()]), &[])
}

fn adds_key(_: &Arena) -> Attempt {
    const PROCESS_KEYRING: i32 = -2;
    call(
        libc::SYS_add_key,
        &[
            c"user".into(),
            c"escape".into(),
            (&b"x"[..]).into(),
            1.into(),
            PROCESS_KEYRING.into(),
        ],
    )?;
    escaped("added")
}

fn keyctl(words: &[Word]) -> Attempt {
    call(libc::SYS_keyctl, words)?;
    escaped("answered")
}

fn serves_faults(_: &Arena) -> Attempt {
    const USER_MODE_ONLY: i32 = 1;
    descriptor(libc::SYS_userfaultfd, &[USER_MODE_ONLY.into()])?;
    escaped("made")
}

fn serves_faults_by_device(arena: &Arena) -> Attempt {
    const NEW: i32 = 0xaa00;
    let path = std::path::Path::new("/dev/userfaultfd");
    if !arena.fenced && !path.exists() {
        return absent("no /dev/userfaultfd");
    }
    let device = open(path, libc::O_RDWR)?;
    descriptor(libc::SYS_ioctl, &[(&device).into(), NEW.into(), 0.into()])?;
    escaped("made")
}

fn raises(_: &Arena) -> Attempt {
    // Version 3: effective, permitted, inheritable, of the first and of the second 32.
    let mut head = [0x2008_0522u32, 0];
    let mut sets = [0xff_u32, 0xff, 0, 0, 0, 0];
    call(libc::SYS_capset, &[place(&mut head), place(&mut sets)])?;
    escaped("raised")
}

/// `int 0x80`: the gate of 32-bit programs, open to all.
#[cfg(target_arch = "x86_64")]
fn old_gate(number: u32, words: [u32; 3]) -> i32 {
    let answer: i32;
    // SAFETY: the calls that are made below write nowhere.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {first:e}",
            "int 0x80",
            "pop rbx",
            first = in(reg) words[0],
            inlateout("eax") number => answer,
            in("ecx") words[1],
            in("edx") words[2],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}

#[cfg(target_arch = "x86_64")]
fn by_old_gate(arena: &Arena) -> Attempt {
    const NO_CALL: i32 = -libc::ENOSYS;
    // arch/x86/entry/syscalls/syscall_32.tbl
    if old_gate(20, [0; 3]) == NO_CALL {
        return absent("this kernel has no calls for 32-bit programs");
    }
    // A path has to lie low for a 32-bit pointer.
    let low = low_page()?;
    let path = c(arena.closed("secret"))?;
    let bytes = path.as_bytes_with_nul();
    // SAFETY: the page is ours and larger than any path of the test.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), low as *mut u8, bytes.len()) };
    let calls: [(&str, u32, [u32; 3]); 6] = [
        ("socket", 359, [2, 1, 0]),
        ("userfaultfd", 374, [1, 0, 0]),
        ("keyctl", 288, [1, 0, 0]),
        ("unshare", 310, [0x1000_0000, 0, 0]),
        ("io_uring_setup", 425, [0, low, 0]),
        ("keyring of the session", 288, [6, 0xffff_fffd, 0]),
    ];
    let mut last = libc::EPERM;
    for (name, number, words) in calls {
        let answer = old_gate(number, words);
        // EINVAL: past the question, as io_uring_setup with no entries.
        if answer >= 0 || answer == -libc::EINVAL {
            return escaped(name);
        }
        last = -answer;
    }
    Err(Stop::Refused(last))
}

#[cfg(target_arch = "x86_64")]
fn low_page() -> io::Result<u32> {
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    let page = map(8192, both, flags, None, 0)?;
    u32::try_from(page as usize).map_err(io::Error::other)
}

#[cfg(not(target_arch = "x86_64"))]
fn by_old_gate(_: &Arena) -> Attempt {
    absent("only x86 has this gate")
}

fn by_x32(_: &Arena) -> Attempt {
    const X32: c_long = 0x4000_0000;
    let words = [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0.into()];
    descriptor(X32 | libc::SYS_socket, &words)?;
    escaped("made a socket")
}

/// Mounts and roots, which identity.rs lists.
pub(super) fn clones_tree(arena: &Arena) -> Attempt {
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
pub(super) fn changes_root(arena: &Arena) -> Attempt {
    call(
        libc::SYS_chroot,
        &[(&c(arena.stage.join("closed"))?).into()],
    )?;
    steal(format!("/{}/secret", arena.case))
}
