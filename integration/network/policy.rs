//! Policies of the network that are made by hand: prefixes of the questions of [`ringfence_abi::network`].

use std::net::IpAddr;

use ringfence::policy::{Degradation, FilePolicy, Limits, Mode, NetworkPolicy, Policy, Syscalls};
use ringfence_abi::network::{ABSTRACT, CONNECT, LISTEN, NAME, UNIX};
use ringfence_abi::surface::{NETLINK, Surfaces};

use crate::kit::prefixes;

/// One rule: how a question begins, and what it is accepted with.
pub(super) type Rule = (Vec<u8>, u8);

/// About an address, and in it a protocol and port.
fn address(kind: u8, address: &str, rest: Option<(u8, u16)>, accept: u8) -> Rule {
    let octets = match address.parse().expect("an address") {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let mut prefix = vec![kind];
    prefix.extend(octets);
    if let Some((protocol, port)) = rest {
        prefix.push(protocol);
        prefix.extend(port.to_be_bytes());
    }
    (prefix, accept)
}

/// About a peer.
pub(super) fn connect(to: &str, rest: Option<(u8, u16)>, accept: u8) -> Rule {
    address(CONNECT, to, rest, accept)
}

/// About an address of the fence's own.
pub(super) fn listen(at: &str, rest: Option<(u8, u16)>, accept: u8) -> Rule {
    address(LISTEN, at, rest, accept)
}

/// About a name.
pub(super) fn name(name: &str, protocol: u8, port: u16, accept: u8) -> Rule {
    let mut prefix = vec![NAME];
    prefix.extend(name.as_bytes());
    prefix.extend([0, protocol]);
    prefix.extend(port.to_be_bytes());
    (prefix, accept)
}

/// About a Unix socket with a path.
pub(super) fn unix(path: &str, accept: u8) -> Rule {
    ([&[UNIX], path.as_bytes()].concat(), accept)
}

/// About a Unix socket with an abstract name.
pub(super) fn named(name: &[u8], accept: u8) -> Rule {
    ([&[ABSTRACT], name].concat(), accept)
}

/// All but the network is open; of that, what `rules` say.
pub(super) fn policy(mode: Mode, rules: &[Rule]) -> Policy {
    let reaches = rules
        .iter()
        .any(|(prefix, _)| matches!(prefix[0], CONNECT | LISTEN | NAME));
    Policy {
        profile: "network".to_owned(),
        files: FilePolicy {
            mode: Mode::Off,
            ..FilePolicy::default()
        },
        network: NetworkPolicy {
            mode,
            automaton: prefixes(rules),
            reaches,
            names: rules.iter().any(|(prefix, _)| prefix[0] == NAME),
            ..NetworkPolicy::default()
        },
        capabilities: ["net_raw", "net_admin", "net_bind_service", "dac_override"]
            .map(str::to_owned)
            .to_vec(),
        // All but netlink, which is a matter of the network here.
        kernel: Surfaces(!NETLINK.0),
        syscalls: Syscalls::Default,
        privilege_gain: false,
        programs: Vec::new(),
        limits: Limits::default(),
        degradation: Degradation::default(),
    }
}
