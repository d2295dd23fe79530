//! What a machine sends home: a port of the guest, a Unix socket of ours, a thread that carries bytes to a sink.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// Takes bytes as they come. A clone is the same sink.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Mutex<dyn Write + Send>>);

impl Sink {
    /// Our own standard output.
    pub(crate) fn stdout() -> Self {
        Self::of(std::io::stdout())
    }

    /// Our own standard error.
    pub(crate) fn stderr() -> Self {
        Self::of(std::io::stderr())
    }

    /// Anything else.
    pub(crate) fn of(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }
}

/// One port, from the moment its socket listens.
pub(crate) struct Channel {
    /// Name of the port in the guest, and of the socket.
    pub(crate) name: &'static str,
    /// What the machine connects to.
    pub(crate) socket: PathBuf,
    thread: JoinHandle<std::io::Result<()>>,
    ended: Arc<AtomicBool>,
}

impl Channel {
    /// Listens in `folder` and carries what comes to `sink`.
    pub(crate) fn open(name: &'static str, folder: &Path, sink: Sink) -> Result<Self> {
        let socket = folder.join(name);
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("could not make {}", socket.display()))?;
        listener
            .set_nonblocking(true)
            .context("could not set up a socket")?;
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let thread = std::thread::spawn(move || carry(&listener, &stop, &sink));
        Ok(Self {
            name,
            socket,
            thread,
            ended,
        })
    }

    /// After the machine has ended: waits until everything that it sent has arrived.
    pub(crate) fn finish(self) -> Result<()> {
        self.ended.store(true, Ordering::Release);
        let result = self
            .thread
            .join()
            .map_err(|_| anyhow!("the carrier of {} panicked", self.name))?;
        result.with_context(|| format!("could not pass on the machine's {}", self.name))
    }
}

fn carry(listener: &UnixListener, ended: &AtomicBool, sink: &Sink) -> std::io::Result<()> {
    let mut stream = loop {
        // Looked at before accept: a machine that connected and ended at once still has its bytes read.
        let over = ended.load(Ordering::Acquire);
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && over => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    };
    stream.set_nonblocking(false)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let mut sink = sink
                    .0
                    .lock()
                    .map_err(|_| std::io::Error::other("another writer panicked"))?;
                sink.write_all(&buffer[..count])?;
                sink.flush()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A machine that was killed resets its sockets: nothing more will come.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
