//! What can go wrong while a command is put behind a fence: a variant for each step, each with the thing it failed on.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Why a command was not launched, or a running one not followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such program; exit code 127.
    #[error(
        "{} was not found in the PATH of the fence; name it by its path or add its directory to PATH",
        .command.display()
    )]
    ProgramNotFound {
        /// As typed.
        command: OsString,
    },
    /// There is such a file, but it cannot be run; exit code 126.
    #[error("{} cannot be run: {reason}", .path.display())]
    ProgramNotRunnable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The working directory is not one.
    #[error("cannot use {} as the working directory of the fence", .path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A string that the kernel takes as a C string has a NUL in it.
    #[error("{what} contains a NUL byte: {}", .value.display())]
    Nul {
        /// Argument, variable or path.
        what: &'static str,
        /// The whole of it.
        value: OsString,
    },
    /// `--keep-fd` of a descriptor that the caller did not pass.
    #[error(
        "descriptor {fd} was not passed to ringfence, so it cannot be kept; redirect to it in the shell first"
    )]
    KeepFd {
        /// The number.
        fd: i32,
    },
    /// A step of fencing a container from outside.
    #[error("cannot {what} of the container: {source}")]
    Container {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The directory in the container that the launcher is to be in.
    #[error("{} in the container is not the empty directory that its runtime was to make: {reason}", .path.display())]
    LauncherPlace {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A user that does not exist.
    #[error("there is no user {name:?}; give a name of the user database, or uid[:gid] in numbers")]
    UnknownUser {
        /// As typed.
        name: String,
    },
    /// The user database could not be read.
    #[error("cannot read the user database for {name:?}")]
    UserDatabase {
        /// User name or number.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Only root can become somebody else.
    #[error(
        "only root can run a command as another user (asked for uid {uid}, running as {own}); use sudo, or leave --user out"
    )]
    ForeignUser {
        /// The user that was asked for.
        uid: u32,
        /// The caller.
        own: u32,
    },
    /// A capability name that this kernel does not have.
    #[error(
        "there is no capability {name:?}; names are those of capabilities(7), in lower case without `cap_`"
    )]
    UnknownCapability {
        /// As the policy has it.
        name: String,
    },
    /// The mount table could not be read.
    #[error("cannot read {path}; is /proc mounted?")]
    Proc {
        /// The file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A cgroup operation failed.
    #[error("cannot {what} cgroup {}", .path.display())]
    Cgroup {
        /// The operation.
        what: &'static str,
        /// The cgroup's directory or file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The private temporary directory.
    #[error("cannot make a private directory in {}", .path.display())]
    Temporary {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The fence's tasks are still there although they were killed.
    #[error("tasks in cgroup {} did not end within {seconds} s of SIGKILL; look at its cgroup.procs", .path.display())]
    CgroupBusy {
        /// The cgroup's directory.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The seccomp filter could not be built.
    #[error("cannot add the rule for system call {syscall} to the seccomp filter")]
    SeccompRule {
        /// The system call, or what else was being set.
        syscall: String,
        /// libseccomp's answer.
        source: libseccomp::error::SeccompError,
    },
    /// Privileges may be gained by exec, and the fence could not stand then.
    #[error(
        "allow-privilege-gain needs a caller with the capabilities SYS_ADMIN and SETPCAP outside of any user namespace of the fence's own: run as \
         root, with --user for the command"
    )]
    PrivilegeGain,
    /// A system call that the table names is not known to libseccomp, and the table has no number for it.
    #[error("libseccomp does not know the system call {syscall}; install a newer libseccomp")]
    UnknownSyscall {
        /// Its name.
        syscall: String,
    },
    /// The seccomp filter could not be written out.
    #[error("cannot export the seccomp filter")]
    SeccompExport {
        /// The system's answer.
        source: io::Error,
    },
    /// More instructions than the kernel takes.
    #[error(
        "the seccomp filter has {instructions} instructions, the kernel takes 4096; list fewer system calls"
    )]
    SeccompSize {
        /// Count.
        instructions: usize,
    },
    /// Neither engine can hold the file rules.
    #[error(
        "this kernel has neither BPF LSM nor Landlock: file rules cannot be enforced; boot with `landlock` in lsm=, or with `bpf` if the kernel takes programs for it, or switch files off"
    )]
    NoLandlock,
    /// The Landlock ruleset could not be made.
    #[error("cannot build the Landlock ruleset")]
    Ruleset {
        /// Landlock's answer.
        source: landlock::RulesetError,
    },
    /// A path rule could not be added.
    #[error("cannot add {} to the Landlock ruleset", .path.display())]
    RulesetPath {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file rules need more of the file system listed than is sensible.
    #[error(
        "without BPF LSM the file rules have to be spelled out against what exists, and below {} that is more than {limit}; \
         make the rules there cover whole directories (`/**`), or use a kernel with BPF LSM",
        .path.display()
    )]
    WalkTooLarge {
        /// The directory whose listing is the trouble.
        path: PathBuf,
        /// What was exceeded.
        limit: String,
    },
    /// A descriptor, pipe or process could not be had.
    #[error("cannot {what}")]
    System {
        /// The operation.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A step between fork and exec failed.
    #[error("the fence could not be set up: {step}")]
    Step {
        /// The step, as the plan prints it.
        step: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The child ended before it reached exec, without saying why.
    #[error("the fenced process was ended before it could start the command ({status})")]
    LauncherEnded {
        /// Wait status in words.
        status: String,
    },
    /// Neither the command nor its cgroup can be followed any more.
    #[error("lost track of process {pid}")]
    Lost {
        /// The command's process.
        pid: i32,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// The exit code that stands for this error: 127 not found, 126 not runnable, 125 the fence itself failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ProgramNotFound { .. } => 127,
            Self::ProgramNotRunnable { .. } => 126,
            _ => 125,
        }
    }
}
