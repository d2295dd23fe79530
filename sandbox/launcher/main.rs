//! The first program of a container that is fenced without BPF LSM: it puts itself behind the fence, and becomes the
//! container's own command.
//!
//! `launch DESCRIPTORS COMMAND [ARGUMENTS]`: that many descriptors above 2 stay open. It rings [`BELL`] and reads [`PLAN`], which its
//! monitor writes when the mounts are laid, and holds locked until then; a file that is empty means that there is no fence, and nothing
//! is started.
//!
//! It runs in whatever image there is, so it needs none of it: no C library, no loader, system calls alone. It allocates
//! nothing. `build.rs` compiles it, and the program embeds it.

#![no_std]
#![no_main]

mod plan;
#[allow(dead_code, reason = "each program has needs of its own")]
mod system;

use core::panic::PanicInfo;

use plan::Plan;
use system::{Answer, call, text};

/// Where the monitor leaves what is to be done.
const PLAN: &[u8] = b"/.ringfence/plan\0";
/// What tells the monitor that somebody waits for it.
const BELL: &[u8] = b"/.ringfence/bell\0";

// include/uapi/asm-generic/errno-base.h and errno.h
const ENOENT: i32 = 2;
const EINTR: i32 = 4;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EINVAL: i32 = 22;
const ELOOP: i32 = 40;

// The exit codes of `ringfence run`.
const NO_FENCE: i32 = 125;
const NOT_RUNNABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    handled_files: u64,
    handled_network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    access: u64,
    directory: i32,
}

/// `struct open_how`.
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Filter {
    instructions: u16,
    first: *const u8,
}

/// What the kernel has put on the stack of a new program: strings end with a NUL, lists with a null pointer.
struct Words {
    arguments: *const *const u8,
    environment: *const *const u8,
}

/// Called by the first instructions with the stack as the kernel has left it.
#[unsafe(no_mangle)]
extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel puts the number of arguments there, the arguments, a null pointer, and the variables
    // (fs/binfmt_elf.c, `create_elf_tables`).
    let words = unsafe {
        let arguments = stack.add(1).cast::<*const u8>();
        Words {
            arguments,
            environment: arguments.add(*stack + 1),
        }
    };
    let descriptors = words.argument(1).and_then(decimal);
    let called = descriptors.and_then(|descriptors| Some((descriptors, words.argument(2)?)));
    let (descriptors, command) = match called {
        Some(called) => called,
        None => fail(
            NO_FENCE,
            b"it was not called by a runtime that ringfence stands before",
            b"",
        ),
    };
    enter(descriptors);
    words.become_command(command)
}

/// Enters the fence, or ends.
fn enter(descriptors: u64) {
    let directory = directory();
    let mut plan = match Plan::read(load()) {
        Some(plan) => plan,
        None => fail(NO_FENCE, b"the fence of this container does not stand", b""),
    };
    // It was entered before the mounts were laid: what lies under them has other flags.
    let again = [directory.as_ptr() as usize, 0, 0, 0, 0];
    must(call(system::CHDIR, again), b"enter the working directory");
    let domain = (plan.handled != 0).then(|| domain(&plan));
    while let Some((access, path)) = plan.next_rule().unwrap_or_else(|| broken()) {
        if let Some(domain) = domain {
            allow(domain, access, path);
        }
    }
    const SET_NO_NEW_PRIVS: usize = 38;
    must(
        call(system::PRCTL, [SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
        b"give up privileges",
    );
    if let Some(domain) = domain {
        must(
            call(system::LANDLOCK_RESTRICT_SELF, [domain, 0, 0, 0, 0]),
            b"enter the domain",
        );
    }
    const CLOSE_ON_EXEC: usize = 4;
    let first = descriptors.saturating_add(3) as usize;
    let range = [first, u32::MAX as usize, CLOSE_ON_EXEC, 0, 0];
    must(call(system::CLOSE_RANGE, range), b"close descriptors");
    while let Some(instructions) = plan.next_filter().unwrap_or_else(|| broken()) {
        const SET_MODE_FILTER: usize = 1;
        let filter = Filter {
            instructions: (instructions.len() / 8) as u16,
            first: instructions.as_ptr(),
        };
        let header = &raw const filter as usize;
        must(
            call(system::SECCOMP, [SET_MODE_FILTER, 0, header, 0, 0]),
            b"close system calls",
        );
    }
}

/// The working directory's path. One that leads out of the container's root is one of the host's that was left open
/// (CVE-2024-21626).
fn directory() -> [u8; 4096] {
    let mut buffer = [0u8; 4096];
    let answer = call(
        system::GETCWD,
        [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0],
    );
    must(answer, b"tell the working directory");
    if buffer[0] != b'/' {
        fail(
            NO_FENCE,
            b"the working directory is not in the container",
            b"",
        );
    }
    buffer
}

/// The plan, when the monitor has let go of it.
fn load() -> &'static [u8] {
    const CLOSE_ON_EXEC_NO_LINK: usize = 0o2_000_000 | system::NO_FOLLOW;
    const SHARED: usize = 1;
    const FROM_END: usize = 2;
    const READ: usize = 1;
    const PRIVATE: usize = 2;
    let how = [
        system::HERE,
        PLAN.as_ptr() as usize,
        CLOSE_ON_EXEC_NO_LINK,
        0,
        0,
    ];
    let file = must(call(system::OPENAT, how), b"open what is to be done");
    if !is_told(file) {
        ring();
        while let Answer::Failed(errno) = call(system::FLOCK, [file, SHARED, 0, 0, 0]) {
            if errno != EINTR {
                fail(NO_FENCE, b"cannot wait for the fence", b"");
            }
        }
    }
    let length = must(
        call(system::LSEEK, [file, 0, FROM_END, 0, 0]),
        b"look at what is to be done",
    );
    if length == 0 {
        return &[];
    }
    let start = must(
        system::map(length, READ, PRIVATE, file),
        b"read what is to be done",
    );
    // SAFETY: the kernel has mapped that many bytes there; the file is on a read-only mount and is not changed any more.
    unsafe { core::slice::from_raw_parts(start as *const u8, length) }
}

/// Tells the monitor. If nobody is there to hear it, the lock is free, and the file says what that means.
fn ring() {
    const WRITE_AT_ONCE: usize = 0o1 | 0o4_000 | 0o2_000_000 | system::NO_FOLLOW;
    let bell = [system::HERE, BELL.as_ptr() as usize, WRITE_AT_ONCE, 0, 0];
    if let Answer::Is(bell) = call(system::OPENAT, bell) {
        must(call(system::CLOSE, [bell, 0, 0, 0, 0]), b"close the bell");
    }
}

/// Whether all of it has been written: the first number comes last. Then there is nobody to wait for, and nobody in the container can
/// hold others up by a lock of his own.
fn is_told(file: usize) -> bool {
    let mut first = [0u8; 8];
    let answer = call(
        system::READ,
        [file, first.as_mut_ptr() as usize, first.len(), 0, 0],
    );
    matches!(answer, Answer::Is(8)) && u64::from_ne_bytes(first) == plan::MAGIC
}

fn domain(plan: &Plan<'_>) -> usize {
    let attributes = Ruleset {
        handled_files: plan.handled,
        handled_network: 0,
        scoped: plan.scoped,
    };
    let bytes = (plan.attribute_bytes as usize).min(size_of::<Ruleset>());
    let words = [&raw const attributes as usize, bytes, 0, 0, 0];
    must(
        call(system::LANDLOCK_CREATE_RULESET, words),
        b"make a domain",
    )
}

/// Allows what the plan says of a path. What is not there, or not to be seen by this user, is left out: that denies more, not
/// less.
fn allow(domain: usize, access: u64, path: &[u8]) {
    const PATH_ONLY: u64 = 0o10_000_000 | 0o2_000_000 | system::NO_FOLLOW as u64;
    const NO_LINKS: u64 = 4;
    const BENEATH: usize = 1;
    let how = How {
        flags: PATH_ONLY,
        mode: 0,
        resolve: NO_LINKS,
    };
    let words = [
        system::HERE,
        path.as_ptr() as usize,
        &raw const how as usize,
        size_of::<How>(),
        0,
    ];
    let opened = match call(system::OPENAT2, words) {
        Answer::Failed(ENOENT | ENOTDIR | ELOOP | EACCES) => return,
        answer => must(answer, b"look at what is allowed"),
    };
    let beneath = Beneath {
        access,
        directory: opened as i32,
    };
    let words = [domain, BENEATH, &raw const beneath as usize, 0, 0];
    match call(system::LANDLOCK_ADD_RULE, words) {
        // It was a directory and is none now.
        Answer::Failed(EINVAL) => {}
        answer => {
            must(answer, b"allow a path");
        }
    }
    must(call(system::CLOSE, [opened, 0, 0, 0, 0]), b"close a path");
}

impl Words {
    fn argument(&self, place: usize) -> Option<&'static [u8]> {
        // The list ends before a place that nobody has asked for: each is looked at in turn.
        // SAFETY: none before is null, so the list goes on to here.
        let word = unsafe { *self.arguments.add(place) };
        // SAFETY: a string of the kernel's, for as long as the program runs.
        (!word.is_null()).then(|| unsafe { text(word) })
    }

    fn become_command(&self, command: &'static [u8]) -> ! {
        let mut errno = ENOENT;
        if command.contains(&b'/') {
            errno = self.execute(command.as_ptr());
        } else {
            let mut place = [0u8; 4096];
            for folder in self.path().split(|&byte| byte == b':') {
                let Some(path) = join(&mut place, folder, command) else {
                    continue;
                };
                match self.execute(path) {
                    ENOENT | ENOTDIR => {}
                    EACCES => errno = EACCES,
                    other => {
                        errno = other;
                        break;
                    }
                }
            }
        }
        match errno {
            ENOENT | ENOTDIR => fail(
                NOT_FOUND,
                b"not found in the container, or what loads it: ",
                command,
            ),
            EACCES => fail(NOT_RUNNABLE, b"may not be executed: ", command),
            _ => fail(NOT_RUNNABLE, b"cannot be executed: ", command),
        }
    }

    /// errno of the attempt.
    fn execute(&self, path: *const u8) -> i32 {
        // SAFETY: the first two arguments are ours.
        let arguments = unsafe { self.arguments.add(2) } as usize;
        match call(
            system::EXECVE,
            [path as usize, arguments, self.environment as usize, 0, 0],
        ) {
            Answer::Failed(errno) => errno,
            Answer::Is(_) => EINVAL,
        }
    }

    /// The value of PATH.
    fn path(&self) -> &'static [u8] {
        let mut place = self.environment;
        // SAFETY: the list ends with a null pointer.
        while let word = unsafe { *place }
            && !word.is_null()
        {
            // SAFETY: a string of the kernel's.
            let variable = unsafe { text(word) };
            if let Some(value) = variable.strip_prefix(b"PATH=") {
                return value;
            }
            // SAFETY: it was not the last.
            place = unsafe { place.add(1) };
        }
        b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    }
}

/// `folder/name` with a NUL at its end; `None` if that is too long.
fn join(place: &mut [u8; 4096], folder: &[u8], name: &[u8]) -> Option<*const u8> {
    let folder = if folder.is_empty() { b"." } else { folder };
    let pieces = [folder, b"/", name, b"\0"];
    let mut rest = &mut place[..];
    for piece in pieces {
        let (head, tail) = rest.split_at_mut_checked(piece.len())?;
        for (to, from) in head.iter_mut().zip(piece) {
            *to = *from;
        }
        rest = tail;
    }
    Some(place.as_ptr())
}

fn decimal(word: &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for &byte in word {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!word.is_empty()).then_some(number)
}

fn must(answer: Answer, what: &[u8]) -> usize {
    match answer {
        Answer::Is(value) => value,
        Answer::Failed(errno) => {
            say(b"ringfence: errno ");
            let errno = errno.unsigned_abs() as u8;
            say(&[
                b'0' + errno / 100,
                b'0' + errno / 10 % 10,
                b'0' + errno % 10,
                b' ',
            ]);
            fail(NO_FENCE, b"cannot ", what)
        }
    }
}

fn broken() -> ! {
    fail(NO_FENCE, b"what is to be done cannot be read", b"")
}

fn fail(code: i32, reason: &[u8], about: &[u8]) -> ! {
    say(b"ringfence: ");
    say(reason);
    say(about);
    say(b"\n");
    system::end(code)
}

fn say(text: &[u8]) {
    const STANDARD_ERROR: usize = 2;
    // The exit code tells where nobody listens.
    let _unheard = call(
        system::WRITE,
        [STANDARD_ERROR, text.as_ptr() as usize, text.len(), 0, 0],
    );
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    fail(NO_FENCE, b"a mistake of the launcher's", b"")
}
