//! System calls, by hand: there is no C library.

use core::arch::{asm, global_asm};

/// The working directory as a place that paths start from.
pub const HERE: usize = -100isize as usize;

/// What the kernel has answered.
#[derive(Clone, Copy)]
pub enum Answer {
    Is(usize),
    Failed(i32),
}

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const LSEEK: usize = 8;
    pub const MMAP: usize = 9;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const SHUTDOWN: usize = 48;
    pub const SETSOCKOPT: usize = 54;
    pub const EXECVE: usize = 59;
    pub const FLOCK: usize = 73;
    pub const GETCWD: usize = 79;
    pub const CHDIR: usize = 80;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const UNLINKAT: usize = 263;
    pub const SECCOMP: usize = 317;
    pub const NO_FOLLOW: usize = 0o400_000;
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub const GETCWD: usize = 17;
    pub const FLOCK: usize = 32;
    pub const UNLINKAT: usize = 35;
    pub const CHDIR: usize = 49;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const LSEEK: usize = 62;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const PRCTL: usize = 167;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SENDTO: usize = 206;
    pub const SETSOCKOPT: usize = 208;
    pub const SHUTDOWN: usize = 210;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const SECCOMP: usize = 277;
    pub const NO_FOLLOW: usize = 0o100_000;
}

pub use numbers::*;
// The same number everywhere.
pub const CLOSE_RANGE: usize = 436;
pub const OPENAT2: usize = 437;
pub const LANDLOCK_CREATE_RULESET: usize = 444;
pub const LANDLOCK_ADD_RULE: usize = 445;
pub const LANDLOCK_RESTRICT_SELF: usize = 446;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call begin",
    options(att_syntax)
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x0, sp",
    "b begin"
);

/// A system call of up to five words.
pub fn call(number: usize, words: [usize; 5]) -> Answer {
    let [a, b, c, d, e] = words;
    six(number, [a, b, c, d, e, 0])
}

/// Maps a file's first bytes.
pub fn map(length: usize, protection: usize, flags: usize, file: usize) -> Answer {
    six(MMAP, [0, length, protection, flags, file, 0])
}

/// Ends the process.
pub fn end(code: i32) -> ! {
    loop {
        call(EXIT_GROUP, [code as usize, 0, 0, 0, 0]);
    }
}

/// The bytes of a string, without its NUL, which still stands behind them.
///
/// # Safety
/// There must be a NUL, and the string must stay.
pub unsafe fn text(start: *const u8) -> &'static [u8] {
    let mut length = 0;
    // SAFETY: the caller says that a NUL comes.
    while unsafe { start.add(length).read_volatile() } != 0 {
        length += 1;
    }
    // SAFETY: as many bytes have just been read.
    unsafe { core::slice::from_raw_parts(start, length) }
}

#[cfg(target_arch = "x86_64")]
fn six(number: usize, words: [usize; 6]) -> Answer {
    let answer: isize;
    // SAFETY: callers pass pointers to memory that lives through the call; the kernel keeps every register but these three.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") words[0], in("rsi") words[1], in("rdx") words[2],
            in("r10") words[3], in("r8") words[4], in("r9") words[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    judge(answer)
}

#[cfg(target_arch = "aarch64")]
fn six(number: usize, words: [usize; 6]) -> Answer {
    let answer: isize;
    // SAFETY: callers pass pointers to memory that lives through the call; the kernel keeps every register but the first.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") words[0] as isize => answer,
            in("x1") words[1], in("x2") words[2], in("x3") words[3], in("x4") words[4], in("x5") words[5],
            options(nostack)
        );
    }
    judge(answer)
}

fn judge(answer: isize) -> Answer {
    match answer {
        -4095..=-1 => Answer::Failed(-answer as i32),
        _ => Answer::Is(answer as usize),
    }
}

// The compiler calls these where it sees fit, and nobody else brings them.

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    for place in 0..bytes {
        // SAFETY: the caller says that both have that many bytes. Volatile: or the loop would become a call of itself.
        unsafe { to.add(place).write_volatile(from.add(place).read()) };
    }
    to
}

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, bytes: usize) -> *mut u8 {
    for place in 0..bytes {
        // SAFETY: as above.
        unsafe { to.add(place).write_volatile(byte as u8) };
    }
    to
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, bytes: usize) -> i32 {
    for place in 0..bytes {
        // SAFETY: as above.
        let (left, right) = unsafe { (one.add(place).read_volatile(), other.add(place).read()) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, bytes: usize) -> i32 {
    // SAFETY: as above.
    unsafe { memcmp(one, other, bytes) }
}

/// `core` as it is shipped names it in tables for unwinding, which never happens here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
