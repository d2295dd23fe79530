//! Shared memory of a fence's own.
//!
//! Semaphores and shared memory of POSIX are files in `/dev/shm`, under names that programs draw, and Landlock gives the right to make
//! a name for a whole directory. Where a profile lets some names be made there by a pattern, the fence gets an empty
//! directory in that place: what others have there is out of reach, whatever its name, and nobody outside sees what is made.
//!
//! Without root it can be made in the fence's own user namespace only, and so between fork and exec: the ruleset, which is made
//! before, gets it there.

use std::ffi::{CStr, c_int};

use super::mounts::{self, NODEV, NOEXEC, NOSUID};

/// The place that C libraries use.
pub(super) const PLACE: &str = "/dev/shm";
/// The same, for the kernel.
pub(in crate::confine) const PLACE_C: &CStr = c"/dev/shm";

/// Makes one, and mounts it. Runs between fork and exec, in a mount namespace that is nobody else's.
pub(super) fn attach() -> Result<(), c_int> {
    let mount = mounts::new(c"tmpfs", &[(c"mode", c"1777")], NOSUID | NODEV | NOEXEC)?;
    let attached = mounts::attach(mount, PLACE_C);
    // SAFETY: a descriptor that was just opened; the mount stays.
    unsafe { libc::close(mount) };
    attached
}
