//! The resolver of a recording: every name is looked up, and what led where is kept.

use std::{collections::BTreeSet, net::IpAddr, os::fd::BorrowedFd};

use ringfence_abi::network as abi;

use crate::{
    command::{
        Failure,
        run::{HOSTS, SERVERS, place_of},
    },
    network::{QueryCause, Resolver, Settings, Sockets, Upstream},
    policy::{Mode, NetworkPolicy},
    trace::Trace,
};

/// The resolver, and the names that it was asked for.
pub(in crate::command) struct Lookup {
    resolver: Resolver,
    asked: BTreeSet<String>,
    /// Queries that were not told of, or not answered as without ringfence.
    lost: u64,
    /// Whether it answers in the network of this process.
    is_here: bool,
}

impl Lookup {
    /// Starts it.
    pub(super) fn start() -> Result<Self, Failure> {
        let failed = |source| Failure::Resolver { source };
        let settings = Settings {
            policies: vec![NetworkPolicy {
                mode: Mode::Audit,
                ..NetworkPolicy::default()
            }],
            wildcards: Vec::new(),
            hosts: HOSTS.into(),
            upstream: Upstream::File(SERVERS.into()),
        };
        let sockets = Sockets::on_loopback().map_err(failed)?;
        // Nothing is closed, so that nothing has to be opened.
        let resolver = Resolver::start(sockets, settings, Box::new(|_| Ok(()))).map_err(failed)?;
        Ok(Self {
            is_here: true,
            ..Self::by(resolver)
        })
    }

    /// By a resolver that was started elsewhere; it lets every name through.
    pub(in crate::command) fn by(resolver: Resolver) -> Self {
        Self {
            resolver,
            asked: BTreeSet::new(),
            lost: 0,
            is_here: false,
        }
    }

    /// Where the kernel sends the queries.
    pub(super) fn place(&self) -> abi::Resolver {
        place_of(&self.resolver)
    }

    /// Readable when there is something to [`Lookup::take`].
    pub(in crate::command) fn bell(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.resolver.bell().as_fd()
    }

    /// Takes in what was asked since the last call.
    pub(in crate::command) fn take(&mut self) {
        let (events, lost) = self.resolver.events();
        self.lost += lost;
        for event in events {
            match event.cause {
                QueryCause::Audited => {
                    self.asked.insert(event.name);
                }
                // Without ringfence it would have had an answer.
                QueryCause::TooManyQueries | QueryCause::TooManyAddresses(_) => self.lost += 1,
                _ => {}
            }
        }
    }

    /// Adds to each peer of `trace` the names that led there, and ends.
    pub(in crate::command) fn finish(mut self, trace: &mut Trace) {
        self.take();
        let resolver = &self.resolver;
        let inside = |address| resolver.leads_inside(address);
        name_peers(
            trace,
            &self.asked,
            |address| resolver.names(address),
            inside,
        );
        trace.end.names = self.asked;
        if self.lost != 0 {
            let reason = "asked for a name and found no room".to_owned();
            trace.end.lost.insert(reason, self.lost);
        }
        // Connections from here do not wake what waits in another network; that ends with its process.
        if self.is_here {
            self.resolver.stop();
        }
    }
}

/// Adds to each peer that `trace` has reached the `names` that led there, and whether it lies `inside`.
pub(super) fn name_peers(
    trace: &mut Trace,
    asked: &BTreeSet<String>,
    names: impl Fn(IpAddr) -> BTreeSet<String>,
    inside: impl Fn(IpAddr) -> bool,
) {
    for record in &mut trace.records {
        let Some(peer) = &mut record.peer else {
            continue;
        };
        if ![CONNECT, SEND].contains(&record.what.as_str()) {
            continue;
        }
        peer.names = names(peer.address);
        // What the hosts file says of loopback is said of every host.
        if peer.address.is_loopback() {
            peer.names.retain(|name| asked.contains(name));
        }
        peer.inside = inside(peer.address);
    }
}

const CONNECT: &str = "connect";
const SEND: &str = "send";
