//! Opening, receiving and controlling files.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    calls::{asks_only, is_terminal},
    event::operation,
    policy::Label,
    rights,
    surface::{SIGNALS, Surfaces, TERMINAL_INPUT},
};

use crate::{
    identity,
    kernel::{Typed, offset, read},
    outcome::Outcome,
    owner, sockets,
    surface::{self, NOT_PERMITTED},
    verdict::{self, ALLOW, Object, Question},
};

/// Set in `f_flags` when the kernel opens a file to execute it (include/linux/fs.h, `__FMODE_EXEC`).
const FOR_EXEC: u32 = 0x20;
const ACCESS_MODE: u32 = 3;
const TRUNCATE: u32 = 0o1000;
/// `FMODE_READ` and `FMODE_WRITE` of `f_mode`.
const MODE_READ: u32 = 1;
const MODE_WRITE: u32 = 2;
/// Kind of an inode (include/uapi/linux/stat.h).
const KIND: u16 = 0o170_000;
const DIRECTORY: u16 = 0o040_000;
const REGULAR: u16 = 0o100_000;
const CHARACTER: u16 = 0o020_000;
const BLOCK: u16 = 0o060_000;
const SOCKET: u16 = 0o140_000;

/// `file_open`: every open but those with `O_PATH`, which give no access.
#[inline(always)]
pub fn open(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let file = Typed::argument(context, 0);
    let flags = file.member::<u32>(offset!(file_flags));
    verdict::of_file(label, needed_by(flags), file, || {
        let listed = flags & FOR_EXEC == 0 && kind_of(file) == DIRECTORY;
        if listed { operation::LIST } else { operation::OPEN }
    })
}

/// The rights that open flags ask for.
///
/// VERIFIER: without a branch, or it would go through all that follows for each of the answers.
#[inline(always)]
pub fn needed_by(flags: u32) -> u8 {
    let index = flags & ACCESS_MODE | (flags & FOR_EXEC) >> FOR_EXEC.trailing_zeros() << 2;
    let truncates = (flags & TRUNCATE) >> TRUNCATE.trailing_zeros();
    (NEEDED >> (8 * index)) as u8 | rights::WRITE * truncates as u8
}

/// What is needed by access mode, a byte each: 2 is both; 3 asks for both and gives neither, for ioctl only (fs/open.c). Behind
/// these the same of what is opened to be executed.
const NEEDED: u64 = u64::from_le_bytes([
    rights::READ,
    rights::WRITE,
    rights::READ | rights::WRITE,
    rights::READ | rights::WRITE,
    rights::EXEC,
    rights::EXEC,
    rights::EXEC,
    rights::EXEC,
]);

/// `file_receive`: a descriptor that comes over a socket or from another process. It is as if the task had opened it.
#[inline(always)]
pub fn receive(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let file = context.arg::<u64>(0);
    if kind(file) == Ok(SOCKET) {
        return sockets::receive(label, file);
    }
    let mode = read::<u32>(file + offset!(file_mode)).unwrap_or(MODE_READ | MODE_WRITE);
    let mut needed = 0;
    if mode & MODE_READ != 0 {
        needed |= rights::READ;
    }
    if mode & MODE_WRITE != 0 {
        needed |= rights::WRITE;
    }
    let question = Question { label, operation: operation::RECEIVE, needed };
    verdict::of(question, Object::of_file(file))
}

/// `file_ioctl`: what changes a file needs the right to write it.
#[inline(always)]
pub fn control(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let file = context.arg::<u64>(0);
    let command = context.arg::<u32>(1);
    if let Some((surface, operation)) = closed_control(label, file, command) {
        verdict::closed(label, operation, surface, Object::of_file(file));
        return NOT_PERMITTED;
    }
    let needed = needed_by_control(file, command);
    if needed == 0 {
        return ALLOW;
    }
    let question = Question { label, operation: operation::IOCTL, needed };
    verdict::of(question, Object::of_file(file))
}

/// The rights that a control request asks for.
#[inline(always)]
pub fn needed_by_control(file: u64, command: u32) -> u8 {
    match kind(file) {
        Ok(REGULAR | DIRECTORY) if asks_only(command) => 0,
        Ok(CHARACTER | BLOCK) if is_terminal(command) => 0,
        Ok(REGULAR | DIRECTORY | CHARACTER | BLOCK) | Err(_) => rights::WRITE,
        // Pipes, sockets and anonymous inodes: judged where they were made.
        Ok(_) => 0,
    }
}

/// What types into a terminal, or makes others get a file's signals, is closed on files of every kind.
#[inline(always)]
fn closed_control(label: Label, file: u64, command: u32) -> Option<(Surfaces, u16)> {
    let (surface, operation) = if injects(command) {
        (TERMINAL_INPUT, operation::IOCTL)
    } else if owner::is_closed_control(file, command) {
        (SIGNALS, operation::SIGNAL_OWNER)
    } else {
        return None;
    };
    (!surface::open(label, surface)).then_some((surface, operation))
}

/// `TIOCSTI`, `TIOCLINUX` and `TIOCCONS`: input or output in another's name.
#[inline(always)]
fn injects(command: u32) -> bool {
    matches!(command, 0x5412 | 0x541c | 0x541d)
}

/// Whether a file is a device that is read and written like a stream: terminals are among them.
#[inline(always)]
pub fn is_device(file: u64) -> Result<bool, Outcome> {
    Ok(kind(file)? == CHARACTER)
}

/// The kind of the inode behind a file.
#[inline(always)]
fn kind(file: u64) -> Result<u16, Outcome> {
    let inode = read::<u64>(file + offset!(file_inode))?;
    Ok(read::<u16>(inode + offset!(inode_mode))? & KIND)
}

/// The same of a file whose type is known; what cannot be read is of no kind.
#[inline(always)]
fn kind_of(file: Typed) -> u16 {
    file.pointer(offset!(file_inode)).member::<u16>(offset!(inode_mode)) & KIND
}

/// Whether a dentry is a directory.
#[inline(always)]
pub fn is_directory(dentry: u64) -> Result<bool, Outcome> {
    let inode = read::<u64>(dentry + offset!(dentry_inode))?;
    if inode == 0 {
        return Ok(false);
    }
    Ok(read::<u16>(inode + offset!(inode_mode))? & KIND == DIRECTORY)
}
