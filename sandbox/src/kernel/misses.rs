//! Runs of our programs that the kernel has left out.
//!
//! A kernel that guards against recursion skips a program that is already running on the same processor, and goes on as if
//! it had allowed (kernel/bpf/trampoline.c, `__bpf_prog_enter`). LSM programs have had no such guard since 6.2 and in
//! later 6.1.y: a guard of its own name is for other programs there ([`guards_hooks`]). Where there may be one, what it skipped is
//! counted at the end of each fence: three system calls for each program.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::Btf;
use aya_obj::{btf::BtfKind, generated::bpf_prog_info};

use super::{Error, pins};

// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const OBJECT_GET: libc::c_long = 7;
const OBJECT_INFO: libc::c_long = 15;

/// The part of `union bpf_attr` that opening a pin uses.
#[repr(C)]
struct PinAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that asking about an object uses.
#[repr(C)]
struct InfoAttributes {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// What the guard is called where a trampoline chooses between one with and one without (kernel/bpf/trampoline.c of 6.12,
/// `bpf_trampoline_enter`); that of an LSM program is then the one without (include/linux/bpf_verifier.h, `bpf_prog_check_recur`).
const GUARD: &str = "__bpf_prog_enter_recur";

/// Whether this kernel may leave out runs of LSM programs.
pub(super) fn guards_hooks(types: &Btf) -> bool {
    types.id_by_type_name_kind(GUARD, BtfKind::Func).is_err()
}

/// How many runs of the pinned programs have been left out since they were loaded.
pub(super) fn count(version: &Path) -> Result<u64, Error> {
    let unreadable = |error| Error::state(version, error);
    let mut sum = 0;
    for entry in fs::read_dir(version).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if pins::program_at(&path).is_none() {
            continue;
        }
        sum += of_pinned(&path)?;
    }
    Ok(sum)
}

/// How many runs of the program that is pinned here have been left out since it was loaded.
pub(super) fn of_pinned(path: &Path) -> Result<u64, Error> {
    opened(path)
        .and_then(|program| of(program.as_fd()))
        .map_err(|error| Error::pin(path, error))
}

fn opened(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = PinAttributes {
        path: path.as_ptr().addr() as u64,
        descriptor: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes and the string, both of which outlive the call.
    let program = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJECT_GET,
            &raw const attributes,
            size_of::<PinAttributes>(),
        )
    };
    let program = RawFd::try_from(program).map_err(io::Error::other)?;
    if program < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(program) })
}

/// How many runs of this program have been left out since it was loaded.
fn of(program: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: integers and addresses, for which zero is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let attributes = InfoAttributes {
        descriptor: program.as_raw_fd().cast_unsigned(),
        length: u32::try_from(size_of::<bpf_prog_info>()).map_err(io::Error::other)?,
        info: (&raw mut info).addr() as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`, and follows none of the addresses in it, since the
    // lengths beside them are zero (kernel/bpf/syscall.c, `bpf_prog_get_info_by_fd`).
    let failed = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJECT_INFO,
            &raw const attributes,
            size_of::<InfoAttributes>(),
        )
    };
    if failed < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.recursion_misses)
}
