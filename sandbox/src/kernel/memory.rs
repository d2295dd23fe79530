//! The heap of who loads programs. The kernel's type information is read and parsed for it, a hundred megabytes for a moment, and a
//! supervisor stays for as long as its command runs.

/// Does what takes much memory for a short time, and gives back to the kernel what is free then: the C library keeps pages of the heap
/// that lie below others in use.
pub(super) fn shortly<T>(load: impl FnOnce() -> T) -> T {
    let loaded = load();
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number; it gives up free memory of the C library's heap, under the heap's own locks.
    unsafe {
        libc::malloc_trim(0)
    };
    loaded
}
