//! File systems and devices that lead into the kernel: closed by mounts unless their surface is open, whatever the path
//! rules say.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringfence_abi::surface::{CGROUP, IPC, KERNEL_FILES, Surfaces, TUN, USERFAULTFD};

use super::mounts::{Kind, MountPlan, Need};
use crate::confine::error::Error;
use crate::confine::mountinfo::Mount;

/// Types of file systems that cannot be written: to write there is to set the kernel.
const SETTINGS: &[(&str, Surfaces)] = &[
    ("cgroup", CGROUP),
    ("cgroup2", CGROUP),
    ("proc", KERNEL_FILES),
    ("sysfs", KERNEL_FILES),
    ("bpf", KERNEL_FILES),
    ("securityfs", KERNEL_FILES),
    ("debugfs", KERNEL_FILES),
    ("tracefs", KERNEL_FILES),
    ("configfs", KERNEL_FILES),
    ("efivarfs", KERNEL_FILES),
    ("binfmt_misc", KERNEL_FILES),
    ("selinuxfs", KERNEL_FILES),
    ("smackfs", KERNEL_FILES),
    ("pstore", KERNEL_FILES),
    ("resctrl", KERNEL_FILES),
    ("fusectl", KERNEL_FILES),
    ("nfsd", KERNEL_FILES),
    ("xenfs", KERNEL_FILES),
];
/// The file system of the namespace outside, where taking a message needs no right to write.
const MESSAGE_QUEUES: &str = "mqueue";
/// Devices whose calls filters do not see.
const DEVICES: &[(&str, Surfaces)] = &[("/dev/userfaultfd", USERFAULTFD), ("/dev/net/tun", TUN)];

/// Adds to `plan` what keeps the surfaces closed that are not in `open`.
///
/// # Errors
/// If a mount point cannot be a path.
pub(super) fn close(plan: &mut MountPlan, open: Surfaces, mounts: &[Mount]) -> Result<(), Error> {
    let holders: Vec<_> = plan.places().map(|path| holder(mounts, path)).collect();
    for mount in mounts {
        let needed = SETTINGS.iter().find(|(kind, _)| *kind == mount.kind);
        if needed.is_some_and(|(_, surface)| !open.contains(*surface)) {
            plan.freeze(c_path(mount)?, |place| holders[place] == Some(mount));
        }
        if mount.kind == MESSAGE_QUEUES && !open.contains(IPC) {
            plan.hide(c_path(mount)?, Kind::Directory, Need::IfPresent);
        }
    }
    for (path, surface) in DEVICES {
        if !open.contains(*surface) && Path::new(path).exists() {
            let path = CString::new(*path).unwrap_or_default();
            plan.hide(path, Kind::File, Need::IfPresent);
        }
    }
    Ok(())
}

/// The mount that `path` is on.
fn holder<'a>(mounts: &'a [Mount], path: &CStr) -> Option<&'a Mount> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        // Of two at one place, the later covers the earlier.
        .max_by_key(|mount| mount.point.as_os_str().len())
}

fn c_path(mount: &Mount) -> Result<CString, Error> {
    CString::new(mount.point.as_os_str().as_bytes()).map_err(|_| Error::Nul {
        what: "a mount point",
        value: mount.point.clone().into_os_string(),
    })
}
