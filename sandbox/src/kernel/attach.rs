//! The programs on a fence's cgroup: which there are, and how they come there.
//!
//! They are attached without a link, so that they hold as long as the cgroup does, whatever becomes of the supervisor, and
//! go with it (kernel/bpf/cgroup.c, `cgroup_bpf_release`): nothing is left to collect.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
};

use aya::{maps::CgroupStorageKey, programs::ProgramInfo};
use aya_obj::generated::bpf_attach_type::{
    self, BPF_CGROUP_INET_EGRESS, BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_SOCK_CREATE,
    BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET4_GETPEERNAME,
    BPF_CGROUP_INET6_BIND, BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_INET6_GETPEERNAME,
    BPF_CGROUP_UDP4_RECVMSG, BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_RECVMSG,
    BPF_CGROUP_UDP6_SENDMSG, BPF_CGROUP_UNIX_CONNECT, BPF_CGROUP_UNIX_SENDMSG,
};

use super::{
    Cgroup, Error,
    engine::{Maps, Role},
    pins::{Pins, STATE},
};
use crate::policy::{Mode, NetworkPolicy, Policy, Sni};

/// A program of the object, and what on a cgroup it is for.
pub(super) type OnCgroup = (&'static str, bpf_attach_type);

/// One that every kernel with programs for addresses on cgroups has.
pub(super) const FIRST: OnCgroup = ("cgroup_connect4", BPF_CGROUP_INET4_CONNECT);

/// What redirects name queries, and the net below.
const ALWAYS: [OnCgroup; 10] = [
    FIRST,
    ("cgroup_connect6", BPF_CGROUP_INET6_CONNECT),
    ("cgroup_sendmsg4", BPF_CGROUP_UDP4_SENDMSG),
    ("cgroup_sendmsg6", BPF_CGROUP_UDP6_SENDMSG),
    ("cgroup_recvmsg4", BPF_CGROUP_UDP4_RECVMSG),
    ("cgroup_recvmsg6", BPF_CGROUP_UDP6_RECVMSG),
    ("cgroup_getpeername4", BPF_CGROUP_INET4_GETPEERNAME),
    ("cgroup_getpeername6", BPF_CGROUP_INET6_GETPEERNAME),
    ("cgroup_egress", BPF_CGROUP_INET_EGRESS),
    ("cgroup_ingress", BPF_CGROUP_INET_INGRESS),
];
/// What looks at how connections begin that a name has opened, behind what judges packets that leave.
const GREETING: OnCgroup = ("cgroup_greeting", BPF_CGROUP_INET_EGRESS);
/// What judges in the place of LSM hooks, besides.
const IN_PLACE_OF_HOOKS: [OnCgroup; 2] = [
    ("cgroup_bind4", BPF_CGROUP_INET4_BIND),
    ("cgroup_bind6", BPF_CGROUP_INET6_BIND),
];
/// What judges whom Unix sockets reach where no hook does (since 6.7).
pub(super) const UNIX: [OnCgroup; 2] = [
    ("cgroup_connect_unix", BPF_CGROUP_UNIX_CONNECT),
    ("cgroup_sendmsg_unix", BPF_CGROUP_UNIX_SENDMSG),
];
/// What counts traffic where somebody asks for it, and judges nothing.
const COUNTING: [OnCgroup; 2] = [
    ("cgroup_count_out", BPF_CGROUP_INET_EGRESS),
    ("cgroup_count_in", BPF_CGROUP_INET_INGRESS),
];
/// What closes sockets that a filter of system calls cannot see being made.
const MAKING: OnCgroup = ("cgroup_sock_create", BPF_CGROUP_INET_SOCK_CREATE);

// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
/// `BPF_F_ALLOW_MULTI`: beside programs of others, above and below.
const BESIDE_OTHERS: u32 = 2;

/// The part of `union bpf_attr` that attaching uses.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// What programs are for: one that the kernel refuses takes this away, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Rules about addresses and hosts.
    Judging,
    /// Counting what passes.
    Counting,
    /// Rules about Unix sockets where no hook judges them.
    Unix,
}

impl Purpose {
    /// What the program `name` is for.
    pub(super) fn of(name: &str) -> Self {
        let is_among = |list: &[OnCgroup]| list.iter().any(|(one, _)| *one == name);
        match () {
            () if is_among(&COUNTING) => Self::Counting,
            () if is_among(&UNIX) => Self::Unix,
            () => Self::Judging,
        }
    }
}

/// Whether a program of the object goes on a cgroup.
pub(super) fn is_for_cgroup(name: &str) -> bool {
    every(Role::Watch).any(|(one, _)| one == name)
}

/// Whether all that a role needs for this is in place.
pub(super) fn is_loaded(pins: &Pins, role: Role, purpose: Purpose) -> bool {
    is_whole(role, purpose, |name| pins.program(name).exists())
}

fn is_whole(role: Role, purpose: Purpose, is_pinned: impl Fn(&str) -> bool) -> bool {
    let mut needed = every(role).filter(|(name, _)| Purpose::of(name) == purpose);
    needed.all(|(name, _)| is_pinned(name))
}

/// Why the kernel has refused one of them, if it has. It will not be otherwise before the next boot, which empties /run.
pub(super) fn refusal(pins: &Pins, purpose: Purpose) -> PathBuf {
    let version = pins.version.file_name().unwrap_or_default();
    let what = match purpose {
        Purpose::Judging => "cgroup",
        Purpose::Counting => "counting",
        Purpose::Unix => "unix",
    };
    let name = format!("refused-{what}-{}", version.to_string_lossy());
    Path::new(STATE).join(name)
}

/// The error of who needs them where they are not in place.
pub(super) fn missing(pins: &Pins, purpose: Purpose) -> Error {
    let reason = fs::read_to_string(refusal(pins, purpose));
    let reason = reason.unwrap_or_else(|_| "they are not there".to_owned());
    match purpose {
        Purpose::Judging => Error::NoNetwork(reason),
        Purpose::Counting => Error::NoCounting(reason),
        Purpose::Unix => Error::NoUnix(reason),
    }
}

/// The programs of a role, whatever they are for.
fn every(role: Role) -> impl Iterator<Item = OnCgroup> {
    let others = match role {
        Role::Judge => None,
        Role::Watch => Some(IN_PLACE_OF_HOOKS.into_iter().chain([MAKING]).chain(UNIX)),
    };
    let others = others.into_iter().flatten();
    let judging = ALWAYS.into_iter().chain([GREETING]);
    judging.chain(others).chain(COUNTING)
}

/// Those that a policy needs on its fence's cgroup.
pub(super) fn needed(role: Role, policy: &Policy) -> Vec<OnCgroup> {
    let network = most(role, policy);
    match (network.mode, network.reaches, role) {
        (Mode::Off, ..) | (Mode::Enforce, false, Role::Judge) => Vec::new(),
        // No socket has anything to redirect or to send.
        (Mode::Enforce, false, Role::Watch) => vec![MAKING],
        (Mode::Enforce | Mode::Audit, ..) => {
            let judges = |one: &OnCgroup| Purpose::of(one.0) == Purpose::Judging;
            let greets =
                restricted(role, policy).any(|network| network.names && network.sni != Sni::Off);
            every(role)
                .filter(judges)
                .filter(|one| *one != GREETING || greets)
                .collect()
        }
    }
}

/// The programs hold for all sockets, so the policy that needs most of them says which: one that reaches anybody, else one that is in
/// audit.
pub(super) fn most(role: Role, policy: &Policy) -> &NetworkPolicy {
    let first =
        |is: fn(&NetworkPolicy) -> bool| restricted(role, policy).find(|network| is(network));
    first(|network| network.reaches)
        .or_else(|| first(|network| network.mode == Mode::Audit))
        .unwrap_or(&policy.network)
}

/// The policies that restrict the network, that at large first. Without hooks programs have none of their own.
fn restricted(role: Role, policy: &Policy) -> impl Iterator<Item = &NetworkPolicy> {
    let programs = policy.programs.iter().map(|program| &program.network);
    let programs = programs.filter(move |_| role == Role::Judge);
    let all = [&policy.network].into_iter().chain(programs);
    all.filter(|network| !network.is_off())
}

/// Whether two policies need the same programs on the cgroup.
pub(super) fn same(role: Role, one: &Policy, other: &Policy) -> bool {
    needed(role, one) == needed(role, other)
}

/// Attaches what counts, behind those that judge.
pub(super) fn attach_counting(
    pins: &Pins,
    maps: &mut Maps,
    cgroup: &Cgroup,
    label: [u8; 8],
) -> Result<(), Error> {
    attach(pins, maps, &COUNTING, cgroup, label)
}

/// Attaches what judges whom Unix sockets reach.
pub(super) fn attach_unix(
    pins: &Pins,
    maps: &mut Maps,
    cgroup: &Cgroup,
    label: [u8; 8],
) -> Result<(), Error> {
    attach(pins, maps, &UNIX, cgroup, label)
}

/// Attaches `programs`, which are those that a policy needs, to a cgroup that no task has made a socket in yet, for the fence that
/// `label` names.
pub(super) fn attach(
    pins: &Pins,
    maps: &mut Maps,
    programs: &[OnCgroup],
    cgroup: &Cgroup,
    label: [u8; 8],
) -> Result<(), Error> {
    if programs.is_empty() {
        return Ok(());
    }
    let directory =
        File::open(&cgroup.directory).map_err(|error| Error::state(&cgroup.directory, error))?;
    for &(name, kind) in programs {
        let refused = |reason: String| Error::Program {
            hook: name.to_owned(),
            reason,
        };
        let program = open(pins, name)?;
        change(PROG_ATTACH, &directory, &program, kind, BESIDE_OTHERS)
            .map_err(|error| refused(format!("it cannot be attached: {error}")))?;
        maps.fence
            .insert(key(cgroup.id, kind), label, 0)
            .map_err(|error| Error::map("write", "FENCE", error))?;
    }
    Ok(())
}

/// Detaches `programs`, and what counts, from a cgroup that is still there. One that is gone has taken its programs with it, but not
/// from sockets that still wait for their last packets: those belong to no fence from here on.
pub(super) fn detach(
    pins: &Pins,
    maps: &mut Maps,
    programs: &[OnCgroup],
    cgroup: &Cgroup,
) -> Result<(), Error> {
    let directory = File::open(&cgroup.directory);
    for &(name, kind) in programs.iter().chain(&COUNTING) {
        // What was not attached has no value.
        let _absent = maps.fence.insert(key(cgroup.id, kind), [0; 8], 0);
        let Ok(directory) = &directory else {
            continue;
        };
        if !pins.program(name).exists() {
            continue;
        }
        match change(PROG_DETACH, directory, &open(pins, name)?, kind, 0) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                return Err(Error::state(&cgroup.directory, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn key(cgroup: u64, kind: bpf_attach_type) -> CgroupStorageKey {
    CgroupStorageKey::new(cgroup, kind as u32)
}

fn open(pins: &Pins, name: &str) -> Result<aya::programs::ProgramFd, Error> {
    let path: &Path = &pins.program(name);
    ProgramInfo::from_pin(path)
        .and_then(|info| info.fd())
        .map_err(|error| Error::pin(path, error))
}

fn change(
    command: libc::c_long,
    directory: &File,
    program: &aya::programs::ProgramFd,
    kind: bpf_attach_type,
    flags: u32,
) -> io::Result<()> {
    let attributes = Attributes {
        target: directory.as_raw_fd().cast_unsigned(),
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        kind: kind as u32,
        flags,
        replaced: 0,
    };
    // SAFETY: the kernel reads the attributes, which outlive the call, and takes references of its own.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if failed < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::selftest;
    use crate::policy::ProgramPolicy;

    #[test]
    fn a_program_that_is_refused_takes_away_what_it_is_for_and_nothing_else() {
        for role in [Role::Judge, Role::Watch] {
            for (refused, _) in every(role) {
                let whole = |purpose| is_whole(role, purpose, |name| name != refused);
                for purpose in [Purpose::Judging, Purpose::Counting, Purpose::Unix] {
                    let is_for_it = Purpose::of(refused) == purpose;
                    let is_had = role == Role::Watch || purpose != Purpose::Unix;
                    assert!(!is_had || whole(purpose) != is_for_it, "{role:?} {refused}");
                }
            }
            assert!(!is_whole(role, Purpose::Judging, |_| false));
            assert!(!is_whole(role, Purpose::Counting, |_| false));
        }
    }

    #[test]
    fn greetings_are_looked_at_where_a_name_opens_an_address() {
        let network = |names, sni| NetworkPolicy {
            reaches: true,
            names,
            sni,
            ..NetworkPolicy::default()
        };
        let policy = |network| Policy {
            network,
            ..selftest::policy()
        };
        let is_read = |role, policy: &Policy| needed(role, policy).contains(&GREETING);
        for role in [Role::Judge, Role::Watch] {
            let is_read = |names, sni| is_read(role, &policy(network(names, sni)));
            assert!(is_read(true, Sni::Required) && is_read(true, Sni::IfPresent));
            assert!(!is_read(true, Sni::Off) && !is_read(false, Sni::IfPresent));
        }
        // A program's name is enough where programs have rules of their own.
        let mut mixed = policy(network(false, Sni::IfPresent));
        mixed.programs = vec![ProgramPolicy {
            path: "/usr/bin/tool".to_owned(),
            files: mixed.files.clone(),
            network: network(true, Sni::IfPresent),
            kernel: mixed.kernel,
        }];
        assert!(is_read(Role::Judge, &mixed));
        assert!(!is_read(Role::Watch, &mixed));
    }

    #[test]
    fn what_judges_in_place_of_hooks_is_needed_where_there_are_none() {
        let but_binding = |role| is_whole(role, Purpose::Judging, |name| name != "cgroup_bind4");
        assert!(but_binding(Role::Judge));
        assert!(!but_binding(Role::Watch));
    }
}
