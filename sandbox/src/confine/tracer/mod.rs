//! Recording without root: every system call of a command and of what it starts is stopped at, by ptrace(2).
//!
//! It is the slow way. What is told is what the kernel half tells where it records by system calls, in the same records: paths
//! are the kernel's own, by `/proc/PID/fd`, and a name that came or went is the program's behind the kernel's name of its
//! directory. What name servers answer is passed on as it was received. Capabilities are not seen.

mod answers;
mod call;
mod memory;
mod socket;
mod supervisor;
mod told;

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use ringfence_abi::record::Seen;

use self::call::Call;
use self::supervisor::Supervisor;
use self::told::Told;
use super::error::Error;
use super::plan::Request;
use super::program;
use super::running::{Exit, TIMED_OUT};
use super::sampler::Sampler;
use crate::trace::{Act, Tally};

/// What is told while a command runs.
#[derive(Debug)]
pub enum Notice {
    /// An act, of each kind the first.
    Act(Act),
    /// What came from the port of name servers: a message, or one with its length before it.
    Answer(Vec<u8>),
}

/// What a command did, but for the acts themselves.
#[derive(Debug)]
pub struct Traced {
    /// How it ended.
    pub exit: Exit,
    /// What was only counted.
    pub tally: Tally,
    /// How often each act was done.
    pub counts: HashMap<Seen, u64>,
}

/// Runs the command as the caller, without new privileges, and tells each kind of act once, and each answer of a name server.
///
/// # Errors
/// If it cannot be started or followed.
pub fn trace(
    request: &Request,
    seconds: Option<u64>,
    tell: impl FnMut(Notice),
) -> Result<Traced, Error> {
    let path = program::resolve(&request.command, &request.environment, &request.directory)?;
    let mut command = Command::new(&path);
    command
        .arg0(&request.command)
        .args(&request.arguments)
        .env_clear()
        .envs(request.environment.iter().cloned())
        .current_dir(&request.directory);
    // SAFETY: two system calls between fork and exec, neither of which allocates.
    unsafe {
        command.pre_exec(|| {
            prctl::set_no_new_privs()?;
            ptrace::traceme()?;
            Ok(())
        });
    }
    let supervisor = Supervisor::ready(seconds)?;
    let child = command
        .spawn()
        .map_err(|source| Error::ProgramNotRunnable {
            path: path.clone(),
            reason: source.to_string(),
        })?;
    let main = Pid::from_raw(i32::try_from(child.id()).map_err(|error| lost(0, error))?);
    let followed = Followed {
        main,
        tasks: HashMap::new(),
        told: Told::new(tell),
        sampler: Sampler::new(),
    };
    let watch = supervisor.watch(main)?;
    let traced = followed.follow(&path);
    let timed_out = watch.end();
    let mut traced = traced?;
    if timed_out {
        traced.exit.timed_out = true;
        traced.exit.code = TIMED_OUT;
    }
    Ok(traced)
}

/// The command and what it has started.
struct Followed<Tell> {
    main: Pid,
    tasks: HashMap<Pid, Task>,
    told: Told<Tell>,
    sampler: Sampler,
}

/// One thread.
#[derive(Debug, Default)]
struct Task {
    /// The system call that it is in.
    call: Option<Call>,
    /// The program that it executes.
    program: Option<u64>,
}

impl<Tell: FnMut(Notice)> Followed<Tell> {
    fn follow(mut self, path: &std::path::Path) -> Result<Traced, Error> {
        let main = self.main;
        match waitpid(main, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {}
            Ok(_) => return Err(lost(main.as_raw(), Errno::ECHILD)),
            Err(errno) => return Err(lost(main.as_raw(), errno)),
        }
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(main, options).map_err(|errno| lost(main.as_raw(), errno))?;
        let program = self.told.executed(main, None, Some(path));
        self.tasks.insert(
            main,
            Task {
                call: None,
                program,
            },
        );
        resume(main, None)?;
        let ended = self.until_the_end()?;
        let (code, signal) = match ended {
            WaitStatus::Signaled(_, signal, _) => {
                let number = signal as i32;
                (128 + u8::try_from(number).unwrap_or(0), Some(number))
            }
            WaitStatus::Exited(_, code) => (u8::try_from(code & 0xff).unwrap_or(u8::MAX), None),
            _ => return Err(lost(main.as_raw(), Errno::ECHILD)),
        };
        let leftover = self.end_others();
        let (tally, counts) = self.told.finish();
        Ok(Traced {
            exit: Exit {
                code,
                signal,
                timed_out: false,
                leftover,
                peak: self.sampler.peak(),
            },
            tally,
            counts,
        })
    }

    /// Follows everything until the command itself has ended.
    fn until_the_end(&mut self) -> Result<WaitStatus, Error> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(lost(self.main.as_raw(), errno)),
            };
            match status {
                WaitStatus::PtraceSyscall(task) => {
                    self.at_a_call(task);
                    resume(task, None)?;
                }
                WaitStatus::PtraceEvent(task, _, event) => {
                    if event == Event::PTRACE_EVENT_EXEC as i32 {
                        self.at_an_exec(task);
                    }
                    resume(task, None)?;
                }
                WaitStatus::Stopped(task, signal) => {
                    // A task that has just come to be stops by itself.
                    let is_new = signal == Signal::SIGSTOP && !self.tasks.contains_key(&task);
                    self.tasks.entry(task).or_default();
                    resume(task, (!is_new).then_some(signal))?;
                }
                WaitStatus::Exited(task, _) | WaitStatus::Signaled(task, ..) => {
                    self.tasks.remove(&task);
                    if task == self.main {
                        return Ok(status);
                    }
                }
                _ => {}
            }
            let tasks = &self.tasks;
            self.sampler.look(|| {
                tasks
                    .keys()
                    .filter(|task| leads(**task))
                    .map(|task| task.as_raw())
                    .collect()
            });
        }
    }

    fn at_a_call(&mut self, pid: Pid) {
        let Ok(info) = ptrace::syscall_info(pid) else {
            // It was killed meanwhile.
            return;
        };
        let task = self.tasks.entry(pid).or_default();
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: the kernel has filled the variant that `op` names.
                let entry = unsafe { info.u.entry };
                let call = Call::entered(pid, info.arch, entry.nr, entry.args);
                self.told.made(&call);
                task.call = Some(call);
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                // SAFETY: as above.
                let exit = unsafe { info.u.exit };
                if let Some(call) = task.call.take() {
                    let program = &mut task.program;
                    self.told.returned(pid, &call, exit.sval, program);
                }
            }
            _ => {}
        }
    }

    /// An exec that has succeeded. All other threads of the process are gone, and the one that did it has the process' number.
    fn at_an_exec(&mut self, pid: Pid) {
        let former = ptrace::getevent(pid)
            .ok()
            .and_then(|former| i32::try_from(former).ok())
            .map_or(pid, Pid::from_raw);
        let task = self.tasks.remove(&former).unwrap_or_default();
        let named = task.call.as_ref().and_then(Call::executed);
        let program = self.told.executed(pid, task.program, named.as_deref());
        let call = task.call;
        self.tasks.insert(pid, Task { call, program });
    }

    /// What outlives the command is ended, as everywhere.
    fn end_others(&mut self) -> usize {
        let processes: Vec<Pid> = self
            .tasks
            .keys()
            .copied()
            .filter(|task| leads(*task))
            .collect();
        for process in &processes {
            kill(*process, Signal::SIGKILL).ok();
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
            if let WaitStatus::Stopped(task, _) | WaitStatus::PtraceEvent(task, ..) = status {
                kill(task, Signal::SIGKILL).ok();
                ptrace::cont(task, None).ok();
            }
        }
        processes.len()
    }
}

/// Whether the thread leads its process.
fn leads(task: Pid) -> bool {
    std::path::Path::new(&format!("/proc/{task}/task/{task}")).exists()
        && std::fs::read_to_string(format!("/proc/{task}/status"))
            .is_ok_and(|text| text.lines().any(|line| line == format!("Tgid:\t{task}")))
}

fn resume(task: Pid, signal: Option<Signal>) -> Result<(), Error> {
    match ptrace::syscall(task, signal) {
        // It was killed meanwhile: its end is told.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(lost(task.as_raw(), errno)),
    }
}

fn lost(pid: i32, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Lost {
        pid,
        source: io::Error::other(source),
    }
}
