//! Recording at the hooks that a fence judges at, where there is BPF LSM. Every path is the kernel's own.
//!
//! What is told is what a judge would be asked, whether the act then succeeds or not. Tasks are known by their cgroup, as for
//! [`super::calls`], which still counts the system calls.

use core::mem::offset_of;

use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_get_current_task, generated::bpf_loop},
    programs::LsmContext,
};
use ringfence_abi::{
    event::operation,
    layout::ABSENT,
    network::socket_detail,
    record::{DIRECTORY, Recording, Seen, Tally},
    rights::{EXEC, READ, WRITE},
};

use crate::{
    abstract_name::{BEFORE_NAME, Memory},
    exec, files,
    kernel::{offset, read},
    metadata,
    outcome::Outcome,
    record::{self, Name, Thing, network},
    special,
    verdict::Object,
    walk,
};

/// `PROT_EXEC`.
const EXECUTABLE: u64 = 4;
/// `CAP_OPT_NOAUDIT` (include/linux/security.h): the kernel only wonders.
const WONDERS: u32 = 1 << 1;
/// `AF_UNIX`.
const UNIX: u32 = 1;
/// Mounts of one filesystem that are looked at.
const MOUNTS: u32 = 64;
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// `file_open`: every open, those of programs, their interpreters and loaders among them.
#[inline(always)]
pub fn open(file: u64) {
    let Some(recording) = record::current() else {
        return;
    };
    tell(recording, |seen| {
        let needed = files::needed_by(read::<u32>(file + offset!(file_flags))?);
        let object = Object::of_file(file)?;
        let mut seen = Seen { needed, operation: operation::OPEN, ..seen };
        if needed == EXEC {
            seen.operation = operation::EXEC;
        } else if files::is_directory(object.dentry)? {
            seen.operation = operation::LIST;
            seen.flags = DIRECTORY;
        }
        Ok((seen, object))
    });
}

/// `mmap_file(file, reqprot, prot, flags)` and `file_mprotect(vma, reqprot, prot)`, by the file.
#[inline(always)]
pub fn map(file: Result<u64, Outcome>, protection: u64, operation: u16) {
    if protection & EXECUTABLE == 0 || file == Ok(0) {
        return;
    }
    let Some(recording) = record::current() else {
        return;
    };
    tell(recording, |seen| {
        let object = exec::as_opened(file?)?;
        Ok((Seen { needed: EXEC, operation, ..seen }, object))
    });
}

/// `file_mprotect`: the file behind an area.
#[inline(always)]
pub fn of_area(area: u64) -> Result<u64, Outcome> {
    read::<u64>(area + offset!(area_file))
}

/// `file_receive`: as if the task had opened it.
#[inline(always)]
pub fn receive(file: u64) {
    let Some(recording) = record::current() else {
        return;
    };
    tell(recording, |seen| {
        let mode = read::<u32>(file + offset!(file_mode))?;
        // `FMODE_READ` and `FMODE_WRITE` are the rights of the same numbers.
        let needed = mode as u8 & (READ | WRITE);
        Ok((Seen { needed, operation: operation::RECEIVE, ..seen }, Object::of_file(file)?))
    });
}

/// `file_ioctl(file, cmd, arg)`.
#[inline(always)]
pub fn control(file: u64, command: u32) {
    let Some(recording) = record::current() else {
        return;
    };
    if files::needed_by_control(file, command) == 0 {
        return;
    }
    tell(recording, |seen| {
        Ok((Seen { needed: WRITE, operation: operation::IOCTL, ..seen }, Object::of_file(file)?))
    });
}

/// `path_mknod(dir, dentry, mode, dev)`.
#[inline(always)]
pub fn create(context: &LsmContext) {
    let kind = context.arg::<u32>(2) & KIND;
    let operation = if kind == 0 || kind == REGULAR { operation::CREATE } else { operation::MKNOD };
    entry(context, operation);
}

/// One entry of a directory comes or goes: `(dir, dentry)`.
#[inline(always)]
pub fn entry(context: &LsmContext, operation: u16) {
    let Some(recording) = record::current() else {
        return;
    };
    let (directory, dentry) = (context.arg::<u64>(0), context.arg::<u64>(1));
    tell(recording, |seen| {
        Ok((Seen { needed: WRITE, operation, ..seen }, Object::entry(directory, dentry)?))
    });
}

/// Two names: each a directory's `struct path` and a dentry.
#[inline(always)]
pub fn two(operation: u16, old: (u64, u64), new: (u64, u64)) {
    let Some(recording) = record::current() else {
        return;
    };
    record::with_program(recording, |slot, program| {
        let mut seen = Seen { program, needed: WRITE, operation, ..Seen::default() };
        if files::is_directory(old.1)? {
            seen.flags = DIRECTORY;
        }
        let object = Object::entry(old.0, old.1)?;
        let other = Object::entry(new.0, new.1)?;
        let other = Thing { object: other, name: Name::None };
        record::act(slot, seen, Thing { object, name: Name::None }, Some(other))
    });
}

/// The first argument is a `struct path`.
#[inline(always)]
pub fn by_path(context: &LsmContext, operation: u16, needed: u8) {
    let Some(recording) = record::current() else {
        return;
    };
    let path = context.arg::<u64>(0);
    tell(recording, |seen| Ok((Seen { needed, operation, ..seen }, Object::of_path(path)?)));
}

/// `inode_setattr`: only for times, the rest has a hook with a path.
#[inline(always)]
pub fn set_times(dentry: u64, attributes: u64) {
    if record::current().is_some() && metadata::sets_times(attributes) != Ok(false) {
        by_dentry(dentry, operation::SET_TIMES, WRITE);
    }
}

/// A dentry without the mount that it was reached by: told by the first name that it has in the task's namespace, for a
/// judge is content with any.
#[inline(always)]
pub fn by_dentry(dentry: u64, operation: u16, needed: u8) {
    let Some(recording) = record::current() else {
        return;
    };
    // A stacked filesystem at work for the task: what the task did to it has been told.
    if special::acts_for_another() == Ok(true) {
        return;
    }
    tell(recording, |seen| {
        let vfsmount = some_mount(dentry)?;
        Ok((Seen { needed, operation, ..seen }, Object { dentry, vfsmount }))
    });
}

/// What the search through the mounts of a filesystem carries.
struct Search {
    next: u64,
    end: u64,
    namespace: u64,
    dentry: u64,
    found: u64,
}

/// A mount of the dentry's filesystem in the task's namespace, below whose root the dentry lies.
#[inline(always)]
fn some_mount(dentry: u64) -> Result<u64, Outcome> {
    let superblock = read::<u64>(dentry + offset!(dentry_superblock))?;
    let list = superblock + offset!(superblock_mounts);
    let mut search = Search {
        next: read::<u64>(list)?,
        // A circular list before 6.18, one that ends in NULL since (fs/mount.h).
        end: if is_circular() { list } else { 0 },
        namespace: walk::current_namespace()?,
        dentry,
        found: 0,
    };
    // SAFETY: the callback gets the address of a value on this frame's stack.
    unsafe {
        bpf_loop(
            MOUNTS,
            look_at_one as *const () as *mut c_void,
            (&raw mut search).cast::<c_void>(),
            0,
        );
    }
    match search.found {
        0 => Err(Outcome::INTERNAL),
        mount => Ok(mount + offset!(mount_vfsmount)),
    }
}

#[inline(always)]
fn is_circular() -> bool {
    offset!(mount_instance) != u64::from(ABSENT)
}

/// One mount; returns 1 at the end or when it is found.
extern "C" fn look_at_one(_index: u64, search: *mut Search) -> i64 {
    // SAFETY: `search` is the one that `some_mount` passed.
    let search = unsafe { &mut *search };
    if search.next == search.end || search.next == 0 {
        return 1;
    }
    let mount = if is_circular() {
        search.next.wrapping_sub(offset!(mount_instance))
    } else {
        search.next
    };
    let link = if is_circular() { search.next } else { mount + offset!(mount_next) };
    let Ok(next) = read::<u64>(link) else {
        return 1;
    };
    search.next = next;
    if read::<u64>(mount + offset!(mount_namespace)) != Ok(search.namespace) {
        return 0;
    }
    let Ok(root) = read::<u64>(mount + offset!(mount_vfsmount) + offset!(vfsmount_root)) else {
        return 0;
    };
    if is_below(search.dentry, root) {
        search.found = mount;
        return 1;
    }
    0
}

/// Whether a dentry lies below the root of a mount: of a bind mount not every one does. A root that is its own parent has
/// all of its filesystem below it.
#[inline(always)]
fn is_below(dentry: u64, root: u64) -> bool {
    const PARENTS: u32 = 8;
    if read::<u64>(root + offset!(dentry_parent)) == Ok(root) {
        return true;
    }
    let mut at = dentry;
    let mut step = 0;
    while step < PARENTS {
        if at == root {
            return true;
        }
        match read::<u64>(at + offset!(dentry_parent)) {
            Ok(parent) if parent != at => at = parent,
            _ => return false,
        }
        step += 1;
    }
    false
}

/// `socket_create(family, type, protocol, kern)`.
#[inline(always)]
pub fn socket(context: &LsmContext) {
    let (family, by_kernel) = (context.arg::<u32>(0), context.arg::<u32>(3) != 0);
    if family == UNIX || by_kernel {
        return;
    }
    let Some(recording) = record::current() else {
        return;
    };
    let detail = socket_detail(family, context.arg::<u32>(1), context.arg::<u32>(2));
    record::with_program(recording, |slot, program| {
        let operation = operation::SOCKET;
        record::nameless(slot, Seen { program, operation, detail, ..Seen::default() });
        Ok(())
    });
}

/// `socket_listen(sock, backlog)`, by the `struct socket`. A Unix socket has no port.
#[inline(always)]
pub fn listen(socket: u64) {
    let Some(recording) = record::current() else {
        return;
    };
    record::with_program(recording, |slot, program| {
        network::listen(slot, Seen { program, ..Seen::default() }, socket)
    });
}

/// `unix_stream_connect(sock, other, newsk)`, `unix_may_send(sock, other)`: the other's `struct sock`.
#[inline(always)]
pub fn connect(other: Result<u64, Outcome>) {
    let Some(recording) = record::current() else {
        return;
    };
    record::with_program(recording, |slot, program| {
        let operation = operation::CONNECT_UNIX;
        let seen = Seen { program, operation, needed: WRITE, ..Seen::default() };
        let other = other?;
        let path = other + offset!(unix_path);
        if read::<u64>(path + offset!(path_dentry))? != 0 {
            let object = Object::of_path(path)?;
            return record::act(slot, seen, Thing { object, name: Name::None }, None);
        }
        let address = read::<u64>(other + offset!(unix_address))?;
        if address == 0 {
            return Ok(());
        }
        let length = read::<u32>(address + offset!(unix_address_length))?;
        let name = address + offset!(unix_address_name);
        record::by_abstract_name(slot, seen, name, length, Memory::Kernel)
    });
}

/// `socket_bind(sock, address, addrlen)`, by the kernel's copy of the address: of Unix sockets those with an abstract name. A path is
/// told as it is made, and ports by [`network`].
#[inline(always)]
pub fn bind(address: u64, length: u32) {
    let Some(recording) = record::current() else {
        return;
    };
    let start = read::<[u8; BEFORE_NAME as usize]>(address);
    if length <= BEFORE_NAME || !start.is_ok_and(|start| is_abstract(start)) {
        return;
    }
    record::with_program(recording, |slot, program| {
        let operation = operation::BIND_UNIX;
        let seen = Seen { program, operation, needed: WRITE, ..Seen::default() };
        record::by_abstract_name(slot, seen, address, length, Memory::Kernel)
    });
}

/// Whether an address that begins so is that of a Unix socket and has no path.
#[inline(always)]
fn is_abstract(start: [u8; BEFORE_NAME as usize]) -> bool {
    u32::from(u16::from_ne_bytes([start[0], start[1]])) == UNIX && start[2] == 0
}

/// `unix_may_send`: the `struct sock` of a `struct socket`.
#[inline(always)]
pub fn of_socket(socket: u64) -> Result<u64, Outcome> {
    read::<u64>(socket + offset!(socket_sock))
}

/// `capable(cred, ns, cap, opts)`: what gets here is held (see [`crate::capability`]).
#[inline(always)]
pub fn capability(context: &LsmContext) {
    if context.arg::<u32>(3) & WONDERS != 0 {
        return;
    }
    let Some(recording) = record::current() else {
        return;
    };
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let own = read::<u64>(task + offset!(task_real_credentials));
    let level = read::<u32>(context.arg::<u64>(1) + offset!(namespace_level));
    if own != Ok(context.arg::<u64>(0)) || level != Ok(0) {
        return;
    }
    let capability = context.arg::<u32>(2);
    record::mark(recording, offset_of!(Tally, capabilities), 1 << (capability & 63));
}

/// Tells what `find` finds out.
#[inline(always)]
fn tell(
    recording: *mut Recording,
    find: impl FnOnce(Seen) -> Result<(Seen, Object), Outcome>,
) {
    record::with_program(recording, |slot, program| {
        let (seen, object) = find(Seen { program, ..Seen::default() })?;
        if seen.needed & EXEC != 0 && exec::is_removed(object.dentry)? {
            record::nameless(slot, seen);
            return Ok(());
        }
        record::act(slot, seen, Thing { object, name: Name::None }, None)
    });
}
