//! The fence's resolver beside the run: started before the command, told of, and ended after it.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Mutex, PoisonError},
};

use ringfence_abi::{automaton::DEAD, network as abi};

use super::{
    engine::{Enforcer, Watch},
    prepare::Prepared,
};
use crate::{
    command::Failure,
    confine, kernel,
    network::{Grant, QueryEvent, Resolver, Settings, Sockets, Upstream},
    policy::{Mode, NetworkPolicy, Policy},
    profile::{About, Host, NamePattern, NetworkRight, NetworkRule, Program},
};

/// The names of the host's administrator.
pub(in crate::command) const HOSTS: &str = "/etc/hosts";
/// The servers that the host itself asks.
pub(in crate::command) const SERVERS: &str = "/etc/resolv.conf";

/// The resolver of one run.
pub(super) struct Names {
    resolver: Resolver,
}

impl Names {
    /// Starts it and sends the fence's queries there, if the policy has rules about names, or is to tell of them. To be
    /// called when the fence stands and before its command runs.
    pub(super) fn start(
        prepared: &Prepared,
        enforcer: &mut Enforcer,
        watch: Option<&Watch>,
    ) -> Result<Option<Self>, Failure> {
        let policies = policies(&prepared.policy, enforcer.engine());
        let wanted = |policy: &NetworkPolicy| policy.names || policy.mode == Mode::Audit;
        let Some(watch) = watch.filter(|_| enforcer.has_network() && policies.iter().any(wanted))
        else {
            return Ok(None);
        };
        let failed = |source| Failure::Resolver { source };
        let effective = prepared.source.effective()?;
        let sockets = Sockets::on_loopback().map_err(failed)?;
        let settings = Settings {
            policies,
            wildcards: wildcards(&effective.network, &effective.programs),
            hosts: HOSTS.into(),
            upstream: Upstream::File(SERVERS.into()),
        };
        let grant = granting(enforcer.grants(watch)?);
        let resolver = Resolver::start(sockets, settings, grant).map_err(failed)?;
        enforcer.resolve_by(watch, place(&resolver))?;
        Ok(Some(Self { resolver }))
    }

    /// Readable when there are events.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.resolver.bell().as_fd()
    }

    /// What it has to tell since the last call, and how much more found no room.
    pub(super) fn events(&self) -> (Vec<QueryEvent>, u64) {
        self.resolver.events()
    }

    /// The names that led to `address`.
    pub(super) fn of(&self, address: IpAddr) -> BTreeSet<String> {
        self.resolver.names(address)
    }

    /// Ends it.
    pub(super) fn stop(self) {
        self.resolver.stop();
    }
}

/// The policies that tasks of the fence can have. Without hooks rights do not change at exec.
pub(in crate::command) fn policies(policy: &Policy, engine: confine::Engine) -> Vec<NetworkPolicy> {
    let programs = policy.programs.iter().map(|program| &program.network);
    let programs = programs.filter(|_| engine == confine::Engine::BpfLsm);
    [&policy.network]
        .into_iter()
        .chain(programs)
        .cloned()
        .collect()
}

/// The wildcards of all rules that let names be resolved.
pub(in crate::command) fn wildcards(
    rules: &[NetworkRule],
    programs: &[Program],
) -> Vec<NamePattern> {
    let pattern = |rule: &NetworkRule| match &rule.about {
        About::Peer(peer) if rule.right == NetworkRight::Connect => match &peer.host {
            Host::Name(pattern) if pattern.is_wildcard() => Some(pattern.clone()),
            _ => None,
        },
        _ => None,
    };
    let own = rules.iter().filter_map(pattern);
    let inner = programs
        .iter()
        .flat_map(|program| wildcards(&program.sections.network, &program.sections.programs));
    let all: BTreeSet<_> = own.chain(inner).collect();
    all.into_iter().collect()
}

/// What opens an address in the kernel.
pub(in crate::command) fn granting(grants: kernel::Grants) -> Grant {
    let grants = Mutex::new(grants);
    Box::new(move |opened| {
        let mut grants = grants.lock().unwrap_or_else(PoisonError::into_inner);
        let program = u8::try_from(opened.policy).map_err(|error| error.to_string())?;
        let states: Vec<_> = opened
            .states
            .into_iter()
            .filter(|&state| state != DEAD)
            .collect();
        let done = if opened.lifetime.is_zero() {
            grants.revoke(program, opened.address)
        } else {
            grants.grant(program, opened.address, &states, opened.lifetime)
        };
        done.map_err(|error| error.to_string())
    })
}

/// Where the kernel sends the queries.
pub(in crate::command) fn place(resolver: &Resolver) -> abi::Resolver {
    place_of(resolver.addresses())
}

/// The same of one that is not started yet.
pub(in crate::command) fn place_of_sockets(sockets: &Sockets) -> io::Result<abi::Resolver> {
    let addresses: Result<Vec<_>, _> = sockets.udp.iter().map(UdpSocket::local_addr).collect();
    Ok(place_of(&addresses?))
}

fn place_of(addresses: &[SocketAddr]) -> abi::Resolver {
    let mut place = abi::Resolver::default();
    for address in addresses {
        place.port = address.port();
        match address.ip() {
            IpAddr::V4(address) => place.address4 = address.octets(),
            IpAddr::V6(address) => place.address6 = address.octets(),
        }
    }
    place
}
