//! Whether this kernel and this user can have BPF LSM, and what to do if not.

use std::{fs, sync::OnceLock};

use caps::{CapSet, Capability};
use nix::sys::utsname::uname;

/// Where the kernel lists its security modules.
const MODULES: &str = "/sys/kernel/security/lsm";

/// What decides about the engine, read once.
#[derive(Clone, Debug)]
pub struct Host {
    /// Kernel release, as `uname -r` prints it.
    pub release: String,
    /// Active security modules in their order; `None` if the list cannot be read.
    pub modules: Option<Vec<String>>,
    /// Whether the kernel shows its type information.
    pub has_types: bool,
    /// Whether the process may load and attach such programs.
    pub privileged: bool,
    /// Whether lockdown forbids programs that read kernel memory.
    pub locked_down: bool,
}

impl Host {
    /// The state of this host, as this process has found it.
    #[must_use]
    pub fn probe() -> &'static Self {
        static FOUND: OnceLock<Host> = OnceLock::new();
        FOUND.get_or_init(Self::read)
    }

    fn read() -> Self {
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        Self {
            release: uname().map_or_else(
                |_| String::new(),
                |names| names.release().to_string_lossy().into_owned(),
            ),
            modules: modules(),
            has_types: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
            privileged: privileged(),
            locked_down: lockdown.contains("[confidentiality]"),
        }
    }

    /// The kernel's version as numbers, 6.1.0 as (6, 1).
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        let mut numbers = self
            .release
            .split(|character: char| !character.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// What would have BPF LSM judge here, for who is held to less by the fallback; `refused` says that the kernel has refused its
    /// programs.
    #[must_use]
    pub fn way_to_hooks(&self, refused: bool) -> String {
        let modules = self.modules.iter().flatten();
        let is_listed = modules.into_iter().any(|module| module == "bpf");
        match self.obstacle() {
            _ if refused => {
                "use another kernel or host: this one refuses the programs of BPF LSM".to_owned()
            }
            None => "choose the engine `auto`: this host can have BPF LSM".to_owned(),
            Some(_) if !self.privileged && is_listed => {
                "run as root: `bpf` is in lsm= here".to_owned()
            }
            Some(_) if !self.privileged => {
                "use a kernel that is booted with `bpf` in lsm= and run as root".to_owned()
            }
            Some((_, Some(way))) if is_listed => way,
            Some(_) => "use a kernel that is booted with `bpf` in lsm=".to_owned(),
        }
    }

    /// Why the engine cannot be used here and what to do about it, as far as that can be told without trying.
    #[must_use]
    pub fn obstacle(&self) -> Option<(String, Option<String>)> {
        let listed = self
            .modules
            .as_ref()
            .map(|modules| modules.iter().any(|module| module == "bpf"));
        if !self.privileged {
            return Some((
                "it needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN)".to_owned(),
                Some("run with sudo; the command itself runs as the invoking user".to_owned()),
            ));
        }
        if self.version() < (6, 1) {
            return Some((
                format!(
                    "kernel {} is older than 6.1; before, a program can be skipped while it is already running on the \
                     same processor",
                    self.release
                ),
                Some("use a kernel from 6.1 on".to_owned()),
            ));
        }
        match listed {
            Some(true) => {}
            Some(false) => {
                let mut list = self.modules.clone().unwrap_or_default();
                list.retain(|module| module != "capability");
                list.push("bpf".to_owned());
                return Some((
                    "`bpf` is not among the active security modules".to_owned(),
                    Some(format!(
                        "add `lsm={}` to the kernel command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then \
                         update-grub) and reboot",
                        list.join(",")
                    )),
                ));
            }
            None => {
                return Some((
                    format!("the list of active security modules, {MODULES}, cannot be read"),
                    Some("mount -t securityfs securityfs /sys/kernel/security".to_owned()),
                ));
            }
        }
        if !self.has_types {
            return Some((
                "the kernel does not show its type information".to_owned(),
                Some("use a kernel with CONFIG_DEBUG_INFO_BTF=y".to_owned()),
            ));
        }
        if self.locked_down {
            return Some((
                "lockdown is `confidentiality`, which forbids programs that read kernel memory"
                    .to_owned(),
                Some("boot with lockdown=integrity".to_owned()),
            ));
        }
        None
    }
}

/// The active security modules. Mounts securityfs where root has none: reading it changes nothing else.
fn modules() -> Option<Vec<String>> {
    let list = fs::read_to_string(MODULES).ok().or_else(|| {
        mount_securityfs()?;
        fs::read_to_string(MODULES).ok()
    })?;
    Some(list.trim().split(',').map(str::to_owned).collect())
}

fn mount_securityfs() -> Option<()> {
    nix::mount::mount(
        Some("securityfs"),
        "/sys/kernel/security",
        Some("securityfs"),
        nix::mount::MsFlags::MS_NOSUID
            | nix::mount::MsFlags::MS_NODEV
            | nix::mount::MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .ok()
}

/// Whether the effective capabilities hold CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF, in the initial user namespace: in another one
/// they count for nothing here. Asked once: a process that has given up what it had does not come back to this room.
pub(super) fn privileged() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(has_privileges)
}

fn has_privileges() -> bool {
    const NEEDED: [Capability; 3] = [
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_PERFMON,
        Capability::CAP_BPF,
    ];
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    NEEDED.iter().all(|one| effective.contains(one)) && in_initial_user_namespace()
}

fn in_initial_user_namespace() -> bool {
    // The initial namespace maps the whole range onto itself (kernel/user.c).
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(modules: &[&str]) -> Host {
        Host {
            release: "6.12.3-x".to_owned(),
            modules: Some(modules.iter().map(|&name| name.to_owned()).collect()),
            has_types: true,
            privileged: true,
            locked_down: false,
        }
    }

    #[test]
    fn a_kernel_without_bpf_in_its_list_gets_the_line_to_add() {
        let (reason, remedy) = host(&["lockdown", "capability", "yama"])
            .obstacle()
            .unwrap();
        assert!(reason.contains("`bpf`"), "{reason}");
        assert!(remedy.unwrap().contains("lsm=lockdown,yama,bpf"));
    }

    #[test]
    fn a_kernel_with_everything_has_no_obstacle() {
        assert!(
            host(&["lockdown", "capability", "bpf"])
                .obstacle()
                .is_none()
        );
    }

    #[test]
    fn a_boot_with_bpf_is_advised_only_where_that_would_help() {
        let advises =
            |host: &Host, refused| host.way_to_hooks(refused).contains("booted with `bpf`");
        assert!(advises(&host(&["lockdown"]), false));
        let listed = host(&["lockdown", "bpf"]);
        assert!(!advises(&listed, true) && !advises(&listed, false));
        assert!(listed.way_to_hooks(true).contains("another kernel or host"));
        let user = |modules: &[&str]| Host {
            privileged: false,
            ..host(modules)
        };
        assert!(advises(&user(&["lockdown"]), false));
        assert!(!advises(&user(&["lockdown", "bpf"]), false));
        let old = Host {
            release: "5.15.0".to_owned(),
            ..listed
        };
        assert!(old.way_to_hooks(false).contains("6.1"));
    }

    #[test]
    fn an_old_kernel_is_refused_with_the_reason() {
        let mut old = host(&["bpf"]);
        old.release = "5.15.0-204-generic".to_owned();
        assert!(old.obstacle().unwrap().0.contains("older than 6.1"));
    }
}
