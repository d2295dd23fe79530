//! Memory made zero by words.
//!
//! This target's `memset` goes byte by byte, five instructions each, and LLVM makes a call of it of all zeros that it sees through.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::bindings::bpf_dynptr;
use ringfence_abi::event::Ancestor;

/// What may be all zeros.
///
/// # Safety
/// It is a value if all its bytes are zero.
pub unsafe trait Plain: Sized {}

// SAFETY: integers, and none that the kernel has not set is asked about.
unsafe impl Plain for bpf_dynptr {}
// SAFETY: integers.
unsafe impl<const LENGTH: usize> Plain for [Ancestor; LENGTH] {}

/// A value that is all zeros.
#[inline(always)]
pub fn zeroed<T: Plain>() -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: it can be written, and is a value then.
    unsafe {
        zero(value.as_mut_ptr());
        value.assume_init()
    }
}

/// Makes a value all zeros.
///
/// # Safety
/// It can be written.
#[inline(always)]
pub unsafe fn zero<T: Plain>(value: *mut T) {
    const {
        assert!(size_of::<T>().is_multiple_of(size_of::<u32>()));
        assert!(align_of::<T>() >= align_of::<u32>());
    }
    let words = value.cast::<u32>();
    let mut index = 0;
    while index < size_of::<T>() / size_of::<u32>() {
        let nothing: u32;
        // SAFETY: one register, no memory, and LLVM does not know what is in it. An instruction, or the kernel may find two lines of
        // source for the next one (kernel/bpf/verifier.c, `check_btf_line`). The value can be written by contract; the index is below
        // the number of its words, which are aligned as it is.
        unsafe {
            asm!("{0} = 0", out(wreg) nothing, options(nomem, nostack, preserves_flags));
            words.add(index).write(nothing);
        }
        index += 1;
    }
}
