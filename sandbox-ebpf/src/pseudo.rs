//! File systems that are the kernel's: to write there is to set the kernel, wherever it is mounted and whatever the path
//! rules say, and to read what procfs says of a task outside is to look at that task.

use ringfence_abi::{
    policy::Label,
    rights,
    surface::{CGROUP, KERNEL_FILES, PTRACE, SCHEDULER, Surfaces},
};

use crate::{
    identity,
    kernel::{offset, read},
    outcome::Outcome,
    surface,
};

// Superblock magics (include/uapi/linux/magic.h; those below the line in the file system's own source).
const CGROUP_1: u64 = 0x0027_e0eb;
const CGROUP_2: u64 = 0x6367_7270;
const PROC: u64 = 0x9fa0;
const BPF: u64 = 0xcafe_4a11;
const SECURITY: u64 = 0x7363_6673;
const DEBUG: u64 = 0x6462_6720;
const TRACE: u64 = 0x7472_6163;
const SYSFS: u64 = 0x6265_6572;
const EFI_VARIABLES: u64 = 0xde5e_81e4;
const BINARY_FORMATS: u64 = 0x4249_4e4d;
const SELINUX: u64 = 0xf97c_ff8c;
const SMACK: u64 = 0x4341_5d53;
const PERSISTENT_STORE: u64 = 0x6165_676c;
const RESOURCE_CONTROL: u64 = 0x0765_5821;
// ----
const CONFIG: u64 = 0x6265_6570;
const APPARMOR: u64 = 0x5a3c_69f0;
const FUSE_CONTROL: u64 = 0x6573_5543;
const NFS_SERVER: u64 = 0x6e66_7364;
const XEN: u64 = 0xabba_1974;

/// The surface that has to be opened before the object behind `dentry` can be used with the rights `needed`; none if there
/// is none or it is.
#[inline(always)]
pub fn closed_to(needed: u8, label: Label, dentry: u64) -> Result<Surfaces, Outcome> {
    closed_on(magic(dentry)?, needed, label, dentry)
}

/// What kind of file system a dentry is of.
#[inline(always)]
pub fn magic(dentry: u64) -> Result<u64, Outcome> {
    let superblock = read::<u64>(dentry + offset!(dentry_superblock))?;
    read::<u64>(superblock + offset!(superblock_magic))
}

/// The same as [`closed_to`], of an object on a file system that is known.
#[inline(always)]
pub fn closed_on(magic: u64, needed: u8, label: Label, dentry: u64) -> Result<Surfaces, Outcome> {
    if needed & rights::WRITE != 0 {
        return closed_to_writing(magic, label, dentry);
    }
    if magic == PROC && is_another_tasks(label, dentry)? && !surface::open(label, PTRACE) {
        return Ok(PTRACE);
    }
    Ok(Surfaces::NONE)
}

/// Whether nothing on a file system is ever closed to the rights `needed`, whoever asks.
#[inline(always)]
pub fn is_never_closed(magic: u64, needed: u8) -> bool {
    magic != PROC && (needed & rights::WRITE == 0 || needed_to_write(magic) == Surfaces::NONE)
}

#[inline(always)]
fn closed_to_writing(magic: u64, label: Label, dentry: u64) -> Result<Surfaces, Outcome> {
    let needed = if magic == PROC { in_proc(label, dentry)? } else { needed_to_write(magic) };
    // Nothing needed is contained in every set.
    Ok(if needed == Surfaces::NONE || surface::open(label, needed) { Surfaces::NONE } else { needed })
}

/// The surface that opens a file system of the kernel's to writing; none for others.
#[inline(always)]
fn needed_to_write(magic: u64) -> Surfaces {
    match magic {
        CGROUP_1 | CGROUP_2 => CGROUP,
        BPF | SECURITY | DEBUG | TRACE | SYSFS | EFI_VARIABLES | BINARY_FORMATS | SELINUX | SMACK
        | PERSISTENT_STORE | RESOURCE_CONTROL | CONFIG | APPARMOR | FUSE_CONTROL | NFS_SERVER | XEN => {
            KERNEL_FILES
        }
        _ => Surfaces::NONE,
    }
}

/// In procfs, a task may write what is its own fence's: but no task's memory, which goes past read-only mappings.
///
/// A name without an inode has not been looked up: an open with `O_CREAT` passes `path_mknod` before the file system is asked whether
/// it is there (fs/namei.c, 6.12, `lookup_open`). Nothing can be made in procfs, whose directories have no `create`; what turns out to be
/// there is judged when it is opened.
#[inline(always)]
fn in_proc(label: Label, dentry: u64) -> Result<Surfaces, Outcome> {
    if inode_of(dentry)? == 0 {
        return Ok(Surfaces::NONE);
    }
    let pid = whose(dentry)?;
    if pid == 0 {
        return Ok(KERNEL_FILES);
    }
    if is_memory(dentry)? {
        return Ok(PTRACE);
    }
    Ok(if is_outside(label, task_of(pid)?) { SCHEDULER } else { Surfaces::NONE })
}

/// Whether an object of procfs is about a task outside the fence: what it shows to everybody, its command line for one,
/// is nothing to fenced tasks.
#[inline(always)]
fn is_another_tasks(label: Label, dentry: u64) -> Result<bool, Outcome> {
    let pid = whose(dentry)?;
    if pid == 0 {
        return Ok(false);
    }
    Ok(is_outside(label, task_of(pid)?))
}

/// A task that is gone is nowhere.
#[inline(always)]
fn is_outside(label: Label, task: u64) -> bool {
    task != 0 && identity::of(task).is_none_or(|other| other.fence != label.fence)
}

/// The `struct pid` that an object of procfs is about; 0 if it is about none.
#[inline(always)]
fn whose(dentry: u64) -> Result<u64, Outcome> {
    let inode = inode_of(dentry)?;
    if inode == 0 {
        return Ok(0);
    }
    // `PROC_I` (fs/proc/internal.h): of a task's own files, `pid` says whose they are; of all others it is NULL.
    let process = inode.wrapping_sub(offset!(process_file_inode));
    read::<u64>(process + offset!(process_file_pid))
}

#[inline(always)]
fn inode_of(dentry: u64) -> Result<u64, Outcome> {
    read::<u64>(dentry + offset!(dentry_inode))
}

/// The task with this `struct pid`; 0 if it is gone.
#[inline(always)]
fn task_of(pid: u64) -> Result<u64, Outcome> {
    // `tasks[PIDTYPE_PID]` and `pid_links[PIDTYPE_PID]` are the first of their arrays (include/linux/pid.h).
    let link = read::<u64>(pid + offset!(pid_tasks))?;
    Ok(if link == 0 { 0 } else { link.wrapping_sub(offset!(task_pid_links)) })
}

/// Whether an entry of a task's directory is `mem`.
#[inline(always)]
fn is_memory(dentry: u64) -> Result<bool, Outcome> {
    let name = dentry + offset!(dentry_name);
    if read::<u32>(name + offset!(name_length))? != 3 {
        return Ok(false);
    }
    let bytes = read::<u64>(name + offset!(name_bytes))?;
    Ok(read::<[u8; 3]>(bytes)? == *b"mem")
}
