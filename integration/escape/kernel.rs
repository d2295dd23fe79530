//! The kernel's own interfaces: programs in the kernel, modules, keys, clocks, devices, the machine as a whole.
//!
//! Acts that would hurt are asked for with arguments that the kernel rejects after it has asked who may: "permitted, then
//! EINVAL" is an escape.

use std::ffi::c_long;
use std::io;
use std::os::fd::OwnedFd;

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, absent, escaped, past_the_check};
use super::system::{NULL, Word, call, descriptor, open, place};

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
