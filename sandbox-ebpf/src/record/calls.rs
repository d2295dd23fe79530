//! Recording by tracepoints, where there is no BPF LSM: system calls that succeeded.
//!
//! What has been opened is asked of the kernel: the descriptor's file, its dentry, its path. A name that came or went has
//! no descriptor; told is the directory that it was relative to, as the kernel names it, and the name that was passed.
//! Another thread can change either between the act and here. It would make a record wrong, never a fence.

use core::mem::offset_of;

use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_get_current_task, generated::bpf_probe_read_user},
    programs::RawTracePointContext,
};
use ringfence_abi::{
    calls::{
        BIND, CLONE, CLONE_3, CONNECT, CONTROL, CREATE, EXECUTE, EXECUTE_AT, LISTEN, MAP, NAMESPACES, NONE, OPEN, OPEN_AT, OPEN_AT_2, OPEN_BY_HANDLE, SEND_MESSAGE, SEND_TO, SOCKET, UNSHARE, is_clone, is_of_interest, on_descriptor, shape,
    },
    event::operation,
    layout::ABSENT,
    limits::SYSTEM_CALLS,
    network::socket_detail,
    record::{BY_NUMBER, DIRECTORY, FOLLOWED, Recording, Seen, Tally},
    rights::{EXEC, READ, WRITE},
};

use crate::{
    abstract_name::{BEFORE_NAME, LONGEST_ADDRESS, Memory},
    exec, files,
    kernel::{Typed, offset, read},
    outcome::Outcome,
    record::{self, Name, Thing, network, tasks},
    scratch::Slot,
    sockets,
    verdict::Object,
    walk::bounded,
    watch::{argument, context_argument},
};

/// `AT_FDCWD`.
const WORKING_DIRECTORY: i32 = -100;
/// Most that an error is, as a negative number (include/linux/err.h, `MAX_ERRNO`).
const MOST_ERRORS: i64 = -4095;
/// `-EINPROGRESS`: a connect that goes on.
const IN_PROGRESS: i64 = -115;
/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h): the system call is of the 32-bit table.
const COMPATIBLE: u32 = 2;
const PATH_ONLY: u64 = 0o10_000_000;
const TEMPORARY: u64 = 0o20_000_000;
const TRUNCATE: u64 = 0o1000;
/// `FMODE_CREATED` (include/linux/fs.h): this open made the file.
const CREATED: u32 = 1 << 20;
const UNIX: u16 = 1;
/// `TIOCGPTPEER` (include/uapi/asm-generic/ioctls.h): opens the other side of a pseudo-terminal.
const OPEN_PEER: u32 = 0x5441;
/// `AT_SYMLINK_NOFOLLOW`.
const NO_FOLLOW: u64 = 0x100;

/// `sys_enter(regs, id)`: the command's own recording begins with its exec, and a container's task is taken in by it. The recording, if
/// the call is an exec of what is recorded already.
#[inline(always)]
pub fn made(context: &RawTracePointContext) -> Option<*mut Recording> {
    let number = context_argument(context, 1);
    let executes = number == EXECUTE || number == EXECUTE_AT;
    let Some(recording) = record::recording() else {
        if executes && let Some(recording) = tasks::take_in() {
            mark(recording, number, offset_of!(Tally, made));
        }
        return None;
    };
    // SAFETY: a map value lives as long as the program runs.
    let has_begun = unsafe { core::ptr::read_volatile(&raw const (*recording).begun) } != 0;
    if !has_begun {
        if !executes {
            return None;
        }
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*recording).begun, 1) };
    }
    mark(recording, number, offset_of!(Tally, made));
    (executes && has_begun).then_some(recording)
}

/// The same, and who executes is kept until it has.
#[inline(always)]
pub fn enter(context: &RawTracePointContext) {
    if let Some(recording) = made(context) {
        record::with_program(recording, |_, program| {
            record::about_to_execute(recording, program);
            Ok(())
        });
    }
}

#[inline(always)]
fn mark(recording: *mut Recording, number: u64, offset: usize) {
    if number < SYSTEM_CALLS as u64 {
        let word = bounded!(number >> 6, SYSTEM_CALLS as u64 / 64 - 1);
        record::mark(recording, offset + 8 * word as usize, 1 << (number & 63));
    }
}

/// `sys_exit(regs, ret)`.
#[inline(always)]
pub fn exit(context: &RawTracePointContext) {
    let Some(recording) = record::current() else {
        return;
    };
    let registers = Typed::registers();
    let answer = context_argument(context, 1).cast_signed();
    let number = registers.member::<u64>(offset!(registers_number));
    if (MOST_ERRORS..0).contains(&answer) {
        if number == EXECUTE || number == EXECUTE_AT {
            let _failed = record::was_executing();
            tasks::failed();
        }
        if answer != IN_PROGRESS || number != CONNECT {
            return;
        }
    }
    if is_foreign() {
        record::count(recording, offset_of!(Tally, foreign));
        return;
    }
    mark(recording, number, offset_of!(Tally, succeeded));
    if !is_of_interest(number) || (number == MAP && !maps_code(registers)) {
        return;
    }
    record::with_program(recording, |slot, program| {
        let seen = Seen { program, ..Seen::default() };
        tell(slot, seen, number, registers, answer as u32)
    });
}

/// `sys_exit(regs, ret)`, beside the hooks: which calls succeeded, and the namespaces that were made.
#[inline(always)]
pub fn succeeded(context: &RawTracePointContext) {
    let answer = context_argument(context, 1).cast_signed();
    if (MOST_ERRORS..0).contains(&answer) {
        if record::takes_in() {
            tasks::failed();
        }
        return;
    }
    let Some(recording) = record::current() else {
        return;
    };
    if is_foreign() {
        return;
    }
    if offset!(registers_number) == u64::from(ABSENT) {
        record::count(recording, offset_of!(Tally, unread));
        return;
    }
    let registers = Typed::registers();
    let number = registers.member::<u64>(offset!(registers_number));
    mark(recording, number, offset_of!(Tally, succeeded));
    if !matches!(number, CLONE | UNSHARE | CLONE_3) || (is_clone(number) && answer == 0) {
        return;
    }
    record::with_program(recording, |slot, program| {
        namespaces(slot, Seen { program, ..Seen::default() }, number, registers.address())
    });
}

#[inline(always)]
fn is_foreign() -> bool {
    let status = offset!(task_status);
    if status == u64::from(ABSENT) {
        return false;
    }
    Typed::current_task().member::<u32>(status) & COMPATIBLE != 0
}

#[inline(always)]
fn tell(
    slot: *mut Slot,
    seen: Seen,
    number: u64,
    registers: Typed,
    answer: u32,
) -> Result<(), Outcome> {
    let (typed, registers) = (registers, registers.address());
    match number {
        OPEN | CREATE | OPEN_AT | OPEN_AT_2 | OPEN_BY_HANDLE => {
            let third = typed.member::<u64>(offset!(registers_third));
            let flags = match number {
                OPEN => typed.member::<u64>(offset!(registers_second)),
                CREATE => 0o1101,
                OPEN_AT_2 => read_user::<u64>(third)?,
                _ => third,
            };
            let name = match number {
                OPEN_BY_HANDLE => 0,
                OPEN | CREATE => argument(registers, 0)?,
                _ => typed.member::<u64>(offset!(registers_second)),
            };
            let marks = if is_by_number(name) { BY_NUMBER } else { 0 };
            open(slot, Seen { flags: marks, ..seen }, answer, flags)
        }
        MAP => map(slot, seen, typed),
        CONTROL => control(slot, seen, registers, answer),
        SOCKET => {
            let family = argument(registers, 0)? as u32;
            if family != u32::from(UNIX) {
                // The kind's flags stand above (include/linux/net.h, `SOCK_TYPE_MASK`).
                let kind = argument(registers, 1)? as u32 & 0xf;
                let detail = socket_detail(family, kind, argument(registers, 2)? as u32);
                let seen = Seen { operation: operation::SOCKET, detail, ..seen };
                record::nameless(slot, seen);
            }
            Ok(())
        }
        LISTEN => {
            let file = opened(argument(registers, 0)? as u32)?;
            network::listen(slot, seen, sockets::of_file(file)?)
        }
        _ if is_clone(number) && answer == 0 => Ok(()),
        CLONE | UNSHARE | CLONE_3 => namespaces(slot, seen, number, registers),
        CONNECT | SEND_TO | SEND_MESSAGE | BIND => {
            let (address, length) = match number {
                SEND_TO => (argument(registers, 4)?, argument(registers, 5)? as u32),
                SEND_MESSAGE => {
                    // `msg_name` and `msg_namelen` (include/linux/socket.h, `struct user_msghdr`).
                    let message = argument(registers, 1)?;
                    (read_user::<u64>(message)?, read_user::<u32>(message + 8)?)
                }
                _ => (argument(registers, 1)?, argument(registers, 2)? as u32),
            };
            address_of(slot, Seen { needed: WRITE, ..seen }, (address, length), number == BIND)
        }
        _ => match on_descriptor(number) {
            Some(operation) => {
                let object = Object::of_file(opened(argument(registers, 0)? as u32)?)?;
                let seen = Seen { operation, needed: WRITE, ..seen };
                record::act(slot, seen, Thing { object, name: Name::None }, None)
            }
            None => named(slot, seen, number, registers),
        },
    }
}

/// Whether the name at an address leads through `/proc` by a number.
#[inline(always)]
fn is_by_number(name: u64) -> bool {
    // What cannot be read is shorter, and ends where memory does.
    let Ok([before @ .., digit, _]) = read_user::<[u8; 8]>(name) else {
        return false;
    };
    before == *b"/proc/" && digit.is_ascii_digit()
}

/// Namespaces that were made.
#[inline(always)]
fn namespaces(slot: *mut Slot, seen: Seen, number: u64, registers: u64) -> Result<(), Outcome> {
    let mut flags = argument(registers, 0)?;
    if number == CLONE_3 {
        flags = read_user::<u64>(flags)?;
    }
    let detail = flags as u32 & NAMESPACES;
    if detail != 0 {
        record::nameless(slot, Seen { operation: operation::NAMESPACE, detail, ..seen });
    }
    Ok(())
}

/// A file that has just been opened.
#[inline(always)]
fn open(slot: *mut Slot, seen: Seen, descriptor: u32, flags: u64) -> Result<(), Outcome> {
    if flags & PATH_ONLY != 0 {
        return Ok(());
    }
    let file = opened(descriptor)?;
    let mut needed = match flags & 3 {
        0 => READ,
        1 => WRITE,
        _ => READ | WRITE,
    };
    if flags & TRUNCATE != 0 {
        needed |= WRITE;
    }
    let created = read::<u32>(file + offset!(file_mode))? & CREATED != 0;
    let mut seen = Seen { operation: operation::OPEN, ..seen };
    if created || flags & TEMPORARY == TEMPORARY {
        needed |= WRITE;
        seen.operation = operation::CREATE;
    }
    let object = Object::of_file(file)?;
    if files::is_directory(object.dentry)? {
        seen.operation = operation::LIST;
        seen.flags |= DIRECTORY;
    }
    seen.needed = needed;
    record::act(slot, seen, Thing { object, name: Name::None }, None)
}

/// Whether mmap(2) was asked for code out of a file.
#[inline(always)]
fn maps_code(registers: Typed) -> bool {
    const EXECUTABLE: u64 = 4;
    const WITHOUT_FILE: u64 = 0x20;
    registers.member::<u64>(offset!(registers_third)) & EXECUTABLE != 0
        && registers.member::<u64>(offset!(registers_fourth)) & WITHOUT_FILE == 0
}

/// A file that has been mapped as code.
#[inline(always)]
fn map(slot: *mut Slot, seen: Seen, registers: Typed) -> Result<(), Outcome> {
    let descriptor = registers.member::<u64>(offset!(registers_fifth));
    let object = Object::of_file(opened(descriptor as u32)?)?;
    let seen = Seen { operation: operation::MAP_EXEC, needed: EXEC, ..seen };
    record::act(slot, seen, Thing { object, name: Name::None }, None)
}

/// A control request that needs the right to write, or opens something.
#[inline(always)]
fn control(slot: *mut Slot, seen: Seen, registers: u64, answer: u32) -> Result<(), Outcome> {
    let request = argument(registers, 1)? as u32;
    if request == OPEN_PEER {
        return open(slot, seen, answer, argument(registers, 2)?);
    }
    let file = opened(argument(registers, 0)? as u32)?;
    if files::needed_by_control(file, request) == 0 {
        return Ok(());
    }
    let object = Object::of_file(file)?;
    let seen = Seen { operation: operation::IOCTL, needed: WRITE, ..seen };
    record::act(slot, seen, Thing { object, name: Name::None }, None)
}

/// The address of a Unix socket, where it is and how many bytes it has: a path, an abstract name, or none.
#[inline(always)]
fn address_of(
    slot: *mut Slot,
    seen: Seen,
    (address, length): (u64, u32),
    binds: bool,
) -> Result<(), Outcome> {
    if address == 0 || length > LONGEST_ADDRESS {
        return Ok(());
    }
    // A pointer that the kernel did not look at, for the socket was connected, need not lead anywhere.
    let Ok(start) = read_user::<[u8; BEFORE_NAME as usize]>(address) else {
        return Ok(());
    };
    if u16::from_ne_bytes([start[0], start[1]]) != UNIX {
        return Ok(());
    }
    if start[2] == 0 || length < BEFORE_NAME {
        let operation = if binds { operation::BIND_UNIX } else { operation::CONNECT_UNIX };
        let seen = Seen { operation, ..seen };
        return record::by_abstract_name(slot, seen, address, length, Memory::User);
    }
    let operation = if binds { operation::MKNOD } else { operation::CONNECT_UNIX };
    let name = address + u64::from(BEFORE_NAME - 1);
    let object = base(start[2] == b'/', WORKING_DIRECTORY)?;
    let seen = Seen { operation, flags: FOLLOWED, ..seen };
    record::act(slot, seen, Thing { object, name: Name::User(name) }, None)
}

/// A system call that names its objects.
#[inline(always)]
fn named(slot: *mut Slot, seen: Seen, number: u64, registers: u64) -> Result<(), Outcome> {
    let Some(shape) = shape(number) else {
        return Ok(());
    };
    let thing = thing(registers, shape.directory, shape.path)?;
    let mut seen = Seen { operation: shape.operation, needed: shape.needed, ..seen };
    let stays = shape.flags != NONE && argument(registers, shape.flags)? & NO_FOLLOW != 0;
    if shape.follows && !stays {
        seen.flags |= FOLLOWED;
    }
    if shape.other == NONE {
        return record::act(slot, seen, thing, None);
    }
    let other = self::thing(registers, shape.other_directory, shape.other)?;
    record::act(slot, seen, thing, Some(other))
}

/// What a pair of arguments names.
#[inline(always)]
fn thing(registers: u64, directory: u8, path: u8) -> Result<Thing, Outcome> {
    let descriptor = if directory == NONE {
        WORKING_DIRECTORY
    } else {
        argument(registers, directory)? as i32
    };
    let address = argument(registers, path)?;
    let first = if address == 0 { 0 } else { read_user::<u8>(address)? };
    Ok(Thing {
        object: base(first == b'/', descriptor)?,
        name: if first == 0 { Name::None } else { Name::User(address) },
    })
}

/// Where a name begins: at the task's root, in its working directory, or in the directory behind a descriptor.
#[inline(always)]
fn base(absolute: bool, descriptor: i32) -> Result<Object, Outcome> {
    if !absolute && descriptor != WORKING_DIRECTORY {
        return Object::of_file(opened(descriptor as u32)?);
    }
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let filesystem = read::<u64>(task + offset!(task_filesystem))?;
    let place = if absolute { offset!(filesystem_root) } else { offset!(filesystem_directory) };
    Object::of_path(filesystem + place)
}

/// The `struct file` behind an open descriptor of the current task.
#[inline(always)]
fn opened(descriptor: u32) -> Result<u64, Outcome> {
    let table = Typed::current_task().pointer(offset!(task_files)).pointer(offset!(files_table)).known()?;
    let open = table.member::<u64>(offset!(table_files));
    if descriptor >= table.member::<u32>(offset!(table_size)) {
        return Err(Outcome::INTERNAL);
    }
    match read::<u64>(open + u64::from(descriptor) * 8)? {
        // Another thread has closed it.
        0 => Err(Outcome::INTERNAL),
        file => Ok(file),
    }
}

#[inline(always)]
fn read_user<T: Copy>(address: u64) -> Result<T, Outcome> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: the helper checks the address and writes as many bytes as the value has.
    if unsafe { bpf_probe_read_user(to, size_of::<T>() as u32, address as *const c_void) } != 0 {
        return Err(Outcome::INTERNAL);
    }
    // SAFETY: all bytes are written, and every `T` in use is plain data.
    Ok(unsafe { value.assume_init() })
}

/// `sched_process_exec(task, old_pid, bprm)`: the program, and if it was named by a script, the script.
#[inline(always)]
pub fn execute(context: &RawTracePointContext) {
    tasks::executed(context);
    let Some(recording) = record::current() else {
        return;
    };
    let bprm = context_argument(context, 2);
    let before = record::was_executing();
    record::with_program(recording, |slot, own| {
        // Of the command itself there is no program before: the launcher's own acts are not recorded.
        let program = before.unwrap_or(own);
        let seen = Seen { operation: operation::EXEC, needed: EXEC, program, ..Seen::default() };
        let object = Object::of_file(read::<u64>(bprm + offset!(program_file))?)?;
        if exec::is_removed(object.dentry)? {
            record::nameless(slot, seen);
        } else {
            record::act(slot, seen, Thing { object, name: Name::None }, None)?;
        }
        let name = read::<u64>(bprm + offset!(program_name))?;
        let interpreter = read::<u64>(bprm + offset!(program_interpreter))?;
        if name == interpreter {
            return Ok(());
        }
        let first = read::<u8>(name)?;
        let object = base(first == b'/', WORKING_DIRECTORY)?;
        let seen = Seen { flags: FOLLOWED, ..seen };
        record::act(slot, seen, Thing { object, name: Name::Kernel(name) }, None)
    });
}

/// `cap_capable(cred, target_ns, capable_ns, cap, ret)`, since 6.14: a capability that was asked for and is held.
#[inline(always)]
pub fn capability(context: &RawTracePointContext) {
    if context_argument(context, 4) as u32 != 0 {
        return;
    }
    let Some(recording) = record::current() else {
        return;
    };
    let capability = context_argument(context, 3);
    record::mark(recording, offset_of!(Tally, capabilities), 1 << (capability & 63));
}
