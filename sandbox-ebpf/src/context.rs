//! Fields of what the kernel gives to a program on a cgroup: each is read and written by one instruction of its own, as
//! wide as the field is.
//!
//! VERIFIER: "pointer arithmetic on sock prohibited", "dereference of modified ctx ptr": a field stands behind the pointer at a
//! constant offset, and LLVM joins loads of several branches to one from an address that it has computed.

use core::arch::asm;

/// A field of 32 bits.
///
/// # Safety
/// `base` is a pointer of the verifier's, not null, with such a field at `OFFSET` that the program may read.
#[inline(always)]
pub unsafe fn load<const OFFSET: usize, T>(base: *const T) -> u32 {
    let value: u64;
    // SAFETY: by contract.
    unsafe {
        asm!(
            "{value} = *(u32 *)({base} + {offset})",
            value = out(reg) value,
            base = in(reg) base,
            offset = const OFFSET,
            options(nostack),
        );
    }
    value as u32
}

/// Four fields of 32 bits, as they lie in memory.
///
/// # Safety
/// As for [`load`]; the offsets are those of the four.
#[inline(always)]
pub unsafe fn load_four<
    const A: usize,
    const B: usize,
    const C: usize,
    const D: usize,
    T,
>(
    base: *const T,
) -> [u8; 16] {
    // SAFETY: by contract.
    let words = unsafe { [load::<A, T>(base), load::<B, T>(base), load::<C, T>(base), load::<D, T>(base)] };
    // SAFETY: integers of the same size altogether.
    unsafe { core::mem::transmute(words) }
}

/// Writes a field of 32 bits.
///
/// # Safety
/// As for [`load`]; the program may write the field.
#[inline(always)]
pub unsafe fn store<const OFFSET: usize, T>(base: *mut T, value: u32) {
    // SAFETY: by contract.
    unsafe {
        asm!(
            "*(u32 *)({base} + {offset}) = {value}",
            value = in(reg) u64::from(value),
            base = in(reg) base,
            offset = const OFFSET,
            options(nostack),
        );
    }
}
