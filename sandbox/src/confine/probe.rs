//! What this kernel gives this user: asked of the kernel by trying, never concluded from a version.

use std::ffi::c_int;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::act;
use super::capabilities;
use super::cgroup::CgroupPlace;
use super::error::Error;
use super::fallback::OwnProc;
use super::fallback::mounts::MountPlan;
use super::step::{Step, UserMap};

/// What can be had for a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Landlock's ABI version; 0 is none.
    pub landlock_abi: u32,
    /// Whether seccomp filters can be loaded.
    pub seccomp: bool,
    /// Which mount namespaces can be had.
    pub namespaces: Namespaces,
    /// Whether tasks can be given a process file system that shows themselves.
    pub own_proc: bool,
    /// Whether programs on the fence's cgroup judge addresses: the kernel room knows, and its answer is put in here.
    pub cgroup_programs: bool,
    /// Where cgroups can be made, if anywhere.
    pub cgroup: Option<CgroupPlace>,
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
}

/// How a mount namespace can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// By privilege.
    Mount,
    /// In a user namespace.
    User,
    /// Not at all.
    None {
        /// The kernel's answer to the attempt.
        errno: i32,
    },
}

impl Probe {
    /// Asks the kernel.
    ///
    /// # Errors
    /// If /proc cannot be read or no process can be started.
    pub fn new() -> Result<Self, Error> {
        let uid = nix::unistd::geteuid().as_raw();
        let gid = nix::unistd::getegid().as_raw();
        let namespaces = namespaces(uid, gid)?;
        Ok(Self {
            landlock_abi: landlock_abi(),
            seccomp: seccomp(),
            own_proc: namespaces == Namespaces::Mount && own_proc()?,
            namespaces,
            cgroup_programs: false,
            cgroup: CgroupPlace::find()?,
            uid,
            gid,
        })
    }
}

fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with the version flag the kernel takes no attributes and answers with a number.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            VERSION,
        )
    };
    u32::try_from(answer).unwrap_or(0)
}

fn seccomp() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one word on this stack and says whether it knows the action.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    answer == 0
}

/// Tries in a child, since a namespace that was entered is not left again. The flags are tried as well: where a
/// security module restricts user namespaces, making one succeeds and gives nothing.
fn namespaces(uid: u32, gid: u32) -> Result<Namespaces, Error> {
    const SYS_ADMIN: u64 = 1 << 21;
    let mut answer = libc::EPERM;
    if capabilities::permitted() & SYS_ADMIN != 0 {
        answer = attempt(&[Step::MountNamespace { ipc: true }, everything()])?;
        if answer == 0 {
            return Ok(Namespaces::Mount);
        }
    }
    let map = UserMap::own(uid, gid, true);
    match attempt(&[Step::UserNamespace(Box::new(map)), everything()])? {
        0 => Ok(Namespaces::User),
        errno if answer == libc::EPERM => Ok(Namespaces::None { errno }),
        _ => Ok(Namespaces::None { errno: answer }),
    }
}

/// Whether the kernel lets links be covered, besides making such a file system.
fn own_proc() -> Result<bool, Error> {
    let Ok(own_proc) = OwnProc::new() else {
        return Ok(false);
    };
    let mut plan = MountPlan::everything_closed();
    plan.show_own(own_proc);
    let steps = [
        Step::MountNamespace { ipc: false },
        Step::Mounts(Box::new(plan)),
    ];
    Ok(attempt(&steps)? == 0)
}

fn everything() -> Step {
    Step::Mounts(Box::new(MountPlan::everything_closed()))
}

/// Does the steps in a child; 0 or errno.
fn attempt(steps: &[Step]) -> Result<c_int, Error> {
    let failed = |what| {
        move |errno: nix::errno::Errno| Error::System {
            what,
            source: errno.into(),
        }
    };
    // SAFETY: the child does prepared steps by system calls alone and ends.
    match unsafe { fork() }.map_err(failed("start a process to try namespaces in"))? {
        ForkResult::Child => {
            let mut answer = 0;
            for step in steps {
                if let Err(errno) = act::perform(step) {
                    answer = errno;
                    break;
                }
            }
            act::end(answer)
        }
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(code),
                Ok(WaitStatus::Signaled(..)) => return Ok(libc::EPERM),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => {
                    return Err(failed("wait for a process that tried namespaces")(errno));
                }
            }
        },
    }
}
