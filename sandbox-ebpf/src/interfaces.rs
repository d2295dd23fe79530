//! Ways into the kernel that are closed as a whole unless their surface is open, and what little has to be looked at.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    event::operation,
    surface::{BPF, IO_URING, KEXEC, MODULES, MOUNT, Surfaces, USERFAULTFD},
};

use crate::{
    identity,
    kernel::{offset, read},
    surface,
    verdict::{ALLOW, Object},
};

// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const OBJECT_GET: u32 = 7;
const PROGRAM_BY_ID: u32 = 13;
const MAP_BY_ID: u32 = 14;
const LINK_BY_ID: u32 = 30;

/// `bpf(cmd, attr, size)`. With the surface open a task may make programs and maps, but not reach for those that are
/// there, by number or by pin: the fence's own are among them.
#[inline(always)]
pub fn bpf(context: &LsmContext) -> i32 {
    let command = context.arg::<u32>(0);
    let answer = surface::gate(BPF, operation::BPF, command);
    if answer == ALLOW && matches!(command, OBJECT_GET | PROGRAM_BY_ID | MAP_BY_ID | LINK_BY_ID) {
        return never(operation::BPF, command);
    }
    answer
}

/// Closed to every fenced task, whatever the profile opens.
#[inline(always)]
pub fn never(operation: u16, detail: u32) -> i32 {
    match identity::current() {
        None => ALLOW,
        Some(label) => surface::refuse(label, Surfaces::NONE, operation, detail),
    }
}

/// `kernel_read_file(file, id, contents)` and `kernel_load_data(id, contents)`: what the kernel takes in to run.
#[inline(always)]
pub fn load(id: u32) -> i32 {
    // `enum kernel_read_file_id` (include/linux/kernel_read_file.h): `READING_KEXEC_IMAGE`, `READING_KEXEC_INITRAMFS`.
    // A kernel with other numbers would ask for the larger of the two where the smaller is meant.
    let surface = if matches!(id, 3 | 4) { KEXEC } else { MODULES };
    surface::gate(surface, operation::LOAD, id)
}

/// `inode_init_security_anon(inode, name, context_inode)`: an object without a file, by the name of its kind.
#[inline(always)]
pub fn anonymous(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let name = context.arg::<u64>(1);
    // The names are constants of the kernel; so much of one can be read past the end of a shorter one.
    let start = read::<u64>(name + offset!(name_bytes)).and_then(read::<[u8; 8]>);
    let (surface, operation) = match start {
        Ok(start) if start == *b"[io_urin" => (IO_URING, operation::RING),
        Ok(start) if start == *b"[userfau" => (USERFAULTFD, operation::PAGE_FAULTS),
        Ok(_) => return ALLOW,
        // What cannot be told apart needs both.
        Err(_) => (IO_URING.union(USERFAULTFD), operation::RING),
    };
    if surface::open(label, surface) {
        return ALLOW;
    }
    surface::refuse(label, surface, operation, 0)
}

/// `sb_umount(mnt, flags)`.
#[inline(always)]
pub fn unmount(context: &LsmContext) -> i32 {
    let vfsmount = context.arg::<u64>(0);
    surface::gate_at(MOUNT, operation::MOUNT, || {
        Ok(Object { dentry: read::<u64>(vfsmount + offset!(vfsmount_root))?, vfsmount })
    })
}
