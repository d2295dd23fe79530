//! Rules about addresses behind the fallback engine: a filter closes what the programs on the cgroup do not see, and those
//! judge the rest.

use std::net::{Ipv4Addr, TcpListener};

use ringfence::confine::{Engine, Plan, Probe};
use ringfence::kernel;
use ringfence::policy::{Backend, FilePolicy, Grade, Mode, NetworkPolicy, Protection, Standing};
use ringfence_abi::network::{ALLOW, CONNECT, TCP};

use crate::kit::{is_root, policy, request};

#[path = "../kit/prefixes.rs"]
mod prefixes;

/// One line an act, and how it ends: 0, or an errno.
const ACTS: &str = "
import socket, sys
def end(act):
    try:
        act()
        return 0
    except OSError as error:
        return error.errno
open_port, shut_port = map(int, sys.argv[1:])
found = [
    end(lambda: socket.create_connection(('127.0.0.1', open_port), 3)),
    end(lambda: socket.create_connection(('127.0.0.1', shut_port), 3)),
    end(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    end(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)),
    end(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
    end(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)),
    end(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)),
    # UDP-Lite, which not every kernel has.
    end(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)) or 'made',
]
if found[:7] != [0, 1, 13, 13, 13, 13, 0] or found[7] == 'made':
    sys.exit(repr(found))
";

/// One peer may be reached; files are another test's.
fn reaching(port: u16) -> ringfence::policy::Policy {
    let mut rule = vec![CONNECT];
    rule.extend(Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
    rule.push(TCP);
    rule.extend(port.to_be_bytes());
    let mut policy = policy(&[]);
    policy.files = FilePolicy {
        mode: Mode::Off,
        ..FilePolicy::default()
    };
    policy.network = NetworkPolicy {
        automaton: prefixes::prefixes(&[(rule, ALLOW)]),
        reaches: true,
        ..NetworkPolicy::none()
    };
    policy
}

fn network(standings: &[Standing]) -> &Standing {
    let found = standings
        .iter()
        .find(|standing| standing.protection == Protection::Network);
    found.unwrap()
}

#[test]
fn rules_about_addresses_are_refused_where_nobody_keeps_them() {
    let probe = Probe::new().unwrap();
    let policy = reaching(1);
    for engine in [Engine::Fallback, Engine::BpfLsm] {
        let plan = Plan::new(&request("true", &[]), &policy, engine, &probe).unwrap();
        let grade = network(plan.standings()).grade;
        match engine {
            Engine::BpfLsm => assert_eq!(grade, Grade::Absent),
            // Landlock may judge ports, which is less than addresses.
            Engine::Fallback => assert!(grade >= Grade::Weaker, "{grade:?}"),
        }
        assert_eq!(policy.degradation.refused(plan.standings()).len(), 1);
    }
}

#[test]
fn the_filter_and_the_programs_on_the_cgroup_keep_rules_about_addresses() {
    let mut probe = Probe::new().unwrap();
    if !is_root() || probe.cgroup.is_none() {
        eprintln!("skipped: needs root and a cgroup2 hierarchy");
        return;
    }
    probe.cgroup_programs = true;
    let listeners = [0, 1].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let [open, shut] = [0, 1].map(|which: usize| listeners[which].local_addr().unwrap().port());
    let policy = reaching(open);
    let request = request(
        "/usr/bin/python3",
        &["-IS", "-c", ACTS, &open.to_string(), &shut.to_string()],
    );
    let plan = Plan::new(&request, &policy, Engine::Fallback, &probe).unwrap();
    let standing = network(plan.standings());
    assert!(standing.grade <= Grade::Stricter, "{standing:?}");
    assert!(
        standing.backends.contains(&Backend::CgroupBpf),
        "{standing:?}"
    );
    let launched = plan.launch().unwrap();
    let mut engine = kernel::Engine::open_watch().unwrap();
    let cgroup = launched.cgroup().unwrap();
    let cgroup = kernel::Cgroup {
        directory: cgroup.directory().to_owned(),
        id: cgroup.id(),
    };
    let fence = engine.install(&policy, &cgroup).unwrap();
    let exit = launched.release().unwrap().wait(&[], |_| true).unwrap();
    fence.remove(&mut engine).unwrap();
    assert_eq!(exit.code, 0);
}
