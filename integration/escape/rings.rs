//! System calls that are made through a ring, where no filter of system calls sees them.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, World, absent, escaped};
use super::files::secret_in;
use super::system::{NULL, c, call, descriptor, map, place, read};

// include/uapi/linux/io_uring.h
const OPENAT: u8 = 18;
const RENAMEAT: u8 = 35;
const UNLINKAT: u8 = 36;
const LINKAT: u8 = 39;
const SOCKET: u8 = 45;
const ASYNC: u8 = 1 << 4;
const POLLED: u32 = 1 << 1;
const GET_EVENTS: u32 = 1;
const WAKE_UP: u32 = 1 << 1;
const REGISTER_PERSONALITY: u32 = 9;
const SUBMISSIONS: i64 = 0;
const ENTRIES: i64 = 0x1000_0000;

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    let closed = Case::wide("U0", "makes a ring", |_| {
        Ring::new(0)?;
        escaped("made")
    });
    let opened = through_rings(["U1o", "U1ao", "U1bo", "U1co", "U1do", "U1eo", "U2o", "U3o"]);
    let opened = opened.map(|case| case.within(World::Opened));
    let ids = ["U1", "U1a", "U1b", "U1c", "U1d", "U1e", "U2", "U3"];
    [closed]
        .into_iter()
        .chain(through_rings(ids))
        .chain(opened)
        .collect()
}

/// What is done with a ring, if there is one.
fn through_rings(ids: [&'static str; 8]) -> [Case; 8] {
    let [u1, u1a, u1b, u1c, u1d, u1e, u2, u3] = ids;
    [
        Case::least(u1, "opens a closed file through a ring", |arena| {
            opens(arena, 0, 0)
        }),
        Case::least(u1a, "opens a closed file by a worker of a ring", |arena| {
            opens(arena, 0, ASYNC)
        }),
        Case::least(
            u1b,
            "opens a closed file by the kernel's thread of a ring",
            |arena| opens(arena, POLLED, 0),
        ),
        Case::least(u1c, "renames through a ring", |arena| {
            renames(arena, RENAMEAT)
        }),
        Case::least(u1d, "links through a ring", |arena| renames(arena, LINKAT)),
        Case::least(u1e, "removes through a ring", removes),
        Case::least(
            u2,
            "opens through a ring as who it was before",
            as_personality,
        ),
        Case::least(u3, "makes a socket through a ring", |_| {
            let ring = Ring::new(0)?;
            let entry = Entry {
                operation: SOCKET,
                descriptor: libc::AF_INET,
                offset: u64::from(libc::SOCK_STREAM.cast_unsigned()),
                ..Entry::default()
            };
            match ring.does(entry) {
                // Before 5.19 there is no such operation.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    absent("no sockets through rings")
                }
                Err(error) => Err(error.into()),
                Ok(_) => escaped("made"),
            }
        }),
    ]
}

/// `struct io_uring_sqe`.
#[repr(C)]
#[derive(Default)]
struct Entry {
    operation: u8,
    flags: u8,
    priority: u16,
    descriptor: i32,
    offset: u64,
    address: u64,
    length: u32,
    act_flags: u32,
    user_data: u64,
    buffer: u16,
    personality: u16,
    second: i32,
    third: [u64; 2],
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    submissions: u32,
    completions: u32,
    flags: u32,
    processor: u32,
    idle: u32,
    features: u32,
    other: u32,
    reserved: [u32; 3],
    /// Offsets of head, tail, mask, entries, flags, dropped, array.
    submission: [u32; 10],
    /// Offsets of head, tail, mask, entries, overflow, entries themselves.
    completion: [u32; 10],
}

/// A ring for one operation at a time.
struct Ring {
    ring: OwnedFd,
    queue: *mut u8,
    entries: *mut Entry,
    parameters: Parameters,
}

impl Ring {
    fn new(flags: u32) -> io::Result<Self> {
        let mut parameters = Parameters {
            flags,
            idle: 1000,
            ..Parameters::default()
        };
        let ring = descriptor(
            libc::SYS_io_uring_setup,
            &[4.into(), place(&mut parameters)],
        )?;
        let both = libc::PROT_READ | libc::PROT_WRITE;
        // Both queues lie in one mapping since 5.4.
        let queue = map(4096, both, libc::MAP_SHARED, Some(&ring), SUBMISSIONS)?;
        let entries = map(4096, both, libc::MAP_SHARED, Some(&ring), ENTRIES)?.cast();
        Ok(Self {
            ring,
            queue,
            entries,
            parameters,
        })
    }

    /// A word of the queues.
    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel gave the offset.
        let word = unsafe { self.queue.add(offset as usize) };
        // SAFETY: the mapping stays, and the kernel aligns its words.
        unsafe { &*word.cast::<AtomicU32>() }
    }

    /// Lets the kernel do it, and gives its answer.
    fn does(&self, entry: Entry) -> io::Result<i32> {
        let [_, tail, _, _, flags, _, array, ..] = self.parameters.submission;
        let [head, done, _, _, _, results, ..] = self.parameters.completion;
        // SAFETY: the first of four entries, none of which is in use.
        unsafe { self.entries.write(entry) };
        let at = self.word(tail).load(Ordering::Acquire);
        self.word(array + 4 * (at & 3)).store(0, Ordering::Release);
        self.word(tail).store(at + 1, Ordering::Release);
        let polled = self.parameters.flags & POLLED != 0;
        let wake = if polled && self.word(flags).load(Ordering::Acquire) & 1 != 0 {
            WAKE_UP
        } else {
            0
        };
        let enter = [
            (&self.ring).into(),
            1.into(),
            1.into(),
            (GET_EVENTS | wake).into(),
            NULL,
            0.into(),
        ];
        call(libc::SYS_io_uring_enter, &enter)?;
        let seen = self.word(head).load(Ordering::Acquire);
        if self.word(done).load(Ordering::Acquire) == seen {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        // struct io_uring_cqe: 8 bytes of user data, then the result.
        let slot = results + 16 * (seen & (self.parameters.completions - 1)) + 8;
        let result = self.word(slot).load(Ordering::Acquire).cast_signed();
        self.word(head).store(seen + 1, Ordering::Release);
        match result {
            0.. => Ok(result),
            errno => Err(io::Error::from_raw_os_error(-errno)),
        }
    }
}

fn opening(path: &CString) -> Entry {
    Entry {
        operation: OPENAT,
        descriptor: libc::AT_FDCWD,
        address: path.as_ptr() as u64,
        ..Entry::default()
    }
}

fn told(ring: &Ring, entry: Entry) -> Attempt {
    let number = ring.does(entry)?;
    // SAFETY: the kernel has just made it.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    secret_in(&read(&file)?)
}

fn opens(arena: &Arena, flags: u32, entry_flags: u8) -> Attempt {
    let path = c(arena.closed("secret"))?;
    let ring = Ring::new(flags)?;
    let entry = Entry {
        flags: entry_flags,
        ..opening(&path)
    };
    told(&ring, entry)
}

fn as_personality(arena: &Arena) -> Attempt {
    let path = c(arena.closed("secret"))?;
    let ring = Ring::new(0)?;
    let words = [
        (&ring.ring).into(),
        REGISTER_PERSONALITY.into(),
        NULL,
        0.into(),
    ];
    let personality = call(libc::SYS_io_uring_register, &words)?;
    let entry = Entry {
        personality: u16::try_from(personality).map_err(|_| Stop::Broken("no number".into()))?,
        ..opening(&path)
    };
    told(&ring, entry)
}

/// A closed file becomes one that may be read.
fn renames(arena: &Arena, operation: u8) -> Attempt {
    let (source, target) = (c(arena.closed("secret"))?, c(arena.open("got"))?);
    let ring = Ring::new(0)?;
    let entry = Entry {
        operation,
        descriptor: libc::AT_FDCWD,
        address: source.as_ptr() as u64,
        offset: target.as_ptr() as u64,
        length: libc::AT_FDCWD.cast_unsigned(),
        ..Entry::default()
    };
    ring.does(entry)?;
    super::files::steal(arena.open("got"))
}

fn removes(arena: &Arena) -> Attempt {
    let path = c(arena.read("program"))?;
    let ring = Ring::new(0)?;
    let entry = Entry {
        operation: UNLINKAT,
        descriptor: libc::AT_FDCWD,
        address: path.as_ptr() as u64,
        ..Entry::default()
    };
    ring.does(entry)?;
    escaped("removed")
}
