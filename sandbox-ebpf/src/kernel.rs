//! Reading the kernel's structures: at offsets that user space found in the running kernel's BTF.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::{
    cty::c_void,
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
    programs::LsmContext,
};
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

/// The address of a kernel structure whose type the verifier knows: an argument of a hook, the current task, and what members of
/// these point to. Its members are read by plain loads, an instruction each instead of a helper's call.
///
/// A load that faults gives 0 (kernel/bpf/verifier.c, `BPF_PROBE_MEM`). Who reads takes a 0 that cannot be for an error.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Typed(u64);

impl Typed {
    /// Argument `number` of a hook, a pointer to a structure.
    #[inline(always)]
    pub fn argument(context: &LsmContext, number: usize) -> Self {
        Self(context.arg::<u64>(number))
    }

    /// The current task.
    #[inline(always)]
    pub fn current_task() -> Self {
        // SAFETY: the helper has no precondition.
        Self(unsafe { bpf_get_current_task_btf() } as u64)
    }

    /// What the current task's registers were as it entered the kernel (`struct pt_regs`).
    #[inline(always)]
    pub fn registers() -> Self {
        // SAFETY: the helper takes the current task, which has some.
        Self(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64)
    }

    /// The member of type `T` at an offset that the verifier knows.
    #[inline(always)]
    pub fn member<T: Copy>(self, offset: u64) -> T {
        // SAFETY: the verifier lets no load pass that is not one of such a member of the structure.
        unsafe { core::ptr::read_volatile(self.0.wrapping_add(offset) as *const T) }
    }

    /// The structure that the member at this offset points to.
    #[inline(always)]
    pub fn pointer(self, offset: u64) -> Self {
        Self(self.member::<u64>(offset))
    }

    /// Its address.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0
    }

    /// The address of the member at this offset.
    ///
    /// VERIFIER: "R2 tried to subtract pointer from scalar" where LLVM compares a difference in place of this sum.
    #[inline(always)]
    pub fn beyond(self, offset: u64) -> u64 {
        let mut sum = self.0;
        // SAFETY: two registers, no memory.
        unsafe {
            asm!("{0} += {1}", inout(reg) sum, in(reg) offset, options(pure, nomem, nostack));
        }
        sum
    }

    /// Whether there is a structure.
    #[inline(always)]
    pub fn known(self) -> Result<Self, Outcome> {
        if self.0 == 0 { Err(Outcome::INTERNAL) } else { Ok(self) }
    }
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
