//! From system calls that have returned to acts: each kind is told once, and counted after that.

mod addressed;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::UdpSocket;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use ringfence_abi::calls::{
    BIND, CLONE, CLONE_3, CONNECT, CONTROL, CREATE, LISTEN, MAP, NAMESPACES, NONE, OPEN, OPEN_AT,
    OPEN_AT_2, OPEN_BY_HANDLE, SEND_MESSAGE, SEND_TO, SOCKET, UNSHARE, asks_only, is_clone,
    is_of_interest, is_terminal, on_descriptor, shape,
};
use ringfence_abi::event::operation;
use ringfence_abi::network::{TCP, socket_detail};
use ringfence_abi::record::{DIRECTORY, FOLLOWED, NAMELESS, PASSED, PROGRAM, Seen};
use ringfence_abi::rights::{EXEC, READ, WRITE};

use super::{Notice, answers::Askers, call::Call, call::names, memory, socket::duplicate};
use crate::trace::{Act, Tally};

/// `-EINPROGRESS`: a connect that goes on.
const IN_PROGRESS: i64 = -115;
const PATH_ONLY: u64 = 0o10_000_000;
const TEMPORARY: u64 = 0o20_200_000;
const TRUNCATE: u64 = 0o1000;
/// `AT_SYMLINK_NOFOLLOW`.
const NO_FOLLOW: u64 = 0x100;
/// `TIOCGPTPEER` (include/uapi/asm-generic/ioctls.h): opens the other side of a pseudo-terminal.
const OPEN_PEER: u32 = 0x5441;
/// Tells acts.
pub(super) struct Told<Tell> {
    tell: Tell,
    counts: HashMap<Seen, u64>,
    hasher: RandomState,
    unread: u64,
    foreign: u64,
    made: BTreeSet<u32>,
    succeeded: BTreeSet<u32>,
    askers: Askers,
}

/// What an act is about: a path, and whether its last part is the program's.
struct Thing {
    path: Vec<u8>,
    passed: bool,
}

impl<Tell: FnMut(Notice)> Told<Tell> {
    pub(super) fn new(tell: Tell) -> Self {
        Self {
            tell,
            counts: HashMap::new(),
            hasher: RandomState::new(),
            unread: 0,
            foreign: 0,
            made: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            askers: Askers::default(),
        }
    }

    pub(super) fn finish(self) -> (Tally, HashMap<Seen, u64>) {
        let tally = Tally {
            unread: self.unread,
            foreign: self.foreign,
            made: self.made.into_iter().collect(),
            succeeded: self.succeeded.into_iter().collect(),
            ..Tally::default()
        };
        (tally, self.counts)
    }

    /// A call that begins.
    pub(super) fn made(&mut self, call: &Call) {
        if !call.is_foreign
            && let Ok(number) = u32::try_from(call.number)
        {
            self.made.insert(number);
        }
    }

    /// A call that has returned `answer`. `program` is what its task executes, as far as it is known.
    pub(super) fn returned(
        &mut self,
        task: Pid,
        call: &Call,
        answer: i64,
        program: &mut Option<u64>,
    ) {
        if answer < 0 && (answer != IN_PROGRESS || call.number != CONNECT) {
            return;
        }
        if call.is_foreign {
            self.foreign += 1;
            return;
        }
        self.succeeded.extend(u32::try_from(call.number));
        if let Some(message) = self.askers.received(task, call, answer) {
            (self.tell)(Notice::Answer(message));
        }
        if !is_of_interest(call.number) || (is_clone(call.number) && answer == 0) {
            return;
        }
        let program = match *program {
            Some(program) => program,
            None => {
                let found = self.program(task);
                *program = found;
                found.unwrap_or_default()
            }
        };
        let seen = Seen {
            program,
            ..Seen::default()
        };
        if self.tell(task, call, answer, seen).is_err() {
            self.unread += 1;
        }
    }

    /// A program that has been executed, by one that may be known, under a name that may be that of a script. Gives the program.
    pub(super) fn executed(
        &mut self,
        task: Pid,
        before: Option<u64>,
        named: Option<&Path>,
    ) -> Option<u64> {
        let own = self.program(task);
        let seen = Seen {
            operation: operation::EXEC,
            needed: EXEC,
            program: before.or(own).unwrap_or_default(),
            ..Seen::default()
        };
        let link = format!("/proc/{task}/exe");
        let Ok(found) = object(&link) else {
            self.unread += 1;
            return own;
        };
        let is_itself = named.is_none_or(|named| {
            let same = |found: &Vec<u8>| {
                fs::canonicalize(named).is_ok_and(|named| named.as_os_str().as_bytes() == found)
            };
            found.as_ref().is_some_and(same)
        });
        self.act(task, seen, found.map(Thing::of_kernel), None);
        if !is_itself && let Some(named) = named {
            let script = Thing {
                path: named.as_os_str().as_bytes().to_vec(),
                passed: true,
            };
            let seen = Seen {
                flags: FOLLOWED,
                ..seen
            };
            self.act(task, seen, Some(script), None);
        }
        own
    }

    /// The hash of the program that a task executes; told the first time.
    fn program(&mut self, task: Pid) -> Option<u64> {
        let path = object(&format!("/proc/{task}/exe")).ok()??;
        let program = self.hash(&path);
        let seen = Seen {
            program,
            operation: PROGRAM,
            ..Seen::default()
        };
        self.submit(task, seen, Vec::new(), path);
        Some(program)
    }

    fn tell(&mut self, task: Pid, call: &Call, answer: i64, seen: Seen) -> io::Result<()> {
        let arguments = call.arguments;
        match call.number {
            OPEN | CREATE | OPEN_AT | OPEN_AT_2 | OPEN_BY_HANDLE => {
                self.opened(task, call, answer, seen)
            }
            MAP => {
                const EXECUTABLE: u64 = 4;
                const WITHOUT_FILE: u64 = 0x20;
                if arguments[2] & EXECUTABLE == 0 || arguments[3] & WITHOUT_FILE != 0 {
                    return Ok(());
                }
                let (operation, needed) = (operation::MAP_EXEC, EXEC);
                self.on(
                    task,
                    arguments[4],
                    Seen {
                        operation,
                        needed,
                        ..seen
                    },
                )
            }
            CONTROL if low(arguments[1]) == OPEN_PEER => self.opened(task, call, answer, seen),
            CONTROL => {
                let link = descriptor(task, arguments[0]);
                if needs_writing(&link, arguments[1])? {
                    let (operation, needed) = (operation::IOCTL, WRITE);
                    return self.on(
                        task,
                        arguments[0],
                        Seen {
                            operation,
                            needed,
                            ..seen
                        },
                    );
                }
                Ok(())
            }
            SOCKET => {
                let family = low(arguments[0]);
                if family != libc::AF_UNIX.cast_unsigned() {
                    let detail = socket_detail(family, low(arguments[1]) & 0xf, low(arguments[2]));
                    let operation = operation::SOCKET;
                    self.act(
                        task,
                        Seen {
                            operation,
                            detail,
                            ..seen
                        },
                        None,
                        None,
                    );
                }
                Ok(())
            }
            CLONE | UNSHARE | CLONE_3 => {
                let flags = match call.number {
                    CLONE_3 => memory::number(task, arguments[0])?,
                    _ => arguments[0],
                };
                let detail = low(flags) & NAMESPACES;
                if detail != 0 {
                    let operation = operation::NAMESPACE;
                    self.act(
                        task,
                        Seen {
                            operation,
                            detail,
                            ..seen
                        },
                        None,
                        None,
                    );
                }
                Ok(())
            }
            LISTEN => {
                let socket = UdpSocket::from(duplicate(task, arguments[0])?);
                if let Ok(own) = socket.local_addr() {
                    let operation = operation::LISTEN;
                    self.peer(task, Seen { operation, ..seen }, own, TCP);
                }
                Ok(())
            }
            CONNECT | SEND_TO | SEND_MESSAGE | BIND => self.addressed(task, call, seen),
            number => match on_descriptor(number) {
                Some(operation) => {
                    let needed = WRITE;
                    self.on(
                        task,
                        arguments[0],
                        Seen {
                            operation,
                            needed,
                            ..seen
                        },
                    )
                }
                None => self.named(task, call, seen),
            },
        }
    }

    /// A file that has just been opened.
    fn opened(&mut self, task: Pid, call: &Call, answer: i64, seen: Seen) -> io::Result<()> {
        let flags = call.open_flags(task)?;
        if flags & PATH_ONLY != 0 {
            return Ok(());
        }
        let link = descriptor(task, answer.cast_unsigned());
        let mut needed = match flags & 3 {
            0 => READ,
            1 => WRITE,
            _ => READ | WRITE,
        };
        if flags & TRUNCATE != 0 {
            needed |= WRITE;
        }
        let mut seen = Seen {
            operation: operation::OPEN,
            ..seen
        };
        if call.makes || flags & TEMPORARY == TEMPORARY {
            needed |= WRITE;
            seen.operation = operation::CREATE;
        }
        if fs::metadata(&link)?.is_dir() {
            seen.operation = operation::LIST;
            seen.flags |= DIRECTORY;
        }
        let found = object(&link)?.map(Thing::of_kernel);
        self.on_a_file(task, Seen { needed, ..seen }, found);
        Ok(())
    }

    /// An act on what a descriptor names.
    fn on(&mut self, task: Pid, number: u64, seen: Seen) -> io::Result<()> {
        let found = object(&descriptor(task, number))?.map(Thing::of_kernel);
        self.on_a_file(task, seen, found);
        Ok(())
    }

    /// What has no path is told only where code comes of it.
    fn on_a_file(&mut self, task: Pid, seen: Seen, found: Option<Thing>) {
        if found.is_some() || seen.needed & EXEC != 0 {
            self.act(task, seen, found, None);
        }
    }

    /// A system call that names its objects.
    fn named(&mut self, task: Pid, call: &Call, seen: Seen) -> io::Result<()> {
        let Some(shape) = shape(call.number) else {
            return Ok(());
        };
        let argument = |index: u8| call.arguments[usize::from(index)];
        let thing = |directory: u8, name: u8| {
            let directory = (directory != NONE).then(|| argument(directory));
            let (base, name) = names(task, directory, argument(name))?;
            Ok::<_, io::Error>(Thing::below(base.into_vec(), &name))
        };
        let mut seen = Seen {
            operation: shape.operation,
            needed: shape.needed,
            ..seen
        };
        let stays = shape.flags != NONE && argument(shape.flags) & NO_FOLLOW != 0;
        if shape.follows && !stays {
            seen.flags |= FOLLOWED;
        }
        let other = match shape.other {
            NONE => None,
            other => Some(thing(shape.other_directory, other)?),
        };
        self.act(task, seen, Some(thing(shape.directory, shape.path)?), other);
        Ok(())
    }

    fn act(&mut self, task: Pid, mut seen: Seen, thing: Option<Thing>, other: Option<Thing>) {
        match &thing {
            None => seen.flags |= NAMELESS,
            Some(thing) => {
                if thing.passed {
                    seen.flags |= PASSED;
                }
                seen.path = self.hash(&thing.path);
            }
        }
        if let Some(other) = &other {
            seen.other = self.hash(&other.path);
        }
        let path = |thing: Option<Thing>| thing.map(|thing| thing.path).unwrap_or_default();
        self.submit(task, seen, path(thing), path(other));
    }

    fn submit(&mut self, task: Pid, seen: Seen, path: Vec<u8>, other: Vec<u8>) {
        let count = self.counts.entry(seen).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok();
        let time = now.map_or(0, |now| std::time::Duration::from(now).as_nanos());
        (self.tell)(Notice::Act(Act {
            seen,
            time: u64::try_from(time).unwrap_or(u64::MAX),
            process: task.as_raw().cast_unsigned(),
            path,
            other,
        }));
    }

    /// Not 0, which is no path.
    fn hash(&self, path: &[u8]) -> u64 {
        self.hasher.hash_one(path).max(1)
    }
}

impl Thing {
    fn of_kernel(path: Vec<u8>) -> Self {
        Self {
            path,
            passed: false,
        }
    }

    /// A name below what the kernel names.
    fn below(base: Vec<u8>, name: &[u8]) -> Self {
        let passed = !name.is_empty();
        let path = match passed {
            true => [&base, &b"/"[..], name].concat(),
            false => base,
        };
        Self { path, passed }
    }
}

fn descriptor(task: Pid, number: u64) -> String {
    format!("/proc/{task}/fd/{}", low(number).cast_signed())
}

/// What a link of `/proc` leads to, as the kernel names it; `None` for what has no path: pipes, sockets, memory.
fn object(link: &str) -> io::Result<Option<Vec<u8>>> {
    let path = fs::read_link(link)?.into_os_string().into_vec();
    if !path.starts_with(b"/") || path.starts_with(b"/memfd:") {
        return Ok(None);
    }
    // The kernel marks what has been removed since (fs/d_path.c).
    let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
    Ok(Some(path.to_vec()))
}

/// Whether a control request needs the right to write.
fn needs_writing(link: &str, request: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = fs::metadata(link)?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(!asks_only(low(request)));
    }
    let is_device = kind.is_char_device() || kind.is_block_device();
    Ok(is_device && !is_terminal(low(request)))
}

/// The lower half of an argument.
#[expect(clippy::cast_possible_truncation, reason = "arguments of the type int")]
pub(super) fn low(argument: u64) -> u32 {
    argument as u32
}
