//! Beside the fallback engine: Landlock, mounts and seccomp deny without a word, so the system calls that fail are told.
//!
//! What is told is what the program passed: good enough to explain, never to decide. The tasks are known by their
//! cgroup, which the fallback engine keeps them in.

use aya_ebpf::{
    EbpfContext as _,
    cty::c_void,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_task,
        generated::{bpf_probe_read_user, bpf_probe_read_user_str},
    },
    programs::RawTracePointContext,
};
use ringfence_abi::{
    event::{cause, operation},
    policy::Label,
    rights::{EXEC, READ, WRITE},
};

use crate::{
    kernel::{offset, read},
    maps::CGROUPS,
    outcome::Outcome,
    report::{self, Finding, Span},
    scratch::{PATH_END, Slot},
    verdict::{self, ALLOW, Object},
    walk,
};

/// Errors by which the engine denies: `EPERM`, `EACCES`, `EXDEV`, `EROFS`, `EOPNOTSUPP`.
const ERRORS: [i64; 5] = [1, 13, 18, 30, 95];
/// `AT_FDCWD`.
const WORKING_DIRECTORY: i32 = -100;
/// No directory argument: relative to the working directory.
const NO_DIRECTORY: u8 = 9;

/// `mmap`, whose file is a descriptor.
const MAP: u64 = 9;
/// `PROT_EXEC`.
const EXECUTABLE: u64 = 4;

/// What a system call does, and where its arguments are.
struct Shape {
    operation: u16,
    needed: u8,
    /// Index of the directory's descriptor, or [`NO_DIRECTORY`].
    directory: u8,
    /// Index of the path.
    path: u8,
}

/// A system call has returned.
#[inline(always)]
pub fn failure(context: &RawTracePointContext) {
    let error = -context_argument(context, 1).cast_signed();
    if !ERRORS.contains(&error) {
        return;
    }
    // SAFETY: the helper has no precondition.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: entries are written whole before tasks can enter the cgroup.
    let Some(label) = unsafe { CGROUPS.get(cgroup) }.copied() else {
        return;
    };
    verdict::with_slot(label, |slot| {
        // What cannot be read cannot be told; the act was denied all the same.
        if tell(slot, label, context_argument(context, 0), error as u16).is_err() {
            report::count_error(label);
        }
        ALLOW
    });
}

#[inline(always)]
pub fn context_argument(context: &RawTracePointContext, index: usize) -> u64 {
    // SAFETY: callers know how many arguments their tracepoint has; `sys_exit` has two, the registers and the return value
    // (include/trace/events/syscalls.h).
    unsafe { context.as_ptr().cast::<u64>().add(index).read() }
}

#[inline(always)]
fn tell(slot: *mut Slot, label: Label, registers: u64, error: u16) -> Result<(), Outcome> {
    let number = read::<u64>(registers + offset!(registers_number))?;
    let Some(shape) = shape(number) else {
        return Ok(());
    };
    let mut finding = Finding {
        needed: needed(&shape, number, registers)?,
        error,
        ..Finding::new(shape.operation, cause::RULE)
    };
    if shape.needed == 0 {
        finding.cause = cause::CLOSED;
        if shape.operation == operation::SOCKET {
            // The family.
            finding.detail = argument(registers, 0)? as u32;
        }
        report::send(slot, label, finding);
        return Ok(());
    }
    if number == MAP {
        // Only what is mapped as code from a file is the fence's; the file has been opened, so its path is the kernel's.
        if argument(registers, 2)? & EXECUTABLE == 0 {
            return Ok(());
        }
        let file = Object::of_file(opened(argument(registers, 4)? as u32)?)?;
        // SAFETY: `slot` is a map value.
        let path = unsafe { &raw mut (*slot).path };
        walk::absolute(path, file.dentry, walk::mount_of(file.vfsmount))?;
        finding.path = Span::built(path);
        report::send(slot, label, finding);
        return Ok(());
    }
    let address = argument(registers, shape.path)?;
    // SAFETY: `slot` is a map value, and the helper writes at most PATH_END bytes of its buffer.
    let read_bytes = unsafe {
        let bytes = (&raw mut (*slot).path.bytes).cast::<c_void>();
        bpf_probe_read_user_str(bytes, PATH_END as u32, address as *const c_void)
    };
    if read_bytes <= 0 {
        return Err(Outcome::INTERNAL);
    }
    finding.path = Span::first(read_bytes as u32 - 1);
    // SAFETY: `slot` is a map value.
    let is_absolute = unsafe { core::ptr::read_volatile(&raw const (*slot).path.bytes[0]) } == b'/';
    if !is_absolute {
        let base = base(&shape, registers)?;
        // SAFETY: `slot` is a map value.
        let other = unsafe { &raw mut (*slot).other };
        walk::absolute(other, base.dentry, walk::mount_of(base.vfsmount))?;
        finding.other = Span::built(other);
    }
    report::send(slot, label, finding);
    Ok(())
}

/// The directory that a relative path is relative to.
#[inline(always)]
fn base(shape: &Shape, registers: u64) -> Result<Object, Outcome> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let descriptor = if shape.directory == NO_DIRECTORY {
        WORKING_DIRECTORY
    } else {
        argument(registers, shape.directory)? as i32
    };
    if descriptor == WORKING_DIRECTORY {
        let filesystem = read::<u64>(task + offset!(task_filesystem))?;
        return Object::of_path(filesystem + offset!(filesystem_directory));
    }
    Object::of_file(opened(descriptor as u32)?)
}

/// The `struct file` behind an open descriptor of the current task.
#[inline(always)]
pub fn opened(descriptor: u32) -> Result<u64, Outcome> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let files = read::<u64>(task + offset!(task_files))?;
    let table = read::<u64>(files + offset!(files_table))?;
    let size = read::<u32>(table + offset!(table_size))?;
    if descriptor >= size {
        return Err(Outcome::INTERNAL);
    }
    let open = read::<u64>(table + offset!(table_files))?;
    match read::<u64>(open + u64::from(descriptor) * 8)? {
        // Another thread has closed it.
        0 => Err(Outcome::INTERNAL),
        file => Ok(file),
    }
}

/// An argument of the system call.
#[inline(always)]
pub fn argument(registers: u64, index: u8) -> Result<u64, Outcome> {
    let offset = match index {
        0 => offset!(registers_first),
        1 => offset!(registers_second),
        2 => offset!(registers_third),
        3 => offset!(registers_fourth),
        4 => offset!(registers_fifth),
        _ => offset!(registers_sixth),
    };
    read::<u64>(registers + offset)
}

/// The rights that the call needs; those of an open depend on its flags.
#[inline(always)]
fn needed(shape: &Shape, number: u64, registers: u64) -> Result<u8, Outcome> {
    let flags = match number {
        2 => argument(registers, 1)?,
        257 => argument(registers, 2)?,
        437 => {
            let mut flags = 0u64;
            let how = argument(registers, 2)? as *const c_void;
            // SAFETY: the helper checks the address and writes eight bytes.
            if unsafe { bpf_probe_read_user((&raw mut flags).cast(), 8, how) } != 0 {
                return Err(Outcome::INTERNAL);
            }
            flags
        }
        _ => return Ok(shape.needed),
    };
    let mut needed = match flags & 3 {
        0 => READ,
        1 => WRITE,
        _ => READ | WRITE,
    };
    // O_CREAT and O_TRUNC.
    if flags & 0o1100 != 0 {
        needed |= WRITE;
    }
    Ok(needed)
}

/// The system calls of x86-64 that the engine can deny (arch/x86/entry/syscalls/syscall_64.tbl). Of two paths the one
/// that is made is told.
#[inline(always)]
fn shape(number: u64) -> Option<Shape> {
    let (operation, needed, directory, path) = match number {
        2 => (operation::OPEN, READ, NO_DIRECTORY, 0),
        257 | 437 => (operation::OPEN, READ, 0, 1),
        85 => (operation::CREATE, WRITE, NO_DIRECTORY, 0),
        59 => (operation::EXEC, EXEC, NO_DIRECTORY, 0),
        322 => (operation::EXEC, EXEC, 0, 1),
        MAP => (operation::MAP_EXEC, EXEC, NO_DIRECTORY, 0),
        83 => (operation::MKDIR, WRITE, NO_DIRECTORY, 0),
        258 => (operation::MKDIR, WRITE, 0, 1),
        133 => (operation::MKNOD, WRITE, NO_DIRECTORY, 0),
        259 => (operation::MKNOD, WRITE, 0, 1),
        88 => (operation::SYMLINK, WRITE, NO_DIRECTORY, 1),
        266 => (operation::SYMLINK, WRITE, 1, 2),
        86 => (operation::LINK, WRITE, NO_DIRECTORY, 1),
        265 => (operation::LINK, WRITE, 2, 3),
        82 => (operation::RENAME, WRITE, NO_DIRECTORY, 1),
        264 | 316 => (operation::RENAME, WRITE, 2, 3),
        87 => (operation::UNLINK, WRITE, NO_DIRECTORY, 0),
        263 => (operation::UNLINK, WRITE, 0, 1),
        84 => (operation::RMDIR, WRITE, NO_DIRECTORY, 0),
        76 => (operation::TRUNCATE, WRITE, NO_DIRECTORY, 0),
        90 => (operation::CHMOD, WRITE, NO_DIRECTORY, 0),
        268 | 452 => (operation::CHMOD, WRITE, 0, 1),
        92 | 94 => (operation::CHOWN, WRITE, NO_DIRECTORY, 0),
        260 => (operation::CHOWN, WRITE, 0, 1),
        280 | 261 => (operation::SET_TIMES, WRITE, 0, 1),
        132 | 235 => (operation::SET_TIMES, WRITE, NO_DIRECTORY, 0),
        188 | 189 => (operation::SET_XATTR, WRITE, NO_DIRECTORY, 0),
        197 | 198 => (operation::REMOVE_XATTR, WRITE, NO_DIRECTORY, 0),
        // Closed by kind, whatever the path.
        41 | 53 => (operation::SOCKET, 0, NO_DIRECTORY, 0),
        165 | 166 | 428..=433 | 442 => (operation::MOUNT, 0, NO_DIRECTORY, 0),
        101 => (operation::PTRACE, 0, NO_DIRECTORY, 0),
        62 | 200 | 234 | 424 => (operation::SIGNAL, 0, NO_DIRECTORY, 0),
        321 => (operation::BPF, 0, NO_DIRECTORY, 0),
        _ => return None,
    };
    Some(Shape { operation, needed, directory, path })
}
