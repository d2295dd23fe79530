//! Map values that are too large for aya's typed wrappers: written by one system call.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `BPF_MAP_UPDATE_ELEM` (include/uapi/linux/bpf.h, `enum bpf_cmd`).
const MAP_UPDATE_ELEM: libc::c_long = 2;

/// The part of `union bpf_attr` that the map element commands use.
#[repr(C)]
struct ElementAttributes {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Writes the only element of an array map.
///
/// `value` has exactly the map's value size, a multiple of eight; another length is `EINVAL`.
pub(super) fn write_only_element(
    map: BorrowedFd<'_>,
    value_size: usize,
    value: &[u8],
) -> io::Result<()> {
    if value.len() != value_size {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let key = 0u32;
    let attributes = ElementAttributes {
        map_fd: map.as_raw_fd().cast_unsigned(),
        reserved: 0,
        key: (&raw const key).addr() as u64,
        value: value.as_ptr().addr() as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes, the key and `value_size` bytes of the value, all of which outlive the
    // call; it keeps no pointer.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_UPDATE_ELEM,
            &raw const attributes,
            size_of::<ElementAttributes>(),
        )
    };
    if failed < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
