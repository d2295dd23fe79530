//! Atomic operations on map values. `core` offers none that this target's compilers agree on (its target specification
//! says `atomic-cas: false`), the instruction set has had them since version 3 (Linux 5.12).

use core::arch::asm;

/// Writes `new` if `*target` is `old`; returns what was there.
///
/// # Safety
/// `target` is in a map value and aligned.
#[inline(always)]
pub unsafe fn compare_exchange(target: *mut u64, old: u64, new: u64) -> u64 {
    let mut found = old;
    // SAFETY: by contract; the instruction takes the expected value in r0 and leaves the found one there.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({target} + 0, r0, {new})",
            target = in(reg) target,
            new = in(reg) new,
            inout("r0") found,
            options(nostack),
        );
    }
    found
}

/// Writes `new`, ordered after everything before it.
///
/// # Safety
/// `target` is in a map value and aligned.
#[inline(always)]
pub unsafe fn store(target: *mut u64, new: u64) {
    let mut value = new;
    // SAFETY: by contract.
    unsafe {
        asm!(
            "{value} = xchg_64({target} + 0, {value})",
            target = in(reg) target,
            value = inout(reg) value,
            options(nostack),
        );
    }
    // What was there before is of no interest.
    core::hint::black_box(value);
}

/// Adds `amount`, wrapping.
///
/// # Safety
/// `target` is in a map value and aligned.
#[inline(always)]
pub unsafe fn add(target: *mut u64, amount: u64) {
    // SAFETY: by contract.
    unsafe {
        asm!(
            "lock *(u64 *)({target} + 0) += {amount}",
            target = in(reg) target,
            amount = in(reg) amount,
            options(nostack),
        );
    }
}

/// Sets `bits`.
///
/// # Safety
/// `target` is in a map value and aligned.
#[inline(always)]
pub unsafe fn set(target: *mut u64, bits: u64) {
    // SAFETY: by contract.
    unsafe {
        asm!(
            "lock *(u64 *)({target} + 0) |= {bits}",
            target = in(reg) target,
            bits = in(reg) bits,
            options(nostack),
        );
    }
}
