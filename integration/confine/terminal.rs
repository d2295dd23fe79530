//! Job control, as a person at a terminal has it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::supervisor::SCRIPT;

/// A person at a terminal with a shell.
struct Person {
    master: fs::File,
    shell: std::process::Child,
    seen: String,
    from: usize,
}

impl Person {
    fn sit_down() -> Option<Self> {
        if !Path::new("/bin/bash").exists() {
            eprintln!("skipped: tests of the terminal need /bin/bash");
            return None;
        }
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut command = std::process::Command::new("/bin/bash");
        command
            .args(["--norc", "--noprofile", "-i"])
            .env("PS1", "outer> ")
            .env("TERM", "dumb");
        command.env("EXE", std::env::current_exe().unwrap());
        command.stdin(pty.slave.try_clone().unwrap());
        command.stdout(pty.slave.try_clone().unwrap());
        command.stderr(pty.slave);
        // SAFETY: two system calls, of numbers only.
        #[expect(clippy::multiple_unsafe_ops_per_block)]
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                // The terminal of a new session is the first that is asked for.
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            })
        };
        let shell = command.spawn().unwrap();
        drop(command);
        let mut person = Self {
            master: pty.master.into(),
            shell,
            seen: String::new(),
            from: 0,
        };
        person.sees("outer> ");
        Some(person)
    }

    fn foreground(&self) -> nix::unistd::Pid {
        nix::unistd::tcgetpgrp(&self.master).unwrap()
    }

    /// Types a line that starts or continues a job, and waits until that has the terminal: before, a key for it
    /// would go to the shell.
    fn hands_over(&mut self, line: &str, echo: &str) {
        let shell = self.foreground();
        self.types(line);
        self.sees(echo);
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.foreground() == shell {
            assert!(
                Instant::now() < deadline,
                "the terminal was never handed over"
            );
            std::thread::yield_now();
        }
    }

    /// Waits until `program` leads the foreground and runs. A stop key before that is lost: the continuing signal of
    /// `fg` clears it (kernel/signal.c, 6.12: `prepare_signal`).
    fn waits_for(&self, program: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let runs = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.foreground()));
            stat.is_ok_and(|stat| stat.contains(&format!("({program}) ")) && !stat.contains(") T "))
        };
        while !runs() {
            assert!(Instant::now() < deadline, "{program} never ran");
            std::thread::yield_now();
        }
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn starts(&mut self, script: &str, rest: &str) {
        let line = format!(
            "{SCRIPT}='{script}' $EXE --exact supervisor::as_supervisor --nocapture {rest}\n"
        );
        self.types(&line);
        // Its echo.
        self.sees("--nocapture");
    }

    /// Waits for text that was not seen before.
    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen[self.from..].find(text) {
                self.from += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never saw {text:?} in {:?}", self.seen);
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(left).unwrap();
            if poll(&mut fds, patience).unwrap() == 1 {
                let mut bytes = [0; 4096];
                let count = self.master.read(&mut bytes).unwrap();
                self.seen
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }
}

#[test]
fn a_shell_inside_has_job_control() {
    let Some(mut person) = Person::sit_down() else {
        return;
    };
    person.starts("exec bash --norc --noprofile -i", "");
    person.sees("inner> ");
    assert!(!person.seen.contains("no job control"), "{}", person.seen);
    // It says when it runs: until its exec it ignores the key, as the shell that it is still a copy of does.
    person.types("sh -c \"echo u''p; exec sleep 60\"\n");
    person.sees("up");
    person.types("\x1a");
    person.sees("Stopped");
    person.sees("inner> ");
    person.hands_over("fg\n", "exec sleep 60");
    person.types("\x03");
    person.sees("inner> ");
    person.types("exit 5\n");
    person.sees("outer> ");
    person.types("echo code=$?\n");
    person.sees("code=5");
}

#[test]
fn the_whole_fence_can_be_stopped_and_continued() {
    let Some(mut person) = Person::sit_down() else {
        return;
    };
    person.starts("echo rea\"\"dy; exec sleep 60", "");
    person.sees("ready");
    person.types("\x1a");
    person.sees("Stopped");
    person.sees("outer> ");
    person.hands_over("fg\n", "nocapture");
    person.waits_for("sleep");
    person.types("\x1a");
    person.sees("Stopped");
    person.sees("outer> ");
    person.hands_over("fg\n", "nocapture");
    person.types("\x03");
    person.sees("outer> ");
    person.types("echo code=$?\n");
    person.sees("code=130");
}

#[test]
fn a_pipeline_keeps_the_terminal_together() {
    let Some(mut person) = Person::sit_down() else {
        return;
    };
    person.starts(
        "trap \"echo g\"\"ot; exit 7\" INT; sleep 60 & echo rea\"\"dy; wait",
        "| (trap \"\" INT; cat)",
    );
    person.sees("ready");
    person.types("\x1a");
    person.sees("Stopped");
    person.sees("outer> ");
    person.hands_over("fg\n", "cat )");
    person.types("\x03");
    person.sees("got");
    person.sees("outer> ");
}

#[test]
fn the_modes_of_the_terminal_are_as_before() {
    let Some(mut person) = Person::sit_down() else {
        return;
    };
    person.starts("stty -echo -icanon; exit 3", "");
    person.sees("outer> ");
    person.types("stty -a | grep -o \"[-]*echo \"; echo done\n");
    person.sees("done");
    person.sees("echo");
    person.sees("done");
    assert!(!person.seen.contains("-echo \r"), "{}", person.seen);
}
