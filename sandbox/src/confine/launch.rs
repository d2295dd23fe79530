//! From a plan to a process: fork, cgroup, and the word to go.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};

use super::act;
use super::cgroup::Cgroup;
use super::connector::Notifications;
use super::error::Error;
use super::leftovers::Descent;
use super::plan::{Plan, ranges_without};
use super::program;
use super::running::Running;
use super::signals::Signals;
use super::step::Step;
use super::terminal::Terminal;

/// include/uapi/linux/sched.h; the C library's constant is as wide as clone's flags, which have no room for it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// What is said where nobody listens.
const UNTOLD: &str = "system calls that the filter refuses are not told here: another supervisor listens to the filters of this \
                      process already, or the kernel has no such listeners";

/// A process that stands in its cgroup, has done its steps up to the filter of system calls or is doing them, and waits. Dropped, it is
/// ended.
#[derive(Debug)]
pub struct Launched {
    plan: Plan,
    tasks: Option<Tasks>,
    pid: Pid,
    go: File,
    report: File,
    signals: Option<Signals>,
    notifications: Option<UnixDatagram>,
}

/// How the tasks of the fence are found again.
#[derive(Debug)]
pub(super) enum Tasks {
    /// By cgroup.
    Cgroup(Cgroup),
    /// By descent.
    Descent(Descent),
}

pub(super) fn launch(mut plan: Plan) -> Result<Launched, Error> {
    let tasks = match &plan.cgroup {
        Some(place) => Tasks::Cgroup(Cgroup::create(place, &plan.limits)?),
        None => Tasks::Descent(Descent::new()?),
    };
    let (child_go, go) = pipe()?;
    let (report, child_report) = pipe()?;
    let (notifications, child_notifications) = channel(&mut plan)?;
    let mut stay = vec![child_report.as_raw_fd(), child_go.as_raw_fd()];
    stay.extend(child_notifications.as_ref().map(AsRawFd::as_raw_fd));
    keep_open(&mut plan, &stay);
    // Before the fork, so that no signal falls between; the child takes the handlers off first of all.
    let signals = Signals::catch()?;
    let pid = match start(&tasks)? {
        ForkResult::Child => {
            // The parent's ends must not keep the pipes open for ever.
            // SAFETY: closes a descriptor that this process does not use.
            unsafe { libc::close(go.as_raw_fd()) };
            act::run(&plan.steps, child_go.as_raw_fd(), child_report.as_raw_fd())
        }
        ForkResult::Parent { child } => child,
    };
    Ok(Launched {
        plan,
        tasks: Some(tasks),
        pid,
        go: File::from(go),
        report: File::from(report),
        signals: Some(signals),
        notifications,
    })
}

/// The two ends by which the listener comes, where there is one.
fn channel(plan: &mut Plan) -> Result<(Option<UnixDatagram>, Option<UnixDatagram>), Error> {
    for step in &mut plan.steps {
        if let Step::Notifications { channel, .. } = step {
            let (own, other) = UnixDatagram::pair().map_err(|source| Error::System {
                what: "make a pair of sockets",
                source,
            })?;
            *channel = other.as_raw_fd();
            return Ok((Some(own), Some(other)));
        }
    }
    Ok((None, None))
}

/// What was sent by [`act::send_descriptor`]: all that is sent is there, for the process has executed the command. `None` if nothing
/// was.
fn receive(channel: &UnixDatagram) -> Result<Option<OwnedFd>, Error> {
    let mut bytes = [0; 1];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let failed = |errno: Errno| Error::System {
        what: "take over the listener of the command's filter",
        source: errno.into(),
    };
    let message = match recvmsg::<()>(channel.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Err(Errno::EAGAIN) => return Ok(None),
        other => other.map_err(failed)?,
    };
    for control in message.cmsgs().map_err(failed)? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(&descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just handed out this descriptor.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }));
        }
    }
    Err(failed(Errno::EBADMSG))
}

/// Forks, into the cgroup if there is one. A process that is made there (since 5.7) costs nothing extra; one that is
/// moved there waits for all others of the machine (5 ms: kernel/cgroup/cgroup.c, `cgroup_attach_lock`).
fn start(tasks: &Tasks) -> Result<ForkResult, Error> {
    let failed = |source: io::Error| Error::System {
        what: "start a process",
        source,
    };
    let Tasks::Cgroup(cgroup) = tasks else {
        // SAFETY: the child does prepared steps by system calls alone, and execs or ends.
        return unsafe { fork() }.map_err(|errno| failed(errno.into()));
    };
    if let Some(started) = start_in(cgroup) {
        return Ok(started);
    }
    // SAFETY: as above.
    let started = unsafe { fork() }.map_err(|errno| failed(errno.into()))?;
    if let ForkResult::Parent { child } = started
        && let Err(error) = cgroup.add(child.as_raw())
    {
        end(child);
        return Err(error);
    }
    Ok(started)
}

/// `None` where the kernel, or a filter above this process, does not have it.
fn start_in(cgroup: &Cgroup) -> Option<ForkResult> {
    // SAFETY: integers, for which zero is "not given".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).ok()?;
    // SAFETY: reads a structure of the size that is given. Without CLONE_VM and a stack it is a fork: the child goes
    // on here in a copy, does prepared steps by system calls alone, and execs or ends.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(answer) {
        Ok(0) => Some(ForkResult::Child),
        Ok(pid) if pid > 0 => Some(ForkResult::Parent {
            child: Pid::from_raw(pid),
        }),
        _ => None,
    }
}

fn end(pid: Pid) {
    if kill(pid, Signal::SIGKILL).is_ok() {
        while waitpid(pid, None) == Err(Errno::EINTR) {}
    }
}

impl Launched {
    /// The process that will become the command. Also its task group's id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The fence's cgroup, if one could be made.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        match &self.tasks {
            Some(Tasks::Cgroup(cgroup)) => Some(cgroup),
            _ => None,
        }
    }

    /// Lets the process become the command; returns when it has.
    ///
    /// # Errors
    /// [`Error::Step`] names the step that failed; [`Error::ProgramNotRunnable`] if that was the exec itself.
    pub fn release(mut self) -> Result<Running, Error> {
        let failed = |what| move |source| Error::System { what, source };
        // If the process is gone already, its report says why, or the wait does.
        match self.go.write_all(&[act::GO]) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(failed("release the process")(error));
            }
            _ => {}
        }
        let mut told = Vec::new();
        self.report
            .read_to_end(&mut told)
            .map_err(failed("read the report of the launch"))?;
        let mut notes = self.judge(&told)?;
        let listener = self.notifications.as_ref().map(receive).transpose()?;
        let notifications = match (listener.flatten(), self.plan.asked.take()) {
            (Some(listener), Some(filter)) => Some(Notifications { listener, filter }),
            (None, Some(_)) => {
                notes.push(UNTOLD.to_owned());
                None
            }
            _ => None,
        };
        let (Some(tasks), Some(signals)) = (self.tasks.take(), self.signals.take()) else {
            return Err(failed("release the process")(
                io::ErrorKind::InvalidInput.into(),
            ));
        };
        Ok(Running::new(self, tasks, signals, notes, notifications))
    }

    /// The optional steps that failed; an error if another did, or if the process ended without becoming the command.
    fn judge(&self, told: &[u8]) -> Result<Vec<String>, Error> {
        let mut notes = Vec::new();
        let mut reached_exec = false;
        let (messages, _) = told.as_chunks::<{ act::REPORT_BYTES }>();
        for message in messages {
            let number = |at: usize| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&message[at..at + 4]);
                u32::from_ne_bytes(bytes)
            };
            let source = io::Error::from_raw_os_error(number(4).cast_signed());
            let step = usize::try_from(number(0))
                .ok()
                .and_then(|position| self.plan.steps.get(position));
            match step {
                Some(Step::Exec(_)) if number(4) == 0 => reached_exec = true,
                Some(Step::Exec(_)) => return Err(program::explain(&self.plan.program, &source)),
                Some(step) if number(8) != 0 => notes.push(format!("{step}: {source}")),
                step => {
                    let step = step.map(ToString::to_string).unwrap_or_default();
                    return Err(Error::Step { step, source });
                }
            }
        }
        if reached_exec {
            Ok(notes)
        } else {
            Err(Error::LauncherEnded {
                status: "it was killed from outside".to_owned(),
            })
        }
    }

    pub(super) fn terminal(&self) -> &Terminal {
        &self.plan.terminal
    }

    pub(super) fn limits(&self) -> &crate::policy::Limits {
        &self.plan.limits
    }

    pub(super) fn wait_all(&self) -> bool {
        self.plan.wait_all
    }

    /// Ends a process that never became the command. What fails here has nobody to be told to.
    fn give_up(&self) {
        end(self.pid);
        if let Terminal::Foreground(terminal) = self.terminal() {
            terminal.take(self.pid).ok();
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // Released: the tasks are the running fence's to end.
        if self.tasks.is_some() {
            self.give_up();
        }
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Signals")
    }
}

/// Now that the descriptors are known: which ranges the child closes. The launch's own close themselves at exec.
fn keep_open(plan: &mut Plan, own: &[RawFd]) {
    for step in &mut plan.steps {
        if let Step::CloseDescriptors { ranges, kept } = step {
            let mut stay = kept.clone();
            stay.extend(own);
            *ranges = ranges_without(&stay);
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::System {
        what: "make a pipe",
        source: errno.into(),
    })
}
