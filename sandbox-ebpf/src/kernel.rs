//! Reading the kernel's structures: at offsets that user space found in the running kernel's BTF.

use core::mem::MaybeUninit;

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_kernel};
use ringfence_abi::layout::Layout;

use crate::outcome::Outcome;

/// Patched by the loader before the verifier sees it.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout::UNKNOWN;

/// The offset of a member as a constant of the verifier. Read as volatile, so that the compiler does not fold the
/// placeholder in.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: LAYOUT is a static of this object.
        let offset = unsafe { core::ptr::read_volatile(&raw const $crate::kernel::LAYOUT.$field) };
        u64::from(offset)
    }};
}
pub(crate) use offset;

/// Reads a value of kernel memory; a fault is an error, never a zero.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Result<T, Outcome> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks `address` and writes `size_of::<T>()` bytes to `value`, or fails.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    if failed != 0 {
        return Err(Outcome::INTERNAL);
    }
    // SAFETY: the helper succeeded, so all bytes are written, and every `T` in use is plain data.
    Ok(unsafe { value.assume_init() })
}


/// Set by the loader to 0 or 1: 1 if `inode_setattr` has the mount's id mapping as its first argument.
#[unsafe(no_mangle)]
pub static SETATTR_HAS_MAPPING: u32 = 0xdead_beef;

/// Whether `inode_setattr` has the mount's id mapping as its first argument.
#[inline(always)]
pub fn setattr_has_mapping() -> bool {
    // SAFETY: a static of this object.
    unsafe { core::ptr::read_volatile(&raw const SETATTR_HAS_MAPPING) != 0 }
}
