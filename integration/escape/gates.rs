//! Other gates into the kernel, which a filter of system calls may not know.

use std::ffi::c_long;
use std::io;
#[cfg(target_arch = "x86_64")]
use std::path::Path;

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, absent, escaped};
use super::system::{c, descriptor, map};

/// The chapter on the kernel, second part.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::wide(
            "K13",
            "makes calls of 32-bit programs, which a filter may not know",
            by_old_gate,
        ),
        Case::least(
            "K13b",
            "opens a closed file by the call of 32-bit programs",
            opens_by_old_gate,
        ),
        Case::least(
            "K13c",
            "changes a file's flags by the call of 32-bit programs",
            sets_flags_by_old_gate,
        ),
        Case::wide("K13a", "makes calls of the x32 architecture", by_x32),
    ]
}

/// `int 0x80`: the gate of 32-bit programs, open to all.
#[cfg(target_arch = "x86_64")]
fn old_gate(number: u32, words: [u32; 3]) -> i32 {
    let answer: i32;
    // SAFETY: the calls that are made below write nowhere.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {first:e}",
            "int 0x80",
            "pop rbx",
            first = in(reg) words[0],
            inlateout("eax") number => answer,
            in("ecx") words[1],
            in("edx") words[2],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}

#[cfg(target_arch = "x86_64")]
fn by_old_gate(_: &Arena) -> Attempt {
    const NO_CALL: i32 = -libc::ENOSYS;
    // arch/x86/entry/syscalls/syscall_32.tbl
    if old_gate(20, [0; 3]) == NO_CALL {
        return absent("this kernel has no calls for 32-bit programs");
    }
    let low = low_page()?;
    let calls: [(&str, u32, [u32; 3]); 6] = [
        ("socket", 359, [2, 1, 0]),
        ("userfaultfd", 374, [1, 0, 0]),
        ("keyctl", 288, [1, 0, 0]),
        ("unshare", 310, [0x1000_0000, 0, 0]),
        ("io_uring_setup", 425, [0, low, 0]),
        ("keyring of the session", 288, [6, 0xffff_fffd, 0]),
    ];
    let mut last = libc::EPERM;
    for (name, number, words) in calls {
        let answer = old_gate(number, words);
        // EINVAL: past the question, as io_uring_setup with no entries.
        if answer >= 0 || answer == -libc::EINVAL {
            return escaped(name);
        }
        last = -answer;
    }
    Err(Stop::Refused(last))
}

#[cfg(target_arch = "x86_64")]
fn opens_by_old_gate(arena: &Arena) -> Attempt {
    open_by_old_gate(&arena.closed("secret"))?;
    escaped("opened it")
}

#[cfg(target_arch = "x86_64")]
fn open_by_old_gate(path: &Path) -> Result<u32, Stop> {
    const OPEN: u32 = 5;
    // A path has to lie low for a 32-bit pointer.
    let low = low_page()?;
    let path = c(path)?;
    let bytes = path.as_bytes_with_nul();
    // SAFETY: the page is ours and larger than any path of the test.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), low as *mut u8, bytes.len()) };
    done_by_old_gate(old_gate(OPEN, [low, 0, 0]))
}

#[cfg(target_arch = "x86_64")]
fn done_by_old_gate(answer: i32) -> Result<u32, Stop> {
    match answer {
        no if no == -libc::ENOSYS => Err(Stop::Absent(
            "this kernel has no calls for 32-bit programs".to_owned(),
        )),
        answer => u32::try_from(answer).map_err(|_| Stop::Refused(-answer)),
    }
}

#[cfg(target_arch = "x86_64")]
fn sets_flags_by_old_gate(arena: &Arena) -> Attempt {
    const IOCTL: u32 = 54;
    const GET: u32 = 0x8004_6601;
    const SET: u32 = 0x4004_6602;
    const NO_DUMP: u32 = 0x40;
    let file = open_by_old_gate(&arena.read("file"))?;
    let low = low_page()?;
    if old_gate(IOCTL, [file, GET, low]) == -libc::ENOTTY {
        return absent("this filesystem has no flags");
    }
    // SAFETY: the page is ours.
    unsafe { *(low as *mut u32) |= NO_DUMP };
    done_by_old_gate(old_gate(IOCTL, [file, SET, low]))?;
    escaped("set")
}

/// Two pages that a 32-bit pointer reaches, full of zeros.
#[cfg(target_arch = "x86_64")]
fn low_page() -> io::Result<u32> {
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    let page = map(8192, both, flags, None, 0)?;
    u32::try_from(page as usize).map_err(io::Error::other)
}

#[cfg(not(target_arch = "x86_64"))]
fn by_old_gate(_: &Arena) -> Attempt {
    absent("only x86 has this gate")
}

#[cfg(not(target_arch = "x86_64"))]
fn opens_by_old_gate(_: &Arena) -> Attempt {
    absent("only x86 has this gate")
}

#[cfg(not(target_arch = "x86_64"))]
fn sets_flags_by_old_gate(_: &Arena) -> Attempt {
    absent("only x86 has this gate")
}

fn by_x32(_: &Arena) -> Attempt {
    const X32: c_long = 0x4000_0000;
    let words = [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0.into()];
    descriptor(X32 | libc::SYS_socket, &words)?;
    escaped("made a socket")
}
