//! Output of a harness: shown as it comes, and read line by line into a tally.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::tally::Tally;
use crate::tool::{say, shown};

/// How long what a command has started may go on to write when the command has ended.
const LINGER: Duration = Duration::from_secs(10);

/// Runs a command and gives each line of its output, both streams in the order in which they were written. Its end is what ends
/// this, also where something that it has left behind still holds the streams.
pub(crate) fn lines(mut command: Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let (reader, writer) = std::io::pipe().context("could not make a pipe")?;
    let second = writer.try_clone().context("could not make a pipe")?;
    let what = shown(&command);
    let mut child = command
        .stdout(writer)
        .stderr(second)
        .spawn()
        .with_context(|| format!("could not start {what}"))?;
    // The command holds our ends of the pipe, too: without this the reading below would never end.
    drop(command);
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut ended = None;
    loop {
        match receiver.recv_timeout(LINGER) {
            Ok(line) => {
                let line = line.with_context(|| format!("could not read what {what} printed"))?;
                let text = String::from_utf8_lossy(&line);
                println!("{}", text.trim_end());
                each(text.trim_end());
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // It had ended before: nothing came for a whole while.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => {
                say(format!(
                    "{what} has ended; something that it left behind still holds its output"
                ));
                break;
            }
            Err(RecvTimeoutError::Timeout) => {
                ended = child
                    .try_wait()
                    .with_context(|| format!("could not wait for {what}"))?;
            }
        }
    }
    Ok(child
        .wait()
        .with_context(|| format!("could not wait for {what}"))?
        .success())
}

/// Takes a machine's output: every line is shown behind the floor's name, since machines run beside each other.
#[derive(Clone)]
pub(crate) struct Reader {
    shared: Arc<Mutex<Tally>>,
    partial: Arc<Mutex<Vec<u8>>>,
    prefix: String,
}

impl Reader {
    /// Fills a new tally of this floor.
    pub(crate) fn of(floor: &str) -> Self {
        let shared = Arc::new(Mutex::new(Tally::of(floor)));
        Self {
            shared,
            partial: Arc::default(),
            prefix: format!("[{floor}] "),
        }
    }

    /// The same tally, for another stream of the same machine.
    pub(crate) fn beside(&self) -> Self {
        Self {
            partial: Arc::default(),
            ..self.clone()
        }
    }

    /// What was read.
    pub(crate) fn finish(self) -> Result<Tally> {
        let mut tally = self
            .shared
            .lock()
            .map_err(|_| anyhow!("a reader of a machine's output panicked"))?;
        Ok(std::mem::take(&mut *tally))
    }

    fn take(&self, line: &[u8]) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(line);
        println!("{}{}", self.prefix, text.trim_end());
        let mut tally = self
            .shared
            .lock()
            .map_err(|_| std::io::Error::other("another reader panicked"))?;
        tally.read(text.trim_end());
        Ok(())
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut partial = self
            .partial
            .lock()
            .map_err(|_| std::io::Error::other("another reader panicked"))?;
        partial.extend_from_slice(bytes);
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = partial.drain(..=end).collect();
            self.take(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
