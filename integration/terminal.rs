//! A person at a terminal: an interactive shell behind a fence, with its jobs.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::kit::{Folder, Need, Suite, Verdict, binary};

/// Emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "terminal::an_interactive_shell_has_its_jobs",
        &[Need::Root, Need::Program("script")],
        an_interactive_shell_has_its_jobs,
    );
}

/// A shell behind a fence, at a terminal that script(1) makes.
struct Person {
    terminal: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
    from: usize,
    _folder: Folder,
}

impl Person {
    fn sits_down() -> Result<Self, Failed> {
        let folder = Folder::new()?;
        let shell = format!(
            "{} run -p shell -- bash --norc --noprofile -i",
            binary().display()
        );
        let mut terminal = Command::new("script")
            .args(["-qec", &shell, "/dev/null"])
            .current_dir(folder.path())
            .env("PS1", "inner> ")
            .env("TERM", "dumb")
            .env("SHELL", "/bin/sh")
            .env("HOME", folder.path())
            .env("XDG_STATE_HOME", folder.at("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let keys = terminal.stdin.take().ok_or("no keys")?;
        let mut output = terminal.stdout.take().ok_or("no screen")?;
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            terminal,
            keys,
            screen,
            seen: String::new(),
            from: 0,
            _folder: folder,
        })
    }

    fn types(&mut self, text: &str) -> Verdict {
        Ok(self.keys.write_all(text.as_bytes())?)
    }

    /// Waits until the screen is dark, and gives the exit code.
    fn leaves(&mut self) -> Result<Option<i32>, Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => return Ok(self.terminal.wait()?.code()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("never left: {:?}", self.seen).into());
                }
            }
        }
    }

    /// Waits for text that was not seen before.
    fn sees(&mut self, text: &str) -> Verdict {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen[self.from..].find(text) {
                self.from += at + text.len();
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => return Err(format!("never saw {text:?} in {:?}", self.seen).into()),
            }
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.terminal.kill().ok();
        self.terminal.wait().ok();
    }
}

fn an_interactive_shell_has_its_jobs() -> Verdict {
    let mut person = Person::sits_down()?;
    person.sees("inner> ")?;
    if person.seen.contains("no job control") {
        return Err(person.seen.clone().into());
    }
    // It says when it runs, so that the key reaches it and not the shell; the quotes keep its echo from saying it.
    person.types("sh -c 'echo u\"\"p; exec sleep 600'\n")?;
    person.sees("up\r\n")?;
    person.types("\x1a")?;
    person.sees("Stopped")?;
    person.sees("inner> ")?;
    // A shell does not leave while it believes that a job is stopped: it hears of the end at the second prompt at most.
    person.types("kill -KILL %1; while jobs %1 2>/dev/null | grep -q Stopped; do sleep 0.1; done; echo en\"\"ded\n")?;
    person.sees("ended\r\n")?;
    person.types("exit 5\n")?;
    let code = person.leaves()?;
    if code == Some(5) {
        return Ok(());
    }
    Err(format!("the shell ended with {code:?}").into())
}
