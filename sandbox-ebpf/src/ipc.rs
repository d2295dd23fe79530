//! System V shared memory, semaphores and message queues: those that the fence's own tasks have made, and no others.
//! POSIX message queues are files of a file system of the kernel's, see [`crate::special`] and [`remove_queue`].

use aya_ebpf::{bindings::BPF_ANY, programs::LsmContext};
use ringfence_abi::{event::operation, surface::IPC};

use crate::{
    identity,
    kernel::{offset, read},
    maps::IPC_OBJECTS,
    special::MESSAGE_QUEUES,
    surface,
    verdict::ALLOW,
};

/// `-ENOMEM`.
const NO_MEMORY: i32 = -12;

/// `shm_alloc_security` and its like, with the new object's `struct kern_ipc_perm`.
#[inline(always)]
pub fn made(context: &LsmContext) -> i32 {
    let object = context.arg::<u64>(0);
    let Some(label) = identity::current() else {
        // What is left of an object that was at the same address must not make a task's outside the fence's.
        return forgotten(object);
    };
    match IPC_OBJECTS.insert(object, label.fence, u64::from(BPF_ANY)) {
        Ok(()) => ALLOW,
        Err(_) => {
            surface::refuse(label, IPC, operation::IPC, 0);
            NO_MEMORY
        }
    }
}

/// `shm_free_security` and its like.
#[inline(always)]
pub fn gone(context: &LsmContext) -> i32 {
    forgotten(context.arg::<u64>(0))
}

/// Forgets an object. A removal can fail, a write in place cannot: 0 is no fence.
#[inline(always)]
fn forgotten(object: u64) -> i32 {
    if let Some(entry) = IPC_OBJECTS.get_ptr_mut(object) {
        // SAFETY: a map value lives as long as the program runs.
        unsafe { core::ptr::write_volatile(entry, 0) };
        let _in_place_already = IPC_OBJECTS.remove(object);
    }
    ALLOW
}

/// `ipc_permission`, `shm_shmctl`, `msg_queue_msgctl`, `sem_semctl`: the first argument is the object; requests about all
/// of them together have none.
#[inline(always)]
pub fn used(context: &LsmContext) -> i32 {
    let object = context.arg::<u64>(0);
    if object == 0 {
        return ALLOW;
    }
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    // SAFETY: the entry is written before anybody can find the object.
    if unsafe { IPC_OBJECTS.get(object) } == Some(&label.fence) || surface::open(label, IPC) {
        return ALLOW;
    }
    surface::refuse(label, IPC, operation::IPC, 0)
}

/// `inode_unlink(dir, dentry)`: the only hook of `mq_unlink`. Everything else is judged by `path_unlink`.
#[inline(always)]
pub fn remove_queue(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let dentry = context.arg::<u64>(1);
    let magic = read::<u64>(dentry + offset!(dentry_superblock))
        .and_then(|superblock| read::<u64>(superblock + offset!(superblock_magic)));
    match magic {
        Ok(magic) if magic != MESSAGE_QUEUES => ALLOW,
        Ok(_) | Err(_) if surface::open(label, IPC) => ALLOW,
        Ok(_) | Err(_) => surface::refuse(label, IPC, operation::IPC, 0),
    }
}
