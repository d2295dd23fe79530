//! Tasks outside: traced, read, signalled, slowed down.

use std::ffi::c_long;
use std::io;
use std::os::fd::OwnedFd;

use super::arena::{Arena, SECRET};
use super::case::{Attempt, Case, absent, escaped, nothing, past_the_check};
use super::files::secret_in;
use super::system::{NULL, Word, call, descriptor, open, place, read, write};

/// Nobody minds it: its default is to be ignored.
const SIGNAL: i32 = libc::SIGURG;

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::wide("T1", "attaches to the victim", |arena| {
            traces(arena, libc::PTRACE_SEIZE)
        }),
        Case::wide("T2", "reads the victim's memory", reads_memory),
        Case::wide("T2a", "writes the victim's memory", writes_memory),
        Case::wide("T2b", "advises on the victim's memory", advises).by_root(),
        Case::wide("T2c", "asks where the victim's pages are", moves_pages),
        Case::wide(
            "T2d",
            "compares its descriptors with the victim's",
            compares,
        ),
        Case::wide("T2e", "asks for the victim's list of locks", asks_locks),
        Case::wide("T2f", "counts the victim's instructions", counts).by_root(),
        Case::wide("T3", "takes a descriptor of the victim", takes_descriptor),
        Case::wide("T4", "signals the victim", |arena| {
            signals(
                arena,
                libc::SYS_kill,
                &[arena.victim.pid.into(), SIGNAL.into()],
            )
        }),
        Case::wide("T4a", "signals a thread of the victim", |arena| {
            let pid = arena.victim.pid;
            signals(
                arena,
                libc::SYS_tgkill,
                &[pid.into(), pid.into(), SIGNAL.into()],
            )
        }),
        Case::wide("T4b", "signals the victim by its descriptor", |arena| {
            let victim = victim(arena)?;
            signals(
                arena,
                libc::SYS_pidfd_send_signal,
                &[(&victim).into(), SIGNAL.into(), NULL, 0.into()],
            )
        }),
        Case::wide("T4c", "queues a signal with a value for the victim", queues),
        Case::wide("T4d", "signals the supervisor", signals_supervisor).by_root(),
        Case::wide("T4e", "may stop and kill the victim", |arena| {
            call(libc::SYS_kill, &[arena.victim.pid.into(), 0.into()])?;
            escaped("permitted")
        }),
        Case::wide(
            "T5",
            "makes the kernel signal the victim when a pipe is written",
            by_owner,
        ),
        Case::wide(
            "T5a",
            "makes the kernel signal the victim's group",
            by_owner_group,
        ),
        Case::wide(
            "T5b",
            "makes the kernel signal the victim when a directory changes",
            by_notice,
        ),
        Case::wide("T6", "signals everybody", |arena| {
            signals(arena, libc::SYS_kill, &[(-1).into(), SIGNAL.into()])
        }),
        Case::wide("T6a", "signals the victim's group", |arena| {
            let group = call(libc::SYS_getpgid, &[arena.victim.pid.into()])?;
            signals(arena, libc::SYS_kill, &[(-group).into(), SIGNAL.into()])
        }),
        Case::wide(
            "T6b",
            "joins the victim's group and signals its own",
            joins_group,
        ),
        Case::wide("T7", "changes the victim's priority", |arena| {
            let pid = arena.victim.pid;
            past_the_check(
                call(libc::SYS_setpriority, &[0.into(), pid.into(), 0.into()]),
                &[],
            )
        }),
        Case::wide("T7a", "changes how the victim is scheduled", |arena| {
            let mut priority = 0i32;
            let words = [arena.victim.pid.into(), 0.into(), place(&mut priority)];
            past_the_check(call(libc::SYS_sched_setscheduler, &words), &[])
        }),
        Case::wide("T7b", "changes where the victim runs", moves),
        Case::wide("T7c", "changes the victim's limits", limits),
        Case::wide("T7d", "changes the victim's priority for disks", |arena| {
            let words = [1.into(), arena.victim.pid.into(), 0.into()];
            past_the_check(call(libc::SYS_ioprio_set, &words), &[])
        }),
        Case::wide(
            "T7e",
            "moves the victim's memory to another node",
            moves_memory,
        ),
        Case::wide(
            "T7f",
            "changes the priority of all tasks of the user",
            |_| {
                // PRIO_USER, 0: the caller's own.
                past_the_check(
                    call(libc::SYS_setpriority, &[2.into(), 0.into(), 0.into()]),
                    &[],
                )
            },
        )
        .harmful("it changes the priority of everything that this user runs"),
        Case::wide("T8", "types into a terminal", types).by_root(),
    ]
}

pub(super) fn victim(arena: &Arena) -> io::Result<OwnedFd> {
    descriptor(libc::SYS_pidfd_open, &[arena.victim.pid.into(), 0.into()])
}

fn traces(arena: &Arena, request: u32) -> Attempt {
    call(
        libc::SYS_ptrace,
        &[request.into(), arena.victim.pid.into(), 0.into(), 0.into()],
    )?;
    // Leaving lets it go.
    escaped("attached")
}

/// One buffer here, one there.
fn copies(arena: &Arena, number: c_long, here: &mut [u8]) -> io::Result<c_long> {
    let mut local = libc::iovec {
        iov_base: here.as_mut_ptr().cast(),
        iov_len: here.len(),
    };
    let mut remote = libc::iovec {
        iov_base: arena.victim.secret as *mut _,
        iov_len: here.len(),
    };
    let pid = arena.victim.pid;
    call(
        number,
        &[
            pid.into(),
            place(&mut local),
            1.into(),
            place(&mut remote),
            1.into(),
            0.into(),
        ],
    )
}

fn reads_memory(arena: &Arena) -> Attempt {
    let mut bytes = [0u8; SECRET.len()];
    copies(arena, libc::SYS_process_vm_readv, &mut bytes)?;
    secret_in(&String::from_utf8_lossy(&bytes))
}

fn writes_memory(arena: &Arena) -> Attempt {
    let mut bytes = SECRET.as_bytes().to_vec();
    copies(arena, libc::SYS_process_vm_writev, &mut bytes)?;
    escaped("wrote")
}

fn advises(arena: &Arena) -> Attempt {
    let victim = victim(arena)?;
    let mut range = libc::iovec {
        iov_base: (arena.victim.secret & !4095) as *mut _,
        iov_len: 4096,
    };
    let words = [
        (&victim).into(),
        place(&mut range),
        1.into(),
        libc::MADV_COLD.into(),
        0.into(),
    ];
    past_the_check(call(libc::SYS_process_madvise, &words), &[])
}

fn moves_pages(arena: &Arena) -> Attempt {
    let mut page = [arena.victim.secret & !4095];
    let mut status = [0i32];
    let words = [
        arena.victim.pid.into(),
        1.into(),
        place(&mut page),
        NULL,
        place(&mut status),
        0.into(),
    ];
    past_the_check(call(libc::SYS_move_pages, &words), &[])
}

fn moves_memory(arena: &Arena) -> Attempt {
    // From the first node to the first node.
    let (mut from, mut to) = ([1u64], [1u64]);
    let words = [
        arena.victim.pid.into(),
        64.into(),
        place(&mut from),
        place(&mut to),
    ];
    past_the_check(call(libc::SYS_migrate_pages, &words), &[])
}

fn compares(arena: &Arena) -> Attempt {
    let me = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    // KCMP_VM
    let words = [
        me.into(),
        arena.victim.pid.into(),
        1.into(),
        0.into(),
        0.into(),
    ];
    past_the_check(call(libc::SYS_kcmp, &words), &[])
}

fn asks_locks(arena: &Arena) -> Attempt {
    let (mut head, mut length) = (0usize, 0usize);
    let words = [
        arena.victim.pid.into(),
        place(&mut head),
        place(&mut length),
    ];
    past_the_check(call(libc::SYS_get_robust_list, &words), &[])
}

fn counts(arena: &Arena) -> Attempt {
    let mut attributes = [0u64; 16];
    attributes[0] = 1 | (128 << 32);
    let words = [
        place(&mut attributes),
        arena.victim.pid.into(),
        (-1).into(),
        (-1).into(),
        0.into(),
    ];
    descriptor(libc::SYS_perf_event_open, &words)?;
    escaped("counts")
}

fn takes_descriptor(arena: &Arena) -> Attempt {
    let victim = victim(arena)?;
    let words = [(&victim).into(), arena.victim.descriptor.into(), 0.into()];
    let file = descriptor(libc::SYS_pidfd_getfd, &words)?;
    call(
        libc::SYS_lseek,
        &[(&file).into(), 0.into(), libc::SEEK_SET.into()],
    )?;
    secret_in(&read(&file)?)
}

/// Makes the call, and looks at what the victim saw.
fn signals(arena: &Arena, number: c_long, words: &[Word]) -> Attempt {
    reaches(arena, || call(number, words).map(drop))
}

fn reaches(arena: &Arena, act: impl FnOnce() -> io::Result<()>) -> Attempt {
    let place = usize::try_from(SIGNAL).unwrap_or(0);
    let before = arena.seen_by_victim(place)?;
    act()?;
    match arena.reached_victim(place, before)? {
        true => escaped("the victim was signalled"),
        false => nothing("the victim saw nothing"),
    }
}

fn queues(arena: &Arena) -> Attempt {
    // SI_QUEUE in the third word of siginfo.
    let mut information = [0i32; 32];
    information[0] = SIGNAL;
    information[2] = -1;
    let words = [
        arena.victim.pid.into(),
        SIGNAL.into(),
        place(&mut information),
    ];
    signals(arena, libc::SYS_rt_sigqueueinfo, &words)
}

/// Whoever started the attacker.
fn supervisor() -> io::Result<i32> {
    // SAFETY: asks for a number.
    let parent = unsafe { libc::getppid() };
    let status = std::fs::read_to_string(format!("/proc/{parent}/stat"))?;
    let above = status
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(1));
    above
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other("no parent"))
}

fn signals_supervisor(_: &Arena) -> Attempt {
    // Read where /proc may be; a fence that hides it gives nothing.
    call(libc::SYS_kill, &[supervisor()?.into(), 0.into()])?;
    escaped("permitted")
}

/// A pipe whose reader is told by a signal, sent to whom we name.
fn by_owner_of(arena: &Arena, owner: i32) -> Attempt {
    const SET_SIGNAL: i32 = 10;
    let (reader, writer) = std::io::pipe()?;
    let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
    reaches(arena, || {
        let control = |command: i32, value: i32| {
            call(
                libc::SYS_fcntl,
                &[(&reader).into(), command.into(), value.into()],
            )
        };
        control(libc::F_SETOWN, owner)?;
        control(SET_SIGNAL, SIGNAL)?;
        control(libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK)?;
        write(&writer, b"x").map(drop)
    })
}

fn by_owner(arena: &Arena) -> Attempt {
    by_owner_of(arena, arena.victim.pid)
}

fn by_owner_group(arena: &Arena) -> Attempt {
    let group = call(libc::SYS_getpgid, &[arena.victim.pid.into()])?;
    by_owner_of(arena, -i32::try_from(group).map_err(io::Error::other)?)
}

fn by_notice(arena: &Arena) -> Attempt {
    const SET_SIGNAL: i32 = 10;
    const NOTIFY: i32 = 1026;
    const CREATED: u32 = 4;
    let folder = open(arena.open("."), libc::O_RDONLY | libc::O_DIRECTORY)?;
    reaches(arena, || {
        let control = |command: i32, value: u32| {
            call(
                libc::SYS_fcntl,
                &[(&folder).into(), command.into(), value.into()],
            )
        };
        control(NOTIFY, CREATED)?;
        control(libc::F_SETOWN, arena.victim.pid.cast_unsigned())?;
        control(SET_SIGNAL, SIGNAL.cast_unsigned())?;
        std::fs::write(arena.open("new"), "")
    })
}

fn joins_group(arena: &Arena) -> Attempt {
    let group = call(libc::SYS_getpgid, &[arena.victim.pid.into()])?;
    call(libc::SYS_setpgid, &[0.into(), group.into()])?;
    signals(arena, libc::SYS_kill, &[0.into(), SIGNAL.into()])
}

fn moves(arena: &Arena) -> Attempt {
    let mut processors = [0u64; 16];
    let pid = arena.victim.pid;
    call(
        libc::SYS_sched_getaffinity,
        &[pid.into(), 128.into(), place(&mut processors)],
    )?;
    past_the_check(
        call(
            libc::SYS_sched_setaffinity,
            &[pid.into(), 128.into(), place(&mut processors)],
        ),
        &[],
    )
}

fn limits(arena: &Arena) -> Attempt {
    let pid = arena.victim.pid;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let files = libc::RLIMIT_NOFILE;
    call(
        libc::SYS_prlimit64,
        &[pid.into(), files.into(), NULL, place(&mut limit)],
    )?;
    past_the_check(
        call(
            libc::SYS_prlimit64,
            &[pid.into(), files.into(), place(&mut limit), NULL],
        ),
        &[],
    )
}

fn types(arena: &Arena) -> Attempt {
    const UNLOCK: u32 = 0x4004_5431;
    const NUMBER: u32 = 0x8004_5430;
    let keys = match open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY) {
        Ok(keys) => keys,
        Err(error) if arena.fenced => return Err(error.into()),
        Err(error) => return absent(format!("no terminal: {error}")),
    };
    let (mut locked, mut number) = (0i32, 0i32);
    call(
        libc::SYS_ioctl,
        &[(&keys).into(), UNLOCK.into(), place(&mut locked)],
    )?;
    call(
        libc::SYS_ioctl,
        &[(&keys).into(), NUMBER.into(), place(&mut number)],
    )?;
    let terminal = open(format!("/dev/pts/{number}"), libc::O_RDWR | libc::O_NOCTTY)?;
    let mut letter = [b'x'];
    call(
        libc::SYS_ioctl,
        &[(&terminal).into(), libc::TIOCSTI.into(), place(&mut letter)],
    )?;
    escaped("typed")
}
