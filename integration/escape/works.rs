//! What must go on working: a fence that breaks everything holds everything, too.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, World, escaped};
use super::system::{NULL, call, descriptor, ended, in_child, leave, map, place};

/// The list.
pub(super) fn cases() -> Vec<Case> {
    [
        Case::least("W1", "a child is started and waited for", |_| {
            in_child(|| Ok(()))?;
            escaped("exit code 0")
        }),
        Case::least("W2", "a listed program is executed", |_| {
            says(
                Command::new("/bin/cat")
                    .arg("/dev/null")
                    .status()?
                    .success(),
            )
        }),
        Case::least("W3", "a pipe carries bytes", |_| {
            let (mut reader, mut writer) = io::pipe()?;
            writer.write_all(b"x")?;
            let mut byte = [0];
            reader.read_exact(&mut byte)?;
            says(byte == *b"x")
        }),
        Case::least(
            "W4",
            "files are written, read, renamed, linked and removed where they may be",
            files,
        ),
        Case::least("W5", "own tasks are signalled", signals),
        Case::least("W6", "an own child is traced", traces),
        Case::least("W7", "own shared memory of System V is used", shared_memory),
        Case::least("W8", "threads run", |_| {
            let sum: i32 = (0..8)
                .map(|number| thread::spawn(move || number))
                .filter_map(|one| one.join().ok())
                .sum();
            says(sum == 28)
        }),
        Case::least("W9", "memory is mapped, protected, and made code", |_| {
            let both = libc::PROT_READ | libc::PROT_WRITE;
            let page = map(4096, both, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None, 0)?;
            let code = libc::PROT_READ | libc::PROT_EXEC;
            call(
                libc::SYS_mprotect,
                &[(page as usize).into(), 4096.into(), code.into()],
            )?;
            escaped("mapped")
        }),
        Case::least("W10", "time passes, and timers tell", |_| {
            let before = Instant::now();
            thread::sleep(Duration::from_millis(2));
            says(before.elapsed() >= Duration::from_millis(2))
        }),
        Case::least("W11", "a pair of Unix sockets carries bytes", |_| {
            let (mut one, mut other) = UnixStream::pair()?;
            one.write_all(b"x")?;
            let mut byte = [0];
            other.read_exact(&mut byte)?;
            says(byte == *b"x")
        }),
        Case::least("W12", "prctl answers as ever", prctl),
        Case::least("W13", "a shell runs a script that may be read", |arena| {
            fs::write(arena.open("script"), "exit 7\n")?;
            says(
                Command::new("/bin/sh")
                    .arg(arena.open("script"))
                    .status()?
                    .code()
                    == Some(7),
            )
        }),
        Case::least("W14", "a directory that may be read is listed", |arena| {
            says(fs::read_dir(arena.read("."))?.count() == 3)
        }),
        Case::least("W15", "an own memory of a child is read", |_| own_memory()),
        Case::least("W16", "own limits and priority are lowered", |_| {
            let mut limit = libc::rlimit {
                rlim_cur: 32,
                rlim_max: 32,
            };
            call(
                libc::SYS_prlimit64,
                &[
                    0.into(),
                    libc::RLIMIT_NOFILE.into(),
                    place(&mut limit),
                    NULL,
                ],
            )?;
            call(libc::SYS_setpriority, &[0.into(), 0.into(), 1.into()])?;
            escaped("lowered")
        }),
        Case::least(
            "W17",
            "epoll, eventfd, timerfd, signalfd and inotify are made",
            descriptors,
        ),
        Case::least(
            "W18",
            "names of 255 bytes that are no text are used",
            |arena| {
                use std::os::unix::ffi::OsStrExt;
                let mut name = vec![0xff; 253];
                name.extend(b"\n\"");
                let path = arena.open("").join(std::ffi::OsStr::from_bytes(&name));
                fs::write(&path, "x")?;
                says(fs::read(&path)? == b"x")
            },
        ),
    ]
    .map(|case| case.within(World::Works))
    .into()
}

fn says(works: bool) -> Attempt {
    if works {
        escaped("as it should")
    } else {
        Err(Stop::Broken("not what it should be".into()))
    }
}

fn files(arena: &Arena) -> Attempt {
    fs::create_dir(arena.open("folder"))?;
    fs::write(arena.open("folder/one"), "x")?;
    fs::rename(arena.open("folder/one"), arena.open("two"))?;
    fs::hard_link(arena.open("two"), arena.open("three"))?;
    std::os::unix::fs::symlink("three", arena.open("four"))?;
    let content = fs::read(arena.open("four"))?;
    fs::remove_file(arena.open("two"))?;
    fs::remove_dir(arena.open("folder"))?;
    says(content == b"x")
}

fn child(act: impl FnOnce() -> i32) -> io::Result<libc::pid_t> {
    // SAFETY: a process of one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => leave(act()),
        child => Ok(child),
    }
}

fn sleeps() -> i32 {
    thread::sleep(Duration::from_secs(60));
    0
}

fn signals(_: &Arena) -> Attempt {
    let sleeper = child(sleeps)?;
    call(libc::SYS_kill, &[sleeper.into(), libc::SIGKILL.into()])?;
    says(ended(sleeper)? == 256 + libc::SIGKILL)
}

fn traces(_: &Arena) -> Attempt {
    let sleeper = child(sleeps)?;
    call(
        libc::SYS_ptrace,
        &[
            libc::PTRACE_SEIZE.into(),
            sleeper.into(),
            0.into(),
            0.into(),
        ],
    )?;
    call(libc::SYS_kill, &[sleeper.into(), libc::SIGKILL.into()])?;
    ended(sleeper)?;
    escaped("attached")
}

fn own_memory() -> Attempt {
    let word = Box::new(41u64);
    let sleeper = child(sleeps)?;
    let mut copy = 0u64;
    let mut here = libc::iovec {
        iov_base: (&raw mut copy).cast(),
        iov_len: 8,
    };
    let mut there = libc::iovec {
        iov_base: std::ptr::from_ref(&*word).cast_mut().cast(),
        iov_len: 8,
    };
    let words = [
        sleeper.into(),
        place(&mut here),
        1.into(),
        place(&mut there),
        1.into(),
        0.into(),
    ];
    let answer = call(libc::SYS_process_vm_readv, &words);
    call(libc::SYS_kill, &[sleeper.into(), libc::SIGKILL.into()])?;
    ended(sleeper)?;
    answer?;
    says(copy == 41)
}

fn shared_memory(_: &Arena) -> Attempt {
    let id = call(
        libc::SYS_shmget,
        &[libc::IPC_PRIVATE.into(), 4096.into(), 0o600.into()],
    )?;
    let address = call(libc::SYS_shmat, &[id.into(), 0.into(), 0.into()]);
    call(libc::SYS_shmctl, &[id.into(), libc::IPC_RMID.into(), NULL])?;
    call(libc::SYS_shmdt, &[address?.into()])?;
    escaped("attached")
}

/// A security module that answers 0 instead of "not mine" would swallow all of them.
fn prctl(_: &Arena) -> Attempt {
    let mut name = [0u8; 16];
    call(
        libc::SYS_prctl,
        &[
            libc::PR_SET_NAME.into(),
            c"escape".into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    )?;
    call(
        libc::SYS_prctl,
        &[
            libc::PR_GET_NAME.into(),
            (&mut name[..]).into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    )?;
    let dumpable = [0.into(), 0.into(), 0.into(), 0.into()];
    let [a, b, c, d] = dumpable;
    call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), a, b, c, d])?;
    let dumpable = call(libc::SYS_prctl, &[libc::PR_GET_DUMPABLE.into()])?;
    let unknown = call(libc::SYS_prctl, &[0x7eed_beef.into()]);
    let unknown = unknown.err().and_then(|error| error.raw_os_error());
    says(name.starts_with(b"escape") && dumpable == 0 && unknown == Some(libc::EINVAL))
}

fn descriptors(arena: &Arena) -> Attempt {
    let made = |number, words: &[super::system::Word]| -> io::Result<OwnedFd> {
        descriptor(number, words)
    };
    made(libc::SYS_epoll_create1, &[0.into()])?;
    made(libc::SYS_eventfd2, &[0.into(), 0.into()])?;
    made(
        libc::SYS_timerfd_create,
        &[libc::CLOCK_MONOTONIC.into(), 0.into()],
    )?;
    let mut set = [0u64];
    made(
        libc::SYS_signalfd4,
        &[(-1).into(), place(&mut set), 8.into(), 0.into()],
    )?;
    let watch = made(libc::SYS_inotify_init1, &[0.into()])?;
    let path = super::system::c(arena.open("."))?;
    call(
        libc::SYS_inotify_add_watch,
        &[(&watch).into(), (&path).into(), libc::IN_CREATE.into()],
    )?;
    escaped("made")
}
