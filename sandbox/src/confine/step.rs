//! The list of things that happen between fork and exec, prepared to the last byte, and printable.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

use super::capabilities;
use super::fallback::mounts::MountPlan;
use super::seccomp::{Program, Telling};
use crate::policy::number_of;

/// One thing that the launched process does to itself. What a step needs was allocated, opened and looked up before.
#[derive(Debug)]
pub(super) enum Step {
    /// Becomes the leader of a process group of its own, in the foreground of this terminal if one is given.
    ProcessGroup {
        /// Descriptor of the controlling terminal.
        terminal: Option<RawFd>,
    },
    /// Gives the signals whose actions this process has changed what the caller has for them (an exec does away with handlers, but
    /// until then they would run), and unblocks all.
    Signals {
        /// Those that the caller ignores, as a mask with bit `n - 1` for signal `n`.
        ignored: u64,
    },
    /// Leaves the caller's session keyring for a new one.
    SessionKeyring,
    /// Makes a user namespace with the caller as its only user, and a mount namespace in it.
    UserNamespace(Box<UserMap>),
    /// Makes a mount namespace.
    MountNamespace {
        /// Whether an IPC namespace is made as well.
        ipc: bool,
    },
    /// Makes everything read-only and not executable but what is listed.
    Mounts(Box<MountPlan>),
    /// Limits a resource of each process.
    Limit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Its name.
        name: &'static str,
        /// Soft and hard limit.
        value: u64,
    },
    /// Takes all but `kept` out of the capability bounding set.
    Bounding {
        /// Mask.
        kept: u64,
    },
    /// Becomes another user.
    User {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
        /// Whether capabilities outlast the change, to be cut down to those kept by the next step.
        keep_capabilities: bool,
    },
    /// Holds `kept` and no other capability; `ambient` ones outlast the exec of a user that is not root.
    Capabilities {
        /// Permitted, effective and inheritable mask.
        kept: u64,
        /// Ambient mask.
        ambient: u64,
        /// Permitted and effective besides, until the exec takes it: not inheritable, not in the bounding set.
        until_exec: u64,
    },
    /// Never gains a privilege by exec again.
    NoNewPrivileges,
    /// Enters a Landlock domain.
    Landlock {
        /// The ruleset.
        ruleset: OwnedFd,
        /// How many paths it lists.
        paths: usize,
        /// How many TCP ports.
        ports: usize,
        /// Rights to add, to directories that the mounts have made the fence's own.
        own: Vec<(&'static CStr, u64)>,
    },
    /// Closes every descriptor but 0 to 2 and those kept.
    CloseDescriptors {
        /// Ranges to close, both ends included.
        ranges: Vec<(u32, u32)>,
        /// Descriptors of the caller that stay.
        kept: Vec<RawFd>,
    },
    /// Goes to the working directory.
    Directory(CString),
    /// Closes system calls.
    Seccomp(Program),
    /// Closes system calls, and has the supervisor asked: of those that are closed, or before a socket is connected.
    Notifications {
        /// What notifies, and what follows it.
        programs: Telling,
        /// What closes as much and asks nobody, where the kernel has no listener for it.
        otherwise: Option<Vec<Program>>,
        /// Socket by which the listener is handed to the supervisor.
        channel: RawFd,
    },
    /// Becomes the command.
    Exec(Box<Execution>),
}

/// The identity maps of a user namespace, as the kernel reads them.
#[derive(Debug)]
pub(super) struct UserMap {
    pub(super) uid_map: Vec<u8>,
    pub(super) gid_map: Vec<u8>,
    pub(super) uid: u32,
    /// Whether an IPC namespace is made as well.
    pub(super) ipc: bool,
}

impl UserMap {
    /// Maps one user and group to themselves: the command sees its own ids, everybody else's as `nobody`.
    pub(super) fn own(uid: u32, gid: u32, ipc: bool) -> Self {
        Self {
            ipc,
            uid_map: format!("{uid} {uid} 1\n").into_bytes(),
            gid_map: format!("{gid} {gid} 1\n").into_bytes(),
            uid,
        }
    }
}

/// What execve(2) takes.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) path: CString,
    /// Kept alive for `argument_pointers`.
    pub(super) arguments: Vec<CString>,
    /// Kept alive for `environment_pointers`.
    _environment: Vec<CString>,
    pub(super) argument_pointers: Pointers,
    pub(super) environment_pointers: Pointers,
}

/// A null-terminated array of C strings that another field owns.
#[derive(Debug)]
pub(super) struct Pointers(Vec<*const c_char>);

// SAFETY: the strings pointed to are owned by the same `Execution`, never changed, and freed with it.
unsafe impl Send for Pointers {}
// SAFETY: as above; nothing is mutable through it.
unsafe impl Sync for Pointers {}

impl Pointers {
    /// The heap buffer of a `CString` stays where it is when the `CString` moves.
    fn to(strings: &[CString]) -> Self {
        let ends = std::iter::once(std::ptr::null());
        Self(
            strings
                .iter()
                .map(|string| string.as_ptr())
                .chain(ends)
                .collect(),
        )
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.0.as_ptr()
    }
}

impl Execution {
    /// `arguments` starts with the program's name as it is to see it.
    pub(super) fn new(path: CString, arguments: Vec<CString>, environment: Vec<CString>) -> Self {
        Self {
            path,
            argument_pointers: Pointers::to(&arguments),
            environment_pointers: Pointers::to(&environment),
            arguments,
            _environment: environment,
        }
    }
}

impl Step {
    /// Whether the launch goes on if this step fails with `errno`; the caller is told all the same.
    pub(super) fn is_optional(&self, errno: i32) -> bool {
        // Kernels without CONFIG_KEYS, and containers whose own filter closes keyctl.
        matches!(self, Self::SessionKeyring) && matches!(errno, libc::ENOSYS | libc::EPERM)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcessGroup { terminal: None } => out.write_str("new process group"),
            Self::ProcessGroup { terminal: Some(_) } => {
                out.write_str("new process group in the foreground of the terminal")
            }
            Self::Signals { ignored } => write!(out, "default signals (ignored: {ignored:#x})"),
            Self::SessionKeyring => out.write_str("new session keyring"),
            Self::UserNamespace(map) => {
                write!(out, "user and mount namespace of uid {}", map.uid)
            }
            Self::MountNamespace { ipc: false } => out.write_str("mount namespace"),
            Self::MountNamespace { ipc: true } => out.write_str("mount and IPC namespace"),
            Self::Mounts(plan) => plan.fmt(out),
            Self::Limit { name, value, .. } => write!(out, "limit {name} to {value}"),
            Self::Bounding { kept } => {
                write!(
                    out,
                    "capability bounding set {}",
                    Listed(capabilities::names(*kept))
                )
            }
            Self::User {
                uid, gid, groups, ..
            } => {
                write!(
                    out,
                    "user {uid}, group {gid}, groups {}",
                    Listed(groups.clone())
                )
            }
            Self::Capabilities {
                kept,
                ambient,
                until_exec,
            } => {
                write!(
                    out,
                    "capabilities {}, ambient {}",
                    Listed(capabilities::names(*kept)),
                    Listed(capabilities::names(*ambient)),
                )?;
                if *until_exec != 0 {
                    let until_exec = Listed(capabilities::names(*until_exec));
                    write!(out, ", until the exec {until_exec}")?;
                }
                Ok(())
            }
            Self::NoNewPrivileges => out.write_str("no new privileges"),
            Self::Landlock {
                paths, ports: 0, ..
            } => {
                write!(
                    out,
                    "landlock domain of {}",
                    number_of(*paths, "path", "paths")
                )
            }
            Self::Landlock { paths, ports, .. } => {
                write!(
                    out,
                    "landlock domain of {} and {}",
                    number_of(*paths, "path", "paths"),
                    number_of(*ports, "TCP port", "TCP ports")
                )
            }
            Self::CloseDescriptors { kept, .. } => {
                write!(
                    out,
                    "close descriptors but 0-2 and {}",
                    Listed(kept.clone())
                )
            }
            Self::Directory(path) => write!(out, "working directory {}", shown(path)),
            Self::Seccomp(program) => {
                write!(out, "seccomp filter of {} instructions", program.len())
            }
            Self::Notifications { programs, .. } => write!(
                out,
                "seccomp filter of {} instructions that asks the supervisor",
                programs.len()
            ),
            Self::Exec(execution) => {
                write!(out, "exec {}", shown(&execution.path))?;
                for argument in execution.arguments.iter().skip(1) {
                    write!(out, " {:?}", argument.to_string_lossy())?;
                }
                Ok(())
            }
        }
    }
}

fn shown(path: &CString) -> std::path::Display<'_> {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())).display()
}

/// A list in brackets.
struct Listed<T>(Vec<T>);

impl<T: fmt::Display> fmt::Display for Listed<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[")?;
        for (position, item) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { " " };
            write!(out, "{separator}{item}")?;
        }
        out.write_str("]")
    }
}
