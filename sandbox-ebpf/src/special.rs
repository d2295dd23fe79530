//! Objects without a path in the task's mount namespace: which of them may be used all the same.

use ringfence_abi::{event::cause, rights, surface::IPC};

use crate::{
    kernel::{Typed, offset, read},
    outcome::Outcome,
    surface,
    verdict::Question,
    walk,
};

/// `SB_KERNMOUNT` (include/linux/fs.h).
const KERNEL_MOUNT: u64 = 1 << 22;

// Superblock magics (include/uapi/linux/magic.h).
const PIPEFS: u64 = 0x5049_5045;
const SOCKFS: u64 = 0x534f_434b;
const ANON_INODE: u64 = 0x0904_1934;
const TMPFS: u64 = 0x0102_1994;
const HUGETLBFS: u64 = 0x9584_58f6;
const PIDFS: u64 = 0x5049_4446;
const NSFS: u64 = 0x6e73_6673;
/// POSIX message queues (ipc/mqueue.c).
pub const MESSAGE_QUEUES: u64 = 0x1980_0202;

/// Whether an object whose walk ended in `outcome` may be used all the same.
///
/// Two kinds: what a task made for itself in memory (pipes, memory files, anonymous inodes), for reading and writing but
/// never as code; and the layers below a stacked filesystem, which that filesystem opens on the task's behalf after the
/// task's own open has been judged.
#[inline(always)]
pub fn allowed(
    question: Question,
    dentry: u64,
    mount: u64,
    outcome: Outcome,
) -> Result<bool, Outcome> {
    if outcome.0 != cause::ANONYMOUS && outcome.0 != cause::FOREIGN {
        return Ok(false);
    }
    let superblock = read::<u64>(dentry + offset!(dentry_superblock))?;
    let magic = read::<u64>(superblock + offset!(superblock_magic))?;
    if magic == MESSAGE_QUEUES {
        // Queues are opened through a mount of the kernel's that belongs to no namespace, and is not marked as internal
        // (ipc/mqueue.c, `mq_create_mount`, up to 6.15). Who made a queue is not known; all of them are in one namespace.
        return Ok(surface::open(question.label, IPC));
    }
    if !walk::is_internal(mount)? {
        return Ok(false);
    }
    let flags = read::<u64>(superblock + offset!(superblock_flags))?;
    if flags & KERNEL_MOUNT == 0 {
        // User space cannot hold a descriptor on a private clone of a mount; overlayfs opens its layers through one,
        // with the mounter's credentials (fs/overlayfs/file.c, `ovl_open_realfile`).
        return acts_for_another();
    }
    Ok(question.needed & rights::EXEC == 0
        && matches!(
            magic,
            PIPEFS | SOCKFS | ANON_INODE | TMPFS | HUGETLBFS | PIDFS | NSFS
        ))
}

/// The short way to the second kind, where a task [`acts_for_another`]: whether the object lies in a layer, which is a private clone of
/// a mount. No is no answer.
#[inline(always)]
pub fn is_in_a_stack(superblock: Typed, mount: u64) -> bool {
    let magic = superblock.member::<u64>(offset!(superblock_magic));
    let flags = superblock.member::<u64>(offset!(superblock_flags));
    // A load that has faulted gives 0.
    magic != 0
        && magic != MESSAGE_QUEUES
        && flags & KERNEL_MOUNT == 0
        && walk::is_internal(mount) == Ok(true)
}

/// Whether an object lies in a layer below a stacked filesystem: a private clone of a mount, and no kernel mount.
#[inline(always)]
pub fn is_layer(dentry: u64, mount: u64) -> Result<bool, Outcome> {
    if !walk::is_internal(mount)? {
        return Ok(false);
    }
    let superblock = read::<u64>(dentry + offset!(dentry_superblock))?;
    Ok(read::<u64>(superblock + offset!(superblock_flags))? & KERNEL_MOUNT == 0)
}

/// Whether the task's credentials are overridden: a stacked filesystem is at work on its behalf.
///
/// An io_uring personality would override them as well, and is closed to every fenced task (`uring_override_creds`).
/// What else does gives no access that a hook would have to judge: `access(2)` only asks, a core dump is written by a path
/// in the task's own mounts.
#[inline(always)]
pub fn acts_for_another() -> Result<bool, Outcome> {
    let task = Typed::current_task();
    let subjective = task.pointer(offset!(task_credentials)).known()?;
    let objective = task.pointer(offset!(task_real_credentials)).known()?;
    Ok(subjective.address() != objective.address())
}
