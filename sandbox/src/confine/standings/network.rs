//! What stands of the network, by what judges it: hooks, programs on the fence's cgroup, or Landlock, which sees the ports
//! of TCP alone.

use ringfence_abi::surface::IO_URING;

use super::super::fallback::{self, Derived, Ports};
use super::super::probe::Probe;
use super::{absent, no_seccomp};
use crate::policy::{Backend, Demand, Grade, Mode, Policy, Protection, Standing};

const NO_CGROUP_PROGRAMS: &str = "rules about addresses and hosts need programs on a cgroup, and so root and a cgroup v2 hierarchy";
const NO_PORTS: &str = "rules about addresses and hosts need programs on a cgroup, and so root and a cgroup v2 hierarchy; rules about TCP \
                        ports of every host need Landlock ABI 4 (Linux 6.7)";
const PORTS_REMEDY: &str =
    "run as root on a cgroup v2 hierarchy, where addresses and names are judged";

/// By whom it is judged whom Unix sockets reach, where no hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::confine) enum UnixSockets {
    /// By Landlock.
    Landlock,
    /// By programs on the cgroup, and the supervisor where a path is passed.
    Supervisor,
    /// They reach anybody.
    Anybody,
    /// None is made but in pairs.
    Nobody,
}

/// Landlock gives what files may be written, and knows no rule about sockets. Where none is about Unix sockets, closing them costs
/// nothing; to have each connection judged does.
pub(in crate::confine) fn unix_sockets(policy: &Policy, probe: &Probe) -> UnixSockets {
    let tolerates = tolerates_unix_sockets(policy);
    let programs = probe.unix_programs.is_ok() && probe.seccomp;
    match () {
        () if programs && policy.network.reaches_unix() => UnixSockets::Supervisor,
        () if fallback::judges_unix_sockets(probe.landlock_abi) => UnixSockets::Landlock,
        () if programs && tolerates => UnixSockets::Supervisor,
        () if tolerates => UnixSockets::Anybody,
        () => UnixSockets::Nobody,
    }
}

/// Whether the fallback engine's supervisor connects Unix sockets.
pub(in crate::confine) fn supervises_unix(policy: &Policy, probe: &Probe) -> bool {
    policy.network.mode == Mode::Enforce && unix_sockets(policy, probe) == UnixSockets::Supervisor
}

/// Whether the policy would rather have Unix sockets than a network fence without a hole.
fn tolerates_unix_sockets(policy: &Policy) -> bool {
    policy.degradation.demand(Protection::Network) != Demand::Required
}

/// Under BPF LSM.
pub(super) fn by_hooks(policy: &Policy, probe: &Probe) -> Standing {
    let protection = Protection::Network;
    let programs = policy.programs.iter().map(|program| &program.network);
    let mut all = programs.chain([&policy.network]);
    if !all.any(|network| network.reaches) {
        return Standing::exact(protection, &[Backend::BpfLsm, Backend::Seccomp]);
    }
    if !probe.cgroup_programs {
        return absent(protection, NO_CGROUP_PROGRAMS, probe);
    }
    let backends = [Backend::BpfLsm, Backend::CgroupBpf, Backend::Seccomp];
    Standing::exact(protection, &backends)
}

/// Under the fallback engine.
pub(super) fn by_fallback(policy: &Policy, probe: &Probe, derived: Option<&Derived>) -> Standing {
    if policy.network.is_off() {
        return Standing::exact(Protection::Network, &[]);
    }
    if let Some(ports) = derived.and_then(|derived| derived.ports.as_ref()) {
        return by_ports(ports, sockets(policy, probe));
    }
    let rules = policy.network.reaches || policy.network.mode == Mode::Audit;
    if rules && !probe.cgroup_programs {
        return absent(Protection::Network, NO_PORTS, probe);
    }
    if policy.network.mode == Mode::Audit {
        return Standing {
            grade: Grade::Weaker,
            reasons: vec!["Unix sockets, and sockets of other families than those of the internet, are not reported in audit mode"
                .to_owned()],
            remedy: Some(probe.way_to_hooks.clone()),
            ..Standing::exact(Protection::Network, &[Backend::CgroupBpf])
        };
    }
    let mut standing = sockets(policy, probe);
    if probe.cgroup_programs && standing.grade < Grade::Absent {
        standing.backends.push(Backend::CgroupBpf);
        standing.backends.sort_unstable();
        standing.backends.dedup();
    }
    standing
}

/// What stands where Landlock judges the ports of TCP; `sockets` is what stands of all others.
fn by_ports(ports: &Ports, sockets: Standing) -> Standing {
    let (weaker, stricter) = (open_besides(ports), closed_besides(ports, &sockets));
    let (grade, mut reasons) = match (&weaker[..], &stricter[..]) {
        ([], []) => (Grade::Exact, weaker),
        ([], _) => (Grade::Stricter, stricter),
        _ => (Grade::Weaker, weaker),
    };
    // What is closed is no news beside what is open.
    if sockets.grade >= grade {
        reasons.extend(sockets.reasons);
    }
    let mut backends = sockets.backends;
    backends.push(Backend::Landlock);
    backends.sort_unstable();
    backends.dedup();
    Standing {
        backends,
        grade: sockets.grade.max(grade),
        reasons,
        remedy: match grade {
            Grade::Exact => sockets.remedy,
            _ => Some(PORTS_REMEDY.to_owned()),
        },
        ..sockets
    }
}

/// What can be done that the rules do not allow.
fn open_besides(ports: &Ports) -> Vec<String> {
    let view = &ports.view;
    let mut reasons = Vec::new();
    if let Some(port) = view.connect.narrower {
        reasons.push(format!(
            "without programs on a cgroup ports are judged, not addresses or names: TCP port {port} is open at every host"
        ));
    }
    if let Some(port) = view.listen.narrower {
        reasons.push(format!("TCP port {port} can be bound at every address"));
    }
    // Only a rule about port 0 of every address allows what the kernel may choose.
    if ports.listen && (!view.listen.contains(0) || view.listen.narrower == Some(0)) {
        reasons.push(
            "a socket that listens without having been bound gets a port of the kernel's choice (a rule `tcp://:0` under \
             listen says so)"
                .to_owned(),
        );
    }
    if ports.datagrams {
        reasons.push("datagrams (UDP, ICMP) reach every host".to_owned());
    } else if let Some(port) = view.datagrams_alone {
        reasons.push(format!(
            "UDP port {port} could only be opened together with all others, of every host"
        ));
    } else if view.echo {
        reasons.push("ICMP could only be opened together with UDP, to every host".to_owned());
    }
    reasons
}

/// What cannot be done that the rules allow.
fn closed_besides(ports: &Ports, sockets: &Standing) -> Vec<String> {
    let mut reasons = Vec::new();
    if !ports.datagrams && (ports.view.datagrams || ports.names) {
        reasons.push(
            "no datagram leaves: no UDP, and so no QUIC and no names but those of /etc/hosts; best-effort opens all"
                .to_owned(),
        );
    }
    // Where Unix sockets are judged by their path, they may be made and could listen.
    if !ports.listen && sockets.backends.contains(&Backend::Landlock) {
        reasons.push("no Unix socket listens either".to_owned());
    }
    reasons
}

/// What stands where rules about addresses are kept, or there are none.
fn sockets(policy: &Policy, probe: &Probe) -> Standing {
    let protection = Protection::Network;
    match () {
        () if policy.kernel.contains(IO_URING) => Standing {
            grade: Grade::Weaker,
            reasons: vec![format!(
                "`io-uring` is open in the profile, and no filter sees the sockets{} that are made through a ring",
                if probe.cgroup_programs {
                    " of other families than those of the internet"
                } else {
                    ""
                }
            )],
            remedy: Some(probe.way_to_hooks.clone()),
            ..Standing::exact(protection, &[Backend::Seccomp])
        },
        () if !probe.seccomp => no_seccomp(protection, probe),
        () => match unix_sockets(policy, probe) {
            UnixSockets::Landlock if policy.network.reaches_unix() => Standing {
                grade: Grade::Stricter,
                reasons: vec!["Landlock lets a Unix socket be reached where its file may be written: a rule under `unix` alone opens none"
                    .to_owned()],
                remedy: Some("allow under files.write what is to be reached".to_owned()),
                ..Standing::exact(protection, &[Backend::Seccomp, Backend::Landlock])
            },
            UnixSockets::Landlock => {
                Standing::exact(protection, &[Backend::Seccomp, Backend::Landlock])
            }
            UnixSockets::Supervisor => Standing {
                grade: Grade::Stricter,
                reasons: vec!["Unix sockets are connected to paths by connect(2) alone, not by datagrams that name one, and a \
                         path of /proc that leads into a process is not followed; an abstract name needs a rule, the \
                         fence's own too"
                    .to_owned()],
                remedy: Some(probe.way_to_hooks.clone()),
                ..Standing::exact(protection, &[Backend::Seccomp, Backend::CgroupBpf])
            },
            UnixSockets::Anybody => Standing {
                grade: Grade::Weaker,
                reasons: vec!["Unix sockets of services can be reached whatever their path".to_owned()],
                remedy: Some(
                    "set protection.network to required, which closes Unix sockets".to_owned(),
                ),
                ..Standing::exact(protection, &[Backend::Seccomp])
            },
            UnixSockets::Nobody => closed_sockets(probe),
        },
    }
}

/// What stands where no Unix socket is made.
fn closed_sockets(probe: &Probe) -> Standing {
    let (reason, remedy) = match &probe.unix_programs {
        Ok(()) => (
            "Unix sockets are closed too (but stream pairs), as no rule under `unix` allows to reach one"
                .to_owned(),
            "name under network.unix whom a Unix socket may reach".to_owned(),
        ),
        Err(why) => (
            format!(
                "Unix sockets are closed too (but stream pairs), because this Landlock cannot tell whom they reach, and {why}"
            ),
            format!("set protection.network to best-effort, or {}", probe.way_to_hooks),
        ),
    };
    Standing {
        grade: Grade::Stricter,
        reasons: vec![reason],
        remedy: Some(remedy),
        ..Standing::exact(Protection::Network, &[Backend::Seccomp])
    }
}
