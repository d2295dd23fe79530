//! The process that stays with a container when its hook has ended.

use std::{
    env, fs,
    fs::File,
    io::{self, PipeWriter, Write as _},
    os::fd::{AsRawFd as _, RawFd},
};

use nix::{
    errno::Errno,
    unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout, setsid},
};

use super::Error;

/// This process, detached from who started it but for one pipe: nothing that it inherited stays open, for a runtime waits
/// until its hook's pipes are closed.
#[derive(Debug)]
pub struct Detached {
    report: PipeWriter,
}

impl Detached {
    /// Detaches this process, which has come from a hook and knows nothing but what it was to do; `report` is the pipe for
    /// [`Detached::report`].
    ///
    /// # Errors
    /// If a step fails.
    pub fn detach(report: PipeWriter) -> Result<Self, Error> {
        let failed = |what| move |source: io::Error| Error::Monitor { what, source };
        // It fails where this process leads a group already, which no harm comes from.
        setsid().ok();
        env::set_current_dir("/").map_err(failed("leave the bundle's directory"))?;
        close_inherited(report.as_raw_fd()).map_err(failed("close what was inherited"))?;
        let nowhere = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(failed("open /dev/null"))?;
        dup2_stdin(&nowhere)
            .and_then(|()| dup2_stdout(&nowhere))
            .and_then(|()| dup2_stderr(&nowhere))
            .map_err(io::Error::from)
            .map_err(failed("let go of the hook's pipes"))?;
        Ok(Self { report })
    }

    /// Tells the hook how it went, and lets it go.
    ///
    /// # Errors
    /// If the hook is gone: nobody will start the container then.
    pub fn report(mut self, text: &str) -> Result<(), Error> {
        self.report
            .write_all(text.as_bytes())
            .map_err(|source| Error::Monitor {
                what: "answer the hook",
                source,
            })
    }
}

/// All but the standard ones and `kept`.
fn close_inherited(kept: RawFd) -> io::Result<()> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        open.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    open.retain(|&descriptor| descriptor > 2 && descriptor != kept);
    for descriptor in open {
        match close(descriptor) {
            // The listing's own is closed by now.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
