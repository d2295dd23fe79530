//! What the walk found, as a Landlock ruleset. Rights by ABI: Documentation/userspace-api/landlock.rst.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use ringfence_abi::rights::{EXEC, READ, WRITE};
use ringfence_abi::surface::{SIGNALS, Surfaces};

use super::Ports;
use super::carve::Unmade;
use super::found::{Grant, LIST};
use crate::confine::act::check;
use crate::confine::error::Error;

/// The first ABI with a right to reach Unix sockets.
pub(super) const ABI_RESOLVE_UNIX: u32 = 9;
/// The first ABI with scopes.
const ABI_SCOPE: u32 = 6;
/// The first ABI with rights about the network.
const ABI_NETWORK: u32 = 4;

/// Every right to make a name in a directory; a rename or link into it takes the right for the kind of file as well
/// (security/landlock/fs.c, 6.12: `get_mode_access`).
const MAKING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    MakeChar | MakeDir | MakeReg | MakeSock | MakeFifo | MakeBlock | MakeSym
});

/// The ruleset that allows `grants`, and to read and list what is below the fence's own `proc`, and nothing else; and how many paths
/// it lists.
pub(super) fn build(
    abi: u32,
    scopes: BitFlags<Scope>,
    grants: &[Grant],
    ports: Option<&Ports>,
    proc: Option<BorrowedFd<'_>>,
) -> Result<(OwnedFd, usize), Error> {
    let version = version(abi);
    let ruleset = create(version, scopes, AccessFs::from_all(version), ports)?;
    let ruleset = descriptor(ruleset)?;
    let mut paths = 0;
    for grant in grants {
        let access = access(grant, version);
        if access.is_empty() {
            continue;
        }
        // Gone since the walk: that denies more, not less.
        let Some(file) = open(&grant.path, grant.directory)? else {
            continue;
        };
        allow(ruleset.as_fd(), file.as_fd(), access).map_err(|source| Error::RulesetPath {
            path: grant.path.clone(),
            source,
        })?;
        paths += 1;
    }
    if let Some(root) = proc {
        let access = access(&own(READ | LIST), version);
        allow(ruleset.as_fd(), root, access).map_err(|source| Error::System {
            what: "allow what is in a file system of the fence's own",
            source,
        })?;
    }
    Ok((ruleset, paths))
}

/// The rights to a directory of the fence's own, to be added by [`allow_below`]. They hold for what is mounted into it too, so the one to
/// reach sockets of others is none of them: those of the fence itself are reached without.
pub(super) fn of_own(abi: u32, rights: u8) -> u64 {
    let access = access(&own(rights), version(abi));
    (access & !BitFlags::from(AccessFs::ResolveUnix)).bits()
}

/// A root of the fence's own, which the walk has not found.
fn own(rights: u8) -> Grant {
    Grant {
        path: PathBuf::new(),
        rights,
        directory: true,
        unmade: Unmade::Nothing,
    }
}

/// Adds a rule about a directory that has been mounted only now. Runs between fork and exec.
pub(in crate::confine) fn allow_below(
    ruleset: BorrowedFd<'_>,
    directory: &CStr,
    access: u64,
) -> Result<(), c_int> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: a C string that the caller owns, and flags.
    let root = unsafe { libc::open(directory.as_ptr(), flags) };
    check(root.into())?;
    let added = add(ruleset.as_raw_fd(), root, access);
    // SAFETY: a descriptor that was opened above; the rule holds what it is of.
    unsafe { libc::close(root) };
    added
}

/// `struct landlock_path_beneath_attr` (include/uapi/linux/landlock.h).
#[repr(C, packed)]
struct PathBeneathAttribute {
    allowed_access: u64,
    parent_fd: RawFd,
}

/// `LANDLOCK_RULE_PATH_BENEATH`.
const RULE_PATH_BENEATH: libc::c_int = 1;

/// Adds a rule. The library asks of every file whether it is a directory first, which the walk has found out and the kernel looks
/// at by itself: it refuses a directory's rights for what is none (security/landlock/fs.c, 6.12: `landlock_append_fs_rule`), and
/// any right that the ruleset does not handle (security/landlock/syscalls.c: `add_rule_path_beneath`).
fn allow(
    ruleset: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    access: BitFlags<AccessFs>,
) -> io::Result<()> {
    add(ruleset.as_raw_fd(), file.as_raw_fd(), access.bits()).map_err(io::Error::from_raw_os_error)
}

fn add(ruleset: RawFd, file: RawFd, allowed_access: u64) -> Result<(), c_int> {
    let attribute = PathBeneathAttribute {
        allowed_access,
        parent_fd: file,
    };
    // SAFETY: the kernel copies the structure, which outlives the call, and refuses numbers that are no such descriptors.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset,
            RULE_PATH_BENEATH,
            &raw const attribute,
            0,
        )
    })
}

/// A domain for a policy without file rules: it keeps tasks outside from being traced, and signalled from ABI 6 on.
pub(super) fn without_files(
    abi: u32,
    scopes: BitFlags<Scope>,
    ports: Option<&Ports>,
) -> Result<(OwnedFd, usize), Error> {
    let version = version(abi);
    // A ruleset that handles nothing is refused (ENOMSG), so it handles one right and gives it to all.
    let ruleset = create(version, scopes, AccessFs::Execute.into(), ports)?;
    let Some(root) = open(Path::new("/"), true)? else {
        return Err(Error::NoLandlock);
    };
    let ruleset = ruleset
        .add_rule(PathBeneath::new(root, AccessFs::Execute))
        .map_err(|source| Error::Ruleset { source })?;
    Ok((descriptor(ruleset)?, 1))
}

/// A domain as numbers, for a launcher in a container to build.
#[derive(Debug)]
pub(in crate::confine) struct Domain {
    /// `handled_access_fs`.
    pub(in crate::confine) handled: u64,
    /// `scoped`.
    pub(in crate::confine) scoped: u64,
    /// Bytes of `struct landlock_ruleset_attr` that this kernel knows.
    pub(in crate::confine) attribute_bytes: u64,
    /// Rights and the paths that they are for.
    pub(in crate::confine) rules: Vec<(u64, PathBuf)>,
}

/// The same as [`build`], or without grants [`without_files`], written down.
pub(super) fn domain(abi: u32, scopes: BitFlags<Scope>, grants: Option<&[Grant]>) -> Domain {
    let version = version(abi);
    let handled = match grants {
        Some(_) => AccessFs::from_all(version),
        None => AccessFs::Execute.into(),
    };
    let rules = match grants {
        Some(grants) => grants
            .iter()
            .map(|grant| (access(grant, version).bits(), grant.path.clone()))
            .filter(|(access, _)| *access != 0)
            .collect(),
        None => vec![(handled.bits(), PathBuf::from("/"))],
    };
    Domain {
        handled: handled.bits(),
        scoped: scopes.bits(),
        attribute_bytes: match abi {
            0..ABI_NETWORK => 8,
            ABI_NETWORK..ABI_SCOPE => 16,
            _ => 24,
        },
        rules,
    }
}

/// What is kept inside: signals, and connections to abstract names, which is more than rules about names ask for. Where somebody
/// else judges those, Landlock does not.
pub(super) fn scopes(abi: u32, surfaces: Surfaces, judges_names: bool) -> BitFlags<Scope> {
    let mut scopes = Scope::from_all(version(abi));
    if surfaces.contains(SIGNALS) {
        scopes.remove(Scope::Signal);
    }
    if judges_names {
        scopes.remove(Scope::AbstractUnixSocket);
    }
    scopes
}

fn version(abi: u32) -> ABI {
    ABI::from(i32::try_from(abi).unwrap_or(i32::MAX))
}

fn create(
    version: ABI,
    scopes: BitFlags<Scope>,
    handled: BitFlags<AccessFs>,
    ports: Option<&Ports>,
) -> Result<RulesetCreated, Error> {
    let ruleset = || -> Result<_, RulesetError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(handled)?;
        // `scope` refuses an empty set.
        if version as u32 >= ABI_SCOPE && !scopes.is_empty() {
            ruleset = ruleset.scope(scopes)?;
        }
        let judged = ports.map_or(&[][..], |ports| &ports.judged[..]);
        for (access, _) in judged {
            ruleset = ruleset.handle_access(*access)?;
        }
        let mut ruleset = ruleset.create()?;
        for (access, ports) in judged {
            for &port in ports {
                ruleset = ruleset.add_rule(NetPort::new(port, *access))?;
            }
        }
        Ok(ruleset)
    };
    ruleset().map_err(|source| Error::Ruleset { source })
}

fn descriptor(ruleset: RulesetCreated) -> Result<OwnedFd, Error> {
    Option::from(ruleset).ok_or(Error::NoLandlock)
}

/// Policy rights as Landlock's. A program is opened for reading to be executed (fs/exec.c: `do_open_execat`), so
/// executing brings reading with it.
fn access(grant: &Grant, version: ABI) -> BitFlags<AccessFs> {
    let has = |right| grant.rights & right != 0;
    let mut access = BitFlags::empty();
    if has(READ) {
        access |= AccessFs::ReadFile | AccessFs::IoctlDev;
    }
    if has(LIST) {
        access |= AccessFs::ReadDir;
    }
    if has(WRITE) {
        // Reaching a socket asks for the right to write to it, as the file's mode bits do.
        access |= AccessFs::from_write(version) | AccessFs::IoctlDev | AccessFs::ResolveUnix;
    }
    if has(EXEC) {
        access |= AccessFs::Execute | AccessFs::ReadFile;
    }
    access &= AccessFs::from_all(version);
    access &= !match grant.unmade {
        Unmade::Nothing => BitFlags::empty(),
        Unmade::Directories => AccessFs::MakeDir.into(),
        Unmade::Anything => MAKING,
    };
    if !grant.directory {
        access &= AccessFs::from_file(version);
    }
    access
}

/// A handle for a path without any symbolic link, as the walk saw it; `None` if there is no such file now, or no directory where one
/// was.
fn open(path: &Path, directory: bool) -> Result<Option<OwnedFd>, Error> {
    let kind = match directory {
        true => OFlag::O_DIRECTORY,
        false => OFlag::empty(),
    };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | kind)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(nix::fcntl::AT_FDCWD, path, how) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(errno) => Err(Error::RulesetPath {
            path: path.to_path_buf(),
            source: io::Error::from(errno),
        }),
    }
}
