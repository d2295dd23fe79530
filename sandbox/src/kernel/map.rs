//! Two things that aya's typed wrappers do not offer: values too large for the stack, and maps of maps whose inner maps
//! carry no type information.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::bpf_map_type;

/// `BPF_MAP_CREATE` (include/uapi/linux/bpf.h, `enum bpf_cmd`).
const MAP_CREATE: libc::c_long = 0;
/// `BPF_MAP_UPDATE_ELEM` (include/uapi/linux/bpf.h, `enum bpf_cmd`).
const MAP_UPDATE_ELEM: libc::c_long = 2;

/// The part of `union bpf_attr` that creating a map of maps uses.
#[repr(C)]
#[derive(Default)]
struct CreateAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// Creates a hash from identifiers to maps that are like `template`.
///
/// aya gives the template the object's type information, and a kernel before 6.2 takes a map without any for another
/// kind of map then (kernel/bpf/map_in_map.c, `bpf_map_meta_equal` compares `timer_off`).
pub(super) fn hash_of_maps(
    template: BorrowedFd<'_>,
    entries: u32,
    name: &str,
) -> io::Result<OwnedFd> {
    let mut attributes = CreateAttributes {
        map_type: bpf_map_type::BPF_MAP_TYPE_HASH_OF_MAPS as u32,
        key_size: 4,
        value_size: 4,
        max_entries: entries,
        inner_map_fd: template.as_raw_fd().cast_unsigned(),
        ..CreateAttributes::default()
    };
    // Fifteen bytes and a NUL, as aya names the maps that it creates.
    for (to, from) in attributes.map_name[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the kernel reads the attributes, which outlive the call; it keeps no pointer.
    let map = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_CREATE,
            &raw const attributes,
            size_of::<CreateAttributes>(),
        )
    };
    let map = RawFd::try_from(map).map_err(io::Error::other)?;
    if map < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(map) })
}

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
