//! Work that gives way to the command.

use std::{io, os::unix::thread::JoinHandleExt as _, thread::JoinHandle};

/// Lets a thread run only where a processor has nothing else to do, or like any other again.
///
/// # Errors
/// If the kernel does not, or the thread has ended.
pub fn give_way<T>(thread: &JoinHandle<T>, gives_way: bool) -> io::Result<()> {
    let policy = if gives_way {
        libc::SCHED_IDLE
    } else {
        libc::SCHED_OTHER
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the handle says that the thread has not been joined, and the parameters are read during the call.
    let error = unsafe {
        libc::pthread_setschedparam(thread.as_pthread_t(), policy, &raw const parameters)
    };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
