//! System calls as they are, for what no library offers: an attacker does not ask nicely.

use std::ffi::{CStr, CString, c_long};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One argument of a system call; what it points to is borrowed for as long as it is.
pub(super) struct Word<'a>(c_long, PhantomData<&'a mut ()>);

macro_rules! number {
    ($($kind:ty)*) => {$(
        impl From<$kind> for Word<'_> {
            #[allow(clippy::cast_lossless, clippy::cast_possible_wrap, reason = "registers have no sign")]
            fn from(number: $kind) -> Self {
                Self(number as c_long, PhantomData)
            }
        }
    )*};
}

number!(i32 u32 i64 u64 usize);

impl<'a> From<&'a CStr> for Word<'a> {
    fn from(text: &'a CStr) -> Self {
        Self(text.as_ptr() as c_long, PhantomData)
    }
}

impl<'a> From<&'a CString> for Word<'a> {
    fn from(text: &'a CString) -> Self {
        text.as_c_str().into()
    }
}

impl<'a> From<&'a [u8]> for Word<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes.as_ptr() as c_long, PhantomData)
    }
}

impl<'a> From<&'a mut [u8]> for Word<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self(bytes.as_mut_ptr() as c_long, PhantomData)
    }
}

impl From<&OwnedFd> for Word<'_> {
    fn from(descriptor: &OwnedFd) -> Self {
        descriptor.as_raw_fd().into()
    }
}

/// A structure that the kernel reads, or fills.
pub(super) fn place<T>(value: &mut T) -> Word<'_> {
    Word(std::ptr::from_mut(value) as c_long, PhantomData)
}

/// No structure.
pub(super) const NULL: Word<'static> = Word(0, PhantomData);

/// The call with this number. Sizes that are among the words must be those of the buffers that are.
pub(super) fn call(number: c_long, words: &[Word]) -> io::Result<c_long> {
    let word = |index: usize| words.get(index).map_or(0, |word: &Word| word.0);
    // SAFETY: every word that is an address is borrowed until the call is over, and the callers of this module pass each
    // with its own size; calls that change mappings are made by `map` and the like, which keep what they get.
    let answer =
        unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

/// The same, of a call that gives a descriptor.
pub(super) fn descriptor(number: c_long, words: &[Word]) -> io::Result<OwnedFd> {
    let raw = call(number, words)?;
    let raw = RawFd::try_from(raw).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A path as the kernel takes it.
pub(super) fn c(path: impl AsRef<Path>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_bytes())?)
}

/// Runs `act` in a child process and gives how it ended; a child that dies or does not know gives `EIO`.
pub(super) fn in_child(act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    /// No errno of Linux is that large.
    const NO_ERRNO: i32 = 200;
    // SAFETY: a case runs in a process of one thread, or knows that its child takes no lock of another one.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = match act() {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(NO_ERRNO),
            };
            leave(code)
        }
        child => match ended(child)? {
            0 => Ok(()),
            NO_ERRNO.. => Err(io::Error::from_raw_os_error(libc::EIO)),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
    }
}

/// Ends the process without anything that a library wants to do before.
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: nothing of this process is used afterwards.
    unsafe { libc::_exit(code) }
}

/// Waits for a child: its exit code, or 256 and the signal that ended it.
pub(super) fn ended(child: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: `status` is ours.
    if unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        256 + libc::WTERMSIG(status)
    })
}

/// A mapping, for as long as the process lives.
pub(super) fn map(
    length: usize,
    protection: i32,
    flags: i32,
    file: Option<&OwnedFd>,
    offset: i64,
) -> io::Result<*mut u8> {
    let file = file.map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: a new mapping at an address of the kernel's choice takes nothing from anybody.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            flags,
            file,
            offset,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(address.cast())
}

/// Opens with any flags.
pub(super) fn open(path: impl AsRef<Path>, flags: i32) -> io::Result<OwnedFd> {
    open_at(libc::AT_FDCWD, path, flags)
}

/// Opens from a directory with any flags.
pub(super) fn open_at(from: RawFd, path: impl AsRef<Path>, flags: i32) -> io::Result<OwnedFd> {
    let path = c(path)?;
    let flags = flags | libc::O_CLOEXEC;
    descriptor(
        libc::SYS_openat,
        &[from.into(), (&path).into(), flags.into(), 0o644.into()],
    )
}

/// What can be read from a descriptor, as text.
pub(super) fn read(descriptor: &OwnedFd) -> io::Result<String> {
    let mut bytes = [0; 256];
    let size = bytes.len();
    let count = call(
        libc::SYS_read,
        &[descriptor.into(), (&mut bytes[..]).into(), size.into()],
    )?;
    let count = usize::try_from(count).map_err(io::Error::other)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// Writes bytes that are there anyway: what a file has, or what a test expects to see elsewhere.
pub(super) fn write(descriptor: &OwnedFd, bytes: &[u8]) -> io::Result<c_long> {
    call(
        libc::SYS_write,
        &[descriptor.into(), bytes.into(), bytes.len().into()],
    )
}
