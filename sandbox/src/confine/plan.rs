//! The launch as a list of prepared steps: everything that can fail for a reason that a person can act on fails here,
//! before there is a process.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Engine;
use super::capabilities;
use super::error::Error;
use super::fallback::{self, Derived, Ports};
use super::launch::{self, Launched};
use super::probe::{Namespaces, Probe};
use super::program;
use super::seccomp::{Filter, Internet, Program, Sockets, Telling, Wanted};
use super::signals;
use super::standings::{self, UnixSockets};
use super::step::{Execution, Step, UserMap};
use super::terminal::Terminal;
use super::user::User;
use crate::policy::{Limits, Memory, Mode, Policy, Standing};

/// What is to be launched.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// A path, or a name to look for in the PATH of `environment`.
    pub command: OsString,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// The whole environment of the command.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory, absolute.
    pub directory: PathBuf,
    /// Who to run as; the caller if `None`.
    pub user: Option<User>,
    /// Descriptors of the caller that the command gets besides 0 to 2.
    pub keep: Vec<RawFd>,
    /// Whether tasks that outlive the command are waited for instead of ended.
    pub wait_all: bool,
    /// Whether the system calls that the filter refuses are told, by a [`super::Connector`] that has to be started.
    pub tells: bool,
}

/// A launch that is ready: print it (a line for each step), look at its standings, then [`Plan::launch`] it.
#[derive(Debug)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) program: PathBuf,
    pub(super) cgroup: Option<super::CgroupPlace>,
    pub(super) limits: Limits,
    pub(super) terminal: Terminal,
    pub(super) wait_all: bool,
    supervised: bool,
    /// What the supervisor answers for.
    pub(super) asked: Option<Filter>,
    standings: Vec<Standing>,
    notes: Vec<String>,
}

impl Plan {
    /// Prepares everything. No process is started and nothing is changed.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::exit_code`] tells "not found" and "not runnable" from the rest.
    pub fn new(
        request: &Request,
        policy: &Policy,
        engine: Engine,
        probe: &Probe,
    ) -> Result<Self, Error> {
        Self::remembering(request, policy, engine, probe, Memory::NONE)
    }

    /// The same, which does not compile again what `memory` holds.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn remembering(
        request: &Request,
        policy: &Policy,
        engine: Engine,
        probe: &Probe,
        memory: Memory<'_>,
    ) -> Result<Self, Error> {
        check_directory(&request.directory)?;
        check_kept(&request.keep)?;
        let environment = environment(request);
        let program = program::resolve(&request.command, &environment, &request.directory)?;
        let uid = request.user.as_ref().map_or(probe.uid, |user| user.uid);
        let derived = match engine {
            Engine::BpfLsm => None,
            Engine::Fallback => Some(fallback::derive(policy, probe, uid, &request.directory)?),
        };
        let standings = standings::of(policy, engine, probe, derived.as_ref(), uid);
        let notes = derived.as_ref().and_then(|derived| derived.gaps.as_ref());
        let notes = notes.and_then(standings::loss).into_iter().collect();
        let wanted = Wanted {
            tells: request.tells && probe.seccomp,
            ..filter(policy, engine, probe, derived.as_ref())
        };
        let terminal = Terminal::find()?;
        let mut steps = Vec::new();
        first_steps(&mut steps, &terminal);
        let ruleset = fallback_steps(&mut steps, derived, probe);
        limit_steps(&mut steps, &policy.limits, probe);
        privilege_steps(&mut steps, request.user.as_ref(), policy, probe)?;
        steps.extend(ruleset);
        let supervised = engine == Engine::Fallback && standings::supervises_unix(policy, probe);
        close_step(&mut steps, &request.keep);
        steps.push(Step::Directory(c_string(
            "a path",
            request.directory.as_os_str(),
        )?));
        let mut asked = None;
        if probe.seccomp {
            let programs = Program::remembered(wanted, &policy.syscalls, memory)?;
            if wanted.tells || supervised {
                asked = Some(Filter {
                    programs: programs.clone(),
                    wanted,
                });
                steps.push(Step::Notifications {
                    programs: Telling::of(&programs, wanted.tells, supervised)?,
                    otherwise: (!supervised).then_some(programs),
                    channel: NOT_YET,
                });
            } else {
                steps.extend(programs.into_iter().map(Step::Seccomp));
            }
        }
        steps.push(exec_step(request, &program, &environment)?);
        Ok(Self {
            steps,
            program,
            cgroup: probe.cgroup.clone(),
            limits: policy.limits,
            terminal,
            wait_all: request.wait_all,
            supervised,
            asked,
            standings,
            notes,
        })
    }

    /// Whether the supervisor has to connect Unix sockets in the command's place, by the listener that [`super::Running`] gives.
    #[must_use]
    pub fn supervises_unix(&self) -> bool {
        self.supervised
    }

    /// What this launch will really enforce.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// What is to be known before the start, besides.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The file that will be executed.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a process in a cgroup of its own, which waits there for [`Launched::release`].
    ///
    /// # Errors
    /// If the cgroup or the process cannot be made.
    pub fn launch(self) -> Result<Launched, Error> {
        launch::launch(self)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(out, "{step}")?;
        }
        Ok(())
    }
}

fn first_steps(steps: &mut Vec<Step>, terminal: &Terminal) {
    if terminal.own_group() {
        steps.push(Step::ProcessGroup {
            terminal: terminal.foreground(),
        });
    }
    steps.push(Step::Signals {
        ignored: signals::ignored(),
    });
    steps.push(Step::SessionKeyring);
}

/// Pushes the mounts, and gives back the Landlock step, which has its place further down.
fn fallback_steps(steps: &mut Vec<Step>, derived: Option<Derived>, probe: &Probe) -> Option<Step> {
    let derived = derived?;
    if let Some(mounts) = derived.mounts {
        steps.push(match probe.namespaces {
            Namespaces::User => {
                let map = UserMap::own(probe.uid, probe.gid, derived.own_ipc);
                Step::UserNamespace(Box::new(map))
            }
            _ => Step::MountNamespace {
                ipc: derived.own_ipc,
            },
        });
        steps.push(Step::Mounts(Box::new(mounts)));
    }
    let ports = derived.ports.as_ref().map_or(0, Ports::len);
    derived.ruleset.map(|(ruleset, paths)| Step::Landlock {
        ruleset,
        paths,
        ports,
        own: derived.own,
    })
}

fn limit_steps(steps: &mut Vec<Step>, limits: &Limits, probe: &Probe) {
    let offers = |controller| {
        probe
            .cgroup
            .as_ref()
            .is_some_and(|place| place.offers(controller))
    };
    let mut push = |resource, name, value: Option<u64>| {
        steps.extend(value.map(|value| Step::Limit {
            resource,
            name,
            value,
        }));
    };
    let memory = limits.memory.filter(|_| !offers("memory"));
    push(libc::RLIMIT_AS, "address space", memory);
    let pids = limits.pids.filter(|_| !offers("pids"));
    push(libc::RLIMIT_NPROC, "tasks of the user", pids);
    push(libc::RLIMIT_NOFILE, "open files", limits.open_files);
    push(libc::RLIMIT_FSIZE, "file size", limits.file_size);
}

fn privilege_steps(
    steps: &mut Vec<Step>,
    user: Option<&User>,
    policy: &Policy,
    probe: &Probe,
) -> Result<(), Error> {
    const SETPCAP: u64 = 1 << 8;
    const SYS_ADMIN: u64 = 1 << 21;
    let kept = capabilities::mask(&policy.capabilities)?;
    let permitted = capabilities::permitted();
    // Without the privilege the bounding set stays, which no_new_privs makes meaningless: exec adds nothing.
    let in_user_namespace = steps
        .iter()
        .any(|step| matches!(step, Step::UserNamespace(_)));
    let gain = policy.privilege_gain;
    let needed = SETPCAP | SYS_ADMIN;
    if gain && (in_user_namespace || permitted & needed != needed) {
        return Err(Error::PrivilegeGain);
    }
    if in_user_namespace || permitted & SETPCAP != 0 {
        steps.push(Step::Bounding { kept });
    }
    let uid = user.map_or(probe.uid, |user| user.uid);
    if let Some(user) = user
        && probe.uid == 0
    {
        steps.push(Step::User {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
            keep_capabilities: (kept != 0 || gain) && user.uid != 0,
        });
    }
    // Root's capabilities come back at exec out of the bounding set; anybody else's only if they are ambient.
    let ambient = if uid == 0 { 0 } else { kept };
    // Without no_new_privs only the administrator may enter a Landlock domain and load a filter (both check
    // CAP_SYS_ADMIN in the task's own user namespace: security/landlock/syscalls.c and kernel/seccomp.c, 6.18). The exec
    // takes it: it is neither inheritable, nor ambient, nor in the bounding set.
    let until_exec = if gain { SYS_ADMIN } else { 0 };
    steps.push(Step::Capabilities {
        kept,
        ambient,
        until_exec,
    });
    if !gain {
        steps.push(Step::NoNewPrivileges);
    }
    Ok(())
}

fn close_step(steps: &mut Vec<Step>, keep: &[RawFd]) {
    steps.push(Step::CloseDescriptors {
        ranges: Vec::new(),
        kept: keep.to_vec(),
    });
}

/// The ranges between descriptors that stay; 0 to 2 always do.
pub(super) fn ranges_without(stay: &[RawFd]) -> Vec<(u32, u32)> {
    let mut stay: Vec<u32> = stay
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .filter(|&fd| fd > 2)
        .collect();
    stay.sort_unstable();
    stay.dedup();
    let mut ranges = Vec::new();
    let mut first = 3;
    for fd in stay {
        if fd > first {
            ranges.push((first, fd - 1));
        }
        first = fd + 1;
    }
    ranges.push((first, u32::MAX));
    ranges
}

/// A descriptor that is known once the process is about to be made.
const NOT_YET: RawFd = -1;

/// A filter cannot change at exec. Under BPF LSM it leaves open what any program may use, and the hooks judge who does;
/// the fallback has no eyes for programs, and holds all to what the whole profile says.
pub(super) fn filter(
    policy: &Policy,
    engine: Engine,
    probe: &Probe,
    derived: Option<&Derived>,
) -> Wanted {
    let fallback = engine == Engine::Fallback;
    let programs = policy.programs.iter().filter(|_| !fallback);
    let open = match fallback {
        true => policy.kernel,
        false => policy.opened(),
    };
    let networks: Vec<_> = programs
        .map(|program| &program.network)
        .chain([&policy.network])
        .collect();
    let reaches = networks.iter().any(|network| network.reaches);
    let internet = match derived.and_then(|derived| derived.ports.as_ref()) {
        Some(ports) => Internet::Ports {
            datagrams: ports.datagrams,
            listen: ports.listen,
        },
        None if reaches => Internet::Judged,
        None => Internet::Closed,
    };
    let sockets = if networks.iter().any(|network| network.mode != Mode::Enforce) {
        Sockets::Any
    } else if fallback && standings::unix_sockets(policy, probe) == UnixSockets::Nobody {
        Sockets::Pairs { internet }
    } else {
        Sockets::Unix { internet }
    };
    Wanted {
        sockets,
        open,
        fallback,
        shares_ipc: fallback && matches!(probe.namespaces, Namespaces::None { .. }),
        tells: false,
    }
}

fn exec_step(
    request: &Request,
    program: &Path,
    environment: &[(OsString, OsString)],
) -> Result<Step, Error> {
    let mut arguments = vec![c_string("an argument", &request.command)?];
    for argument in &request.arguments {
        arguments.push(c_string("an argument", argument)?);
    }
    let mut variables = Vec::new();
    for (name, value) in environment {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        variables.push(c_string("a variable", &variable)?);
    }
    let path = c_string("a path", program.as_os_str())?;
    Ok(Step::Exec(Box::new(Execution::new(
        path, arguments, variables,
    ))))
}

/// The request's environment, with HOME, USER and LOGNAME of the user if that is another one.
fn environment(request: &Request) -> Vec<(OsString, OsString)> {
    let mut environment = request.environment.clone();
    let Some(user) = &request.user else {
        return environment;
    };
    for (name, value) in user.variables() {
        environment.retain(|(known, _)| known != name);
        environment.push((name.into(), value));
    }
    environment
}

fn check_directory(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Directory {
        path: path.to_path_buf(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if path.is_absolute() && metadata.is_dir() {
        Ok(())
    } else {
        Err(failed(std::io::Error::from_raw_os_error(libc::ENOTDIR)))
    }
}

/// Ringfence's own descriptors close on exec, so one that was passed by the caller does not; keeping one of ours would
/// hand it to the command.
fn check_kept(keep: &[RawFd]) -> Result<(), Error> {
    for &fd in keep {
        // SAFETY: numbers only; a number that is no descriptor gives an error.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
            return Err(Error::KeepFd { fd });
        }
    }
    Ok(())
}

fn c_string(what: &'static str, value: &OsStr) -> Result<CString, Error> {
    CString::new(value.as_bytes()).map_err(|error| Error::Nul {
        what,
        value: OsString::from_vec(error.into_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_between_kept_descriptors_is_closed() {
        assert_eq!(ranges_without(&[]), [(3, u32::MAX)]);
        assert_eq!(ranges_without(&[1, 3, 4, 7]), [(5, 6), (8, u32::MAX)]);
        assert_eq!(ranges_without(&[9, 5]), [(3, 4), (6, 8), (10, u32::MAX)]);
    }
}
