//! What this kernel gives this user: asked of the kernel by trying, never concluded from a version. That both namespaces and a process
//! file system of a fence's own can be had is remembered, as long as nothing changes by which they are given.

use std::ffi::c_int;
use std::fs;
use std::hash::Hash as _;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::act;
use super::capabilities;
use super::cgroup::CgroupPlace;
use super::error::Error;
use super::fallback::OwnProc;
use super::fallback::mounts::MountPlan;
use super::mountinfo;
use super::step::{Step, UserMap};
use crate::policy::{Key, KeyHasher, Memory};

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
    /// Whether programs on the fence's cgroup judge Unix sockets by the addresses that are passed, or why not; likewise.
    pub unix_programs: Result<(), String>,
    /// What would have BPF LSM judge in the fallback's place; likewise.
    pub way_to_hooks: String,
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
        let mut probe = Self::without_namespaces()?;
        probe.try_namespaces()?.end(&mut probe)?;
        Ok(probe)
    }

    /// Asks for all but namespaces, which only the fallback engine uses: none are said to be had.
    ///
    /// # Errors
    /// If /proc cannot be read.
    pub fn without_namespaces() -> Result<Self, Error> {
        Ok(Self {
            landlock_abi: landlock_abi(),
            seccomp: seccomp(),
            namespaces: Namespaces::None { errno: 0 },
            own_proc: false,
            cgroup_programs: false,
            unix_programs: Err(
                "programs on a cgroup need root and a cgroup v2 hierarchy".to_owned()
            ),
            way_to_hooks: "use a kernel that is booted with `bpf` in lsm= and run as root"
                .to_owned(),
            cgroup: CgroupPlace::find()?,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        })
    }

    /// Begins to find out which namespaces can be had.
    ///
    /// # Errors
    /// If no process can be started.
    pub fn try_namespaces(&self) -> Result<Trial, Error> {
        Trial::begin(self.uid, self.gid)
    }

    /// The same, unless `memory` holds that everything could be had: the trial has ended then. It may be otherwise by now, so who fails to
    /// launch is to [`forget`](Probe::forget_namespaces) it.
    ///
    /// # Errors
    /// As [`Probe::try_namespaces`].
    pub fn try_namespaces_remembering(
        &mut self,
        memory: Memory<'_>,
    ) -> Result<Option<Trial>, Error> {
        let recalled = circumstances(self).and_then(|key| (memory.recall)(&key));
        if recalled.as_deref() != Some(HAD) {
            return self.try_namespaces().map(Some);
        }
        self.namespaces = Namespaces::Mount;
        self.own_proc = true;
        Ok(None)
    }

    /// Keeps that everything could be had, if it could.
    pub fn keep_namespaces(&self, memory: Memory<'_>) {
        if self.namespaces == Namespaces::Mount
            && self.own_proc
            && let Some(key) = circumstances(self)
        {
            (memory.keep)(&key, HAD);
        }
    }

    /// Has the next one try again.
    pub fn forget_namespaces(&self, memory: Memory<'_>) {
        if let Some(key) = circumstances(self) {
            (memory.keep)(&key, &[]);
        }
    }
}

/// What is kept where everything could be had.
const HAD: &[u8] = b"all";

/// What decides whether namespaces can be had, as far as it can be seen: this boot, who asks and from which namespaces, with which
/// capabilities and filters, under which label of a security module. `None` where it cannot.
fn circumstances(probe: &Probe) -> Option<Key> {
    let mut hasher = KeyHasher::new(concat!("namespaces-", env!("CARGO_PKG_VERSION")));
    (probe.uid, probe.gid).hash(&mut hasher);
    for link in ["/proc/self/ns/user", "/proc/self/ns/mnt", "/proc/self/root"] {
        fs::read_link(link).ok()?.hash(&mut hasher);
    }
    // Without a security module that gives labels there is none.
    fs::read("/proc/self/attr/current").ok().hash(&mut hasher);
    fs::read("/proc/sys/kernel/random/boot_id")
        .ok()?
        .hash(&mut hasher);
    for limit in ["max_mnt_namespaces", "max_ipc_namespaces"] {
        let path = format!("/proc/sys/user/{limit}");
        fs::read(path).ok().hash(&mut hasher);
    }
    let status = mountinfo::read("/proc/self/status").ok()?;
    let told = status.split(|&byte| byte == b'\n').filter(|line| {
        ["Cap", "Seccomp", "NoNewPrivs"]
            .iter()
            .any(|name| line.starts_with(name.as_bytes()))
    });
    told.collect::<Vec<_>>().hash(&mut hasher);
    Some(hasher.key())
}

/// Children that try namespaces, since one that was entered is not left again. The kernel takes its time to take one down:
/// meanwhile there is other work to do.
#[derive(Debug)]
#[must_use = "its answer is what it is for"]
pub struct Trial {
    child: Pid,
    by_privilege: bool,
    user_steps: [Step; 2],
    own_proc: Option<Pid>,
}

impl Trial {
    /// The flags are tried as well: where a security module restricts user namespaces, making one succeeds and gives
    /// nothing.
    fn begin(uid: u32, gid: u32) -> Result<Self, Error> {
        const SYS_ADMIN: u64 = 1 << 21;
        let map = UserMap::own(uid, gid, true);
        let user_steps = [Step::UserNamespace(Box::new(map)), everything()];
        let by_privilege = capabilities::permitted() & SYS_ADMIN != 0;
        let child = if by_privilege {
            start(&[Step::MountNamespace { ipc: true }, everything()])?
        } else {
            start(&user_steps)?
        };
        Ok(Self {
            child,
            by_privilege,
            user_steps,
            own_proc: match by_privilege {
                true => try_own_proc()?,
                false => None,
            },
        })
    }

    /// Waits for the answers, and puts them into `probe`.
    ///
    /// # Errors
    /// If a child cannot be waited for, or another one not be started.
    pub fn end(self, probe: &mut Probe) -> Result<(), Error> {
        let own_proc = self.own_proc.map(answer).transpose()? == Some(0);
        probe.namespaces = match (answer(self.child)?, self.by_privilege) {
            (0, true) => Namespaces::Mount,
            (0, false) => Namespaces::User,
            (errno, false) => Namespaces::None { errno },
            (first, true) => match answer(start(&self.user_steps)?)? {
                0 => Namespaces::User,
                errno if first == libc::EPERM => Namespaces::None { errno },
                _ => Namespaces::None { errno: first },
            },
        };
        probe.own_proc = own_proc && probe.namespaces == Namespaces::Mount;
        Ok(())
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

/// Tries whether the kernel lets links be covered, where it makes such a file system.
fn try_own_proc() -> Result<Option<Pid>, Error> {
    let Ok(own_proc) = OwnProc::beside() else {
        return Ok(None);
    };
    let mut plan = MountPlan::everything_closed();
    plan.show_own(own_proc);
    let steps = [
        Step::MountNamespace { ipc: false },
        Step::Mounts(Box::new(plan)),
    ];
    start(&steps).map(Some)
}

fn everything() -> Step {
    Step::Mounts(Box::new(MountPlan::everything_closed()))
}

/// Starts a child that does the steps.
fn start(steps: &[Step]) -> Result<Pid, Error> {
    // SAFETY: the child does prepared steps by system calls alone and ends.
    match unsafe { fork() }.map_err(failed("start a process to try namespaces in"))? {
        ForkResult::Child => {
            let tried = steps.iter().try_for_each(act::perform);
            act::end(tried.err().unwrap_or(0))
        }
        ForkResult::Parent { child } => Ok(child),
    }
}

/// What became of the steps: 0 or errno.
fn answer(child: Pid) -> Result<c_int, Error> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(..)) => return Ok(libc::EPERM),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(failed("wait for a process that tried namespaces")(errno));
            }
        }
    }
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::System {
        what,
        source: errno.into(),
    }
}
