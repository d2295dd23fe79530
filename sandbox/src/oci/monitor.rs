//! The process that stays with a container when its hook has ended.

use std::{
    env, fs,
    fs::File,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use nix::{
    errno::Errno,
    unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout, setsid},
};

use super::Error;

/// Detaches this process from who started it: nothing that it inherited stays open but what is `kept`, for a runtime waits until its
/// hook's pipes are closed, and an engine until its runtime's are.
///
/// # Errors
/// If a step fails.
pub fn detach(kept: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let failed = |what| move |source: io::Error| Error::Monitor { what, source };
    // It fails where this process leads a group already, which no harm comes from.
    setsid().ok();
    env::set_current_dir("/").map_err(failed("leave the bundle's directory"))?;
    close_inherited(kept).map_err(failed("close what was inherited"))?;
    let nowhere = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(failed("open /dev/null"))?;
    dup2_stdin(&nowhere)
        .and_then(|()| dup2_stdout(&nowhere))
        .and_then(|()| dup2_stderr(&nowhere))
        .map_err(io::Error::from)
        .map_err(failed("let go of the hook's pipes"))
}

/// All but the standard ones and `kept`.
fn close_inherited(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        open.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    let is_kept = |descriptor| kept.iter().any(|one| one.as_raw_fd() == descriptor);
    open.retain(|&descriptor| descriptor > 2 && !is_kept(descriptor));
    for descriptor in open {
        match close(descriptor) {
            // The listing's own is closed by now.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
