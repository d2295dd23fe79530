//! Floods, storms and bombs: verdicts that must be right under load, and limits.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::{fs, io, thread};

use super::arena::{Arena, SECRET};
use super::case::{Attempt, Case, Stop, World, escaped, nothing};
use super::files::steal;
use super::system::{call, ended, leave, map, open, place, read};

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    let limited = |case: Case| case.within(World::Limited);
    vec![
        Case::least(
            "F14",
            "directories are renamed while a closed file is opened below them",
            rename_storm,
        ),
        Case::least("R1", "a flood of denied opens gets one through", |arena| {
            flood(arena, 16, arena.rounds)
        }),
        Case::least(
            "R3",
            "threads on one processor mix up each other's paths",
            one_processor,
        ),
        Case::least(
            "R5",
            "more threads than the engine has slots get one through",
            |arena| flood(arena, 300, arena.rounds / 20),
        ),
        limited(Case::least("R9", "starts more tasks than it may", |_| {
            bomb(200)
        })),
        limited(Case::least("R9a", "takes more memory than it may", |_| {
            hog(160)
        })),
        limited(Case::least("R9b", "opens more files than it may", |_| {
            descriptors()
        })),
        limited(Case::least(
            "R9c",
            "writes a larger file than it may",
            large_file,
        )),
    ]
}

fn judged(attempt: &Attempt, refused: &AtomicU32, got: &AtomicU32) {
    match attempt {
        Ok(_) => got.fetch_add(1, Ordering::Relaxed),
        Err(_) => refused.fetch_add(1, Ordering::Relaxed),
    };
}

fn summary(refused: &AtomicU32, got: &AtomicU32) -> Attempt {
    let (refused, got) = (refused.load(Ordering::Relaxed), got.load(Ordering::Relaxed));
    if got > 0 {
        escaped(format!("{got} of {} got through", got + refused))
    } else {
        nothing(format!("all {refused} were refused"))
    }
}

fn flood(arena: &Arena, threads: u32, rounds: u32) -> Attempt {
    let (refused, got) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..rounds {
                    judged(&steal(arena.closed("secret")), &refused, &got);
                }
            });
        }
    });
    // It may have been refused while there was no slot.
    if fs::read(arena.read("file")).is_err() {
        return Err(Stop::Broken("what is allowed is refused afterwards".into()));
    }
    summary(&refused, &got)
}

/// Some threads open what is closed, others what is not, all on one processor.
fn one_processor(arena: &Arena) -> Attempt {
    let mut first = [0u64; 16];
    call(
        libc::SYS_sched_getaffinity,
        &[0.into(), 128.into(), place(&mut first)],
    )?;
    let one = first[0] & first[0].wrapping_neg();
    let mut only = [0u64; 16];
    only[0] = one;
    call(
        libc::SYS_sched_setaffinity,
        &[0.into(), 128.into(), place(&mut only)],
    )?;
    let (refused, got, wrong) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for number in 0..32 {
            let (refused, got, wrong) = (&refused, &got, &wrong);
            scope.spawn(move || {
                for _ in 0..arena.rounds / 4 {
                    if number % 2 == 0 {
                        judged(&steal(arena.closed("secret")), refused, got);
                    } else if fs::read(arena.read("file")).is_err() {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    match wrong.load(Ordering::Relaxed) {
        0 => summary(&refused, &got),
        wrong => Err(Stop::Broken(format!(
            "{wrong} of what is allowed was refused"
        ))),
    }
}

fn rename_storm(arena: &Arena) -> Attempt {
    fs::create_dir_all(arena.open("a/deep"))?;
    fs::create_dir_all(arena.open("b"))?;
    let over = AtomicBool::new(false);
    let (refused, got) = (AtomicU32::new(0), AtomicU32::new(0));
    let up = format!("../../../closed/{}/secret", arena.case);
    thread::scope(|scope| -> Result<(), Stop> {
        let mover = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Refused or not: what counts is what the other thread reads meanwhile.
                fs::rename(arena.open("a/deep"), arena.open("b/deep")).ok();
                fs::rename(arena.open("b/deep"), arena.open("a/deep")).ok();
            }
        });
        for _ in 0..arena.rounds {
            for way in ["a", "b"] {
                judged(&steal(arena.open(way).join(&up)), &refused, &got);
                judged(
                    &steal(arena.open(way).join("deep/..").join(&up)),
                    &refused,
                    &got,
                );
            }
        }
        over.store(true, Ordering::Relaxed);
        mover
            .join()
            .map_err(|_| Stop::Broken("the mover panicked".into()))
    })?;
    summary(&refused, &got)
}

/// Children that wait for each other.
fn bomb(count: usize) -> Attempt {
    let (reader, writer) = io::pipe()?;
    let mut children = Vec::new();
    let mut refused = None;
    for _ in 0..count {
        // SAFETY: a process of one thread.
        match unsafe { libc::fork() } {
            -1 => {
                refused = Some(io::Error::last_os_error());
                break;
            }
            0 => {
                // SAFETY: this process leaves without closing it again. Reading ends when the parent has let go of it, too.
                unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&writer)) };
                read(&OwnedFd::from(reader)).ok();
                leave(0)
            }
            child => children.push(child),
        }
    }
    drop(writer);
    let started = children.len();
    for child in children {
        ended(child)?;
    }
    match refused {
        Some(error) => nothing(format!("{error} after {started}")),
        None => escaped(format!("started {started}")),
    }
}

/// A child that touches so much memory; what ends it is the limit.
fn hog(mebibytes: usize) -> Attempt {
    // SAFETY: a process of one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let Ok(memory) = map(mebibytes << 20, both, flags, None, 0) else {
            leave(2)
        };
        for page in (0..mebibytes << 20).step_by(4096) {
            // SAFETY: inside of the mapping.
            let byte = unsafe { memory.add(page) };
            // SAFETY: mapped to be written, and nobody else's.
            unsafe { byte.write_volatile(1) };
        }
        leave(0)
    }
    match ended(child)? {
        0 => escaped(format!("touched {mebibytes} MiB")),
        2 => nothing("refused"),
        code => nothing(format!("ended by {}", code - 256)),
    }
}

fn descriptors() -> Attempt {
    let mut open_files = Vec::new();
    for _ in 0..200 {
        match open("/dev/null", libc::O_RDONLY) {
            Ok(file) => open_files.push(file),
            Err(error) => return nothing(format!("{error} after {}", open_files.len())),
        }
    }
    escaped("opened 200")
}

fn large_file(arena: &Arena) -> Attempt {
    // SAFETY: the signal that tells of it would end us.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let file = open(arena.open("large"), libc::O_RDWR | libc::O_CREAT)?;
    let block = SECRET.repeat(4096);
    for _ in 0..100 {
        if let Err(error) = super::system::write(&file, block.as_bytes()) {
            return nothing(error);
        }
    }
    escaped("wrote 8 MB")
}
