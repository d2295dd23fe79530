//! The program that runtimes call as a hook where `ringfence oci install` has put it: it asks the monitor that `ringfence oci runtime`
//! has started before it became the runtime. The program itself, which is a thousand times as large, is executed only where nobody answers.
//!
//! `ringfence oci hook begin|end SOCKET PROGRAM [WORDS]`. `begin` hands the state on standard input over, and succeeds when the answer is
//! [`FENCED`]. `end` waits until the monitor has taken the fence down, which it says as [`GONE`]. Where nobody answers, it becomes
//! `ringfence oci hook WORDS` of PROGRAM, which does without.
//!
//! It needs no C library and no loader, allocates nothing, and reads nothing but its words and its descriptors. `build.rs` compiles it, and
//! the program embeds it.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "each program has needs of its own")]
#[path = "../launcher/system.rs"]
mod system;

use core::panic::PanicInfo;

use system::{Answer, call, end, text};

/// What the monitor answers when the fence stands; anything else is why it does not.
const FENCED: &[u8] = b"fenced";
/// What it says when it has gone.
const GONE: &[u8] = b"gone";
/// What it is told first: which of the two is meant.
const BEGIN: &[u8] = b"b";
const END: &[u8] = b"e";

/// The words of ours that come before those of the program: `ringfence oci hook`, then what is meant, where and who.
const PROGRAM_WORDS: usize = 3;

/// How long the monitor of a container that has gone may take to end, in seconds. Then the program looks for itself.
const PATIENCE: u64 = 10;

const STANDARD_INPUT: usize = 0;
const STANDARD_ERROR: usize = 2;

// include/uapi/asm-generic/socket.h
const RECEIVING: usize = 20;
const SENDING: usize = 21;

// include/uapi/asm-generic/errno-base.h
const ENOENT: i32 = 2;
const EINTR: i32 = 4;
const EINVAL: i32 = 22;

/// The exit code where there is no fence, as of `ringfence run`.
const NO_FENCE: i32 = 125;

/// `struct sockaddr_un`.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

/// `struct timeval`.
#[repr(C)]
struct Time {
    seconds: u64,
    microseconds: u64,
}

/// What it was called with.
struct Words {
    /// The first of the words, as the kernel has laid them: a pointer each, and a null pointer.
    first: *mut *const u8,
    environment: *const *const u8,
}

/// Called by the first instructions with the stack as the kernel has left it.
#[unsafe(no_mangle)]
extern "C" fn begin(stack: *mut usize) -> ! {
    // SAFETY: the kernel puts the number of arguments there (fs/binfmt_elf.c, `create_elf_tables`).
    let count = unsafe { *stack };
    // SAFETY: the arguments, a null pointer, and the variables come next.
    let words = unsafe {
        let first = stack.add(1).cast::<*const u8>();
        Words {
            first,
            environment: first.add(count + 1),
        }
    };
    if count < 2 * PROGRAM_WORDS {
        fail(b"its hook was not called as `ringfence oci runtime` says");
    }
    match words.get(PROGRAM_WORDS) {
        b"begin" => words.begin(),
        b"end" => words.end(),
        _ => fail(b"its hook was not called as `ringfence oci runtime` says"),
    }
}

impl Words {
    /// One of the first six.
    fn get(&self, place: usize) -> &'static [u8] {
        // SAFETY: there are as many, which was looked at first.
        let word = unsafe { *self.first.add(place) };
        // SAFETY: a string of the kernel's, for as long as the program runs.
        unsafe { text(word) }
    }

    fn socket(&self) -> &'static [u8] {
        self.get(PROGRAM_WORDS + 1)
    }

    /// Has the monitor set the fence up.
    fn begin(&self) -> ! {
        let Ok(monitor) = connect(self.socket()) else {
            // Another monitor will be there, which does not listen here: `end` is to find that somebody is to be looked for.
            mark(self.socket());
            self.become_program();
        };
        // From here on the state is the monitor's: nobody else can be asked.
        let mut answer = [0u8; 16384];
        let said = write(monitor, BEGIN) && pass_on(STANDARD_INPUT, monitor) && shut(monitor);
        let answer = match said {
            true => read_all(monitor, &mut answer),
            false => None,
        };
        match answer {
            Some(FENCED) => end(0),
            None | Some(b"") => {
                fail(b"the process that was to own the fence has ended without a word")
            }
            Some(reason) => fail(reason),
        }
    }

    /// Waits until the monitor has taken the fence down.
    fn end(&self) -> ! {
        let monitor = match connect(self.socket()) {
            Ok(monitor) => monitor,
            // It has: its name goes last.
            Err(ENOENT) => finish(),
            Err(_) => {
                forget(self.socket());
                self.become_program()
            }
        };
        let is_patient = be_patient(monitor, RECEIVING).is_ok();
        // One that is about to end tells all who stand in line and hangs up, whatever they have to say.
        let _heard_or_not = tell(monitor, END) && shut(monitor);
        if is_patient && hears(monitor, GONE) {
            finish();
        }
        // Killed, or stuck. The state has not been read yet.
        forget(self.socket());
        self.become_program()
    }

    /// Becomes the program, which finds the same standard input.
    fn become_program(&self) -> ! {
        let program = self.get(PROGRAM_WORDS + 2).as_ptr() as usize;
        for place in 0..PROGRAM_WORDS {
            let word = self.get(place).as_ptr();
            // SAFETY: there are twice as many words, and the list is this program's to change.
            unsafe { *self.first.add(PROGRAM_WORDS + place) = word };
        }
        // SAFETY: as above; the list goes on to the null pointer behind the last word.
        let words = unsafe { self.first.add(PROGRAM_WORDS) } as usize;
        call(
            system::EXECVE,
            [program, words, self.environment as usize, 0, 0],
        );
        fail(b"the program that its hook stands for cannot be executed")
    }
}

/// A connection to whoever listens at `path`, or errno.
fn connect(path: &[u8]) -> Result<usize, i32> {
    const UNIX: usize = 1;
    const STREAM_CLOSED_ON_EXEC: usize = 1 | 0o2_000_000;
    let mut address = Address {
        family: UNIX as u16,
        path: [0; 108],
    };
    // The NUL behind it has to find room as well.
    if path.len() >= address.path.len() {
        return Err(EINVAL);
    }
    for (to, from) in address.path.iter_mut().zip(path) {
        *to = *from;
    }
    let socket = answer(call(system::SOCKET, [UNIX, STREAM_CLOSED_ON_EXEC, 0, 0, 0]))?;
    // Others may stand in line before it.
    be_patient(socket, SENDING)?;
    let words = [
        socket,
        &raw const address as usize,
        size_of::<Address>(),
        0,
        0,
    ];
    answer(call(system::CONNECT, words)).map(|_| socket)
}

/// Puts something at `path` that nobody listens at, if nothing is there.
fn mark(path: &[u8]) {
    const NEW_CLOSED_ON_EXEC: usize = 0o100 | 0o200 | 0o2_000_000;
    let words = [
        system::HERE,
        path.as_ptr() as usize,
        NEW_CLOSED_ON_EXEC,
        0o600,
        0,
    ];
    let _there_or_not = call(system::OPENAT, words);
}

/// Takes away the name of a monitor that does not answer.
fn forget(path: &[u8]) {
    let words = [system::HERE, path.as_ptr() as usize, 0, 0, 0];
    let _there_or_not = call(system::UNLINKAT, words);
}

/// Has what waits for the monitor, to be heard or to hear from it, fail after [`PATIENCE`].
fn be_patient(monitor: usize, option: usize) -> Result<(), i32> {
    const SOCKET_LEVEL: usize = 1;
    let time = Time {
        seconds: PATIENCE,
        microseconds: 0,
    };
    let time = &raw const time as usize;
    let words = [monitor, SOCKET_LEVEL, option, time, size_of::<Time>()];
    answer(call(system::SETSOCKOPT, words)).map(|_| ())
}

/// Says that no more comes.
fn shut(monitor: usize) -> bool {
    const WRITING: usize = 1;
    answer(call(system::SHUTDOWN, [monitor, WRITING, 0, 0, 0])).is_ok()
}

/// Writes on what `from` still has.
fn pass_on(from: usize, to: usize) -> bool {
    let mut piece = [0u8; 4096];
    loop {
        match read(from, &mut piece) {
            Some(0) => return true,
            Some(length) if write(to, &piece[..length]) => {}
            _ => return false,
        }
    }
}

/// All that comes, which has to find room.
fn read_all(from: usize, place: &mut [u8]) -> Option<&[u8]> {
    let mut length = 0;
    loop {
        // Where nothing is left to read into, nothing is read, which looks like the end.
        match read(from, place.get_mut(length..)?)? {
            0 => return place.get(..length),
            more => length += more,
        }
    }
}

/// Whether this is the first that comes; who says it may not have read what was said, which is an error behind it
/// (net/unix/af_unix.c, `unix_release_sock`).
fn hears(from: usize, expected: &[u8]) -> bool {
    let mut rest = expected;
    let mut piece = [0u8; 16];
    while !rest.is_empty() {
        let most = rest.len().min(piece.len());
        match read(from, &mut piece[..most]) {
            Some(length) if length > 0 && rest[..length] == piece[..length] => {
                rest = &rest[length..];
            }
            _ => return false,
        }
    }
    true
}

fn read(from: usize, place: &mut [u8]) -> Option<usize> {
    let words = [from, place.as_mut_ptr() as usize, place.len(), 0, 0];
    loop {
        match answer(call(system::READ, words)) {
            Err(EINTR) => {}
            other => return other.ok(),
        }
    }
}

/// Writes all of it. Where nobody reads, the signal ends this program, and a hook that ends so has failed.
fn write(to: usize, mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let words = [to, text.as_ptr() as usize, text.len(), 0, 0];
        match answer(call(system::WRITE, words)) {
            Ok(length) => text = text.get(length..).unwrap_or_default(),
            Err(EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Says a word to who may have hung up, which is no end of this program.
fn tell(to: usize, word: &[u8]) -> bool {
    const NO_SIGNAL: usize = 0x4000;
    let words = [to, word.as_ptr() as usize, word.len(), NO_SIGNAL, 0];
    answer(call(system::SENDTO, words)).is_ok()
}

fn answer(answer: Answer) -> Result<usize, i32> {
    match answer {
        Answer::Is(value) => Ok(value),
        Answer::Failed(errno) => Err(errno),
    }
}

/// Ends well, when the runtime has written all that it writes: one that finds nobody there may take it for a failure.
fn finish() -> ! {
    let mut piece = [0u8; 4096];
    while read(STANDARD_INPUT, &mut piece).is_some_and(|length| length > 0) {}
    end(0)
}

fn fail(reason: &[u8]) -> ! {
    for text in [&b"ringfence: "[..], reason, b"\n"] {
        // The exit code tells where nobody listens.
        write(STANDARD_ERROR, text);
    }
    end(NO_FENCE)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    fail(b"a mistake of the hook's")
}
