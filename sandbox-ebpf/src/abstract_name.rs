//! Abstract names of Unix sockets: any bytes behind a NUL, as many as the address's length says.

use aya_ebpf::{
    cty::c_void,
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user},
};

use crate::{
    outcome::Outcome,
    scratch::{PATH_END, Path},
    walk::bounded,
};

/// Bytes of `sun_family`, and the NUL before the name.
pub const BEFORE_NAME: u32 = 3;
/// Bytes of a `struct sockaddr_un`: the kernel takes no longer address (net/unix/af_unix.c, `unix_validate_addr`).
pub const LONGEST_ADDRESS: u32 = 110;
/// Longest name (`UNIX_PATH_MAX` without the NUL), as a mask.
const NAME_BYTES: u64 = 127;

/// Where an address lies.
#[derive(Clone, Copy)]
pub enum Memory {
    /// In the program's memory.
    User,
    /// In the kernel's.
    Kernel,
}

/// Puts the name in the `struct sockaddr_un` of `length` bytes at `address` to the end of the buffer.
#[inline(always)]
pub fn place(path: *mut Path, address: u64, length: u32, memory: Memory) -> Result<(), Outcome> {
    if length < BEFORE_NAME || u64::from(length - BEFORE_NAME) > NAME_BYTES {
        return Err(Outcome::INTERNAL);
    }
    let length = bounded!(u64::from(length - BEFORE_NAME), NAME_BYTES);
    let start = PATH_END as u64 - length;
    let name = (address + u64::from(BEFORE_NAME)) as *const c_void;
    // SAFETY: the name ends with the path and is at most NAME_BYTES long.
    unsafe {
        let bytes = (&raw mut (*path).bytes).cast::<u8>();
        let at = bounded!(start, PATH_END as u64 * 2 - 1);
        let to = bytes.add(at as usize).cast::<c_void>();
        let failed = match memory {
            Memory::User => bpf_probe_read_user(to, length as u32, name),
            Memory::Kernel => bpf_probe_read_kernel(to, length as u32, name),
        };
        if failed != 0 {
            return Err(Outcome::INTERNAL);
        }
        core::ptr::write_volatile(&raw mut (*path).start, start as u32);
    }
    Ok(())
}

/// Puts an `@` before it, as in a rule.
#[inline(always)]
pub fn mark(path: *mut Path) {
    // SAFETY: `path` is a map value, and the index is below the buffer's length.
    unsafe {
        let start = core::ptr::read_volatile(&raw const (*path).start);
        let at = bounded!(u64::from(start) - 1, PATH_END as u64 - 1);
        (&raw mut (*path).bytes).cast::<u8>().add(at as usize).write_volatile(b'@');
        core::ptr::write_volatile(&raw mut (*path).start, at as u32);
    }
}
