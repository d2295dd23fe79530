//! The resolver of a container's fence: it answers on loopback of the container's own network namespace.
//!
//! Where the engine has given the container name servers, those are asked, and from where the container is: they may be
//! nowhere else. Who is asked is read once and from the engine's own file, so that neither an image nor the container can
//! choose it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::PathBuf,
};

use ringfence_abi::network as abi;

use crate::{
    command::{Failure, compiled::Source, run},
    confine::{self, Engine},
    kernel,
    network::{Grant, QueryEvent, Resolver, Settings, Sockets, Upstream},
    oci::Bundle,
    policy::{Mode, NetworkPolicy, Policy},
    profile::NamePattern,
};

/// The resolver of one container. It ends with this process.
pub(super) struct Names {
    resolver: Resolver,
    /// What its names of the administrator's are read from: unlinked, so that nobody changes it.
    _hosts: Option<File>,
}

impl Names {
    /// Starts it, if the policy has rules about names or is to tell of them. `connect` makes the kernel send queries there, and
    /// gives what opens addresses.
    pub(super) fn start(
        pid: i32,
        bundle: &Bundle,
        source: &Source,
        policy: &Policy,
        engine: Engine,
        connect: impl FnOnce(
            abi::Resolver,
        )
            -> Result<(kernel::Grants, Result<(), kernel::Error>), kernel::Error>,
    ) -> Result<Option<Self>, Failure> {
        let policies = run::policies(policy, engine);
        let wanted = |policy: &NetworkPolicy| policy.names || policy.mode == Mode::Audit;
        if !policies.iter().any(wanted) {
            return Ok(None);
        }
        let beside = Beside::of(pid, bundle)?;
        let (grants, sent) = connect(beside.place()?)?;
        sent?;
        let effective = source.effective()?;
        let wildcards = run::wildcards(&effective.network, &effective.programs);
        let (resolver, hosts) = beside.start(policies, wildcards, run::granting(grants))?;
        Ok(Some(Self {
            resolver,
            _hosts: hosts,
        }))
    }

    /// Readable when there are events.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.resolver.bell().as_fd()
    }

    /// What it has to tell since the last call, and how much more found no room.
    pub(super) fn events(&self) -> (Vec<QueryEvent>, u64) {
        self.resolver.events()
    }
}

/// A place for a resolver beside a container.
pub(super) struct Beside {
    pid: i32,
    sockets: Sockets,
    hosts: Option<File>,
    servers: Option<Upstream>,
}

impl Beside {
    /// On loopback of the network that the container with this first process has.
    pub(super) fn of(pid: i32, bundle: &Bundle) -> Result<Self, Failure> {
        let failed = |source| Failure::Resolver { source };
        let read = |path: PathBuf| fs::read_to_string(path).map(|text| Upstream::of_text(&text));
        let hosts = bundle.mounted_file(run::HOSTS).map(|path| copy(&path));
        let servers = bundle.mounted_file(run::SERVERS).map(read);
        Ok(Self {
            pid,
            sockets: confine::in_network_of(pid, Sockets::on_loopback)?.map_err(failed)?,
            hosts: hosts.transpose().map_err(failed)?,
            servers: servers.transpose().map_err(failed)?,
        })
    }

    /// Where the kernel is to send queries.
    pub(super) fn place(&self) -> Result<abi::Resolver, Failure> {
        run::place_of_sockets(&self.sockets).map_err(|source| Failure::Resolver { source })
    }

    /// The resolver there, and what has to stay as long as it does.
    pub(super) fn start(
        self,
        policies: Vec<NetworkPolicy>,
        wildcards: Vec<NamePattern>,
        grant: Grant,
    ) -> Result<(Resolver, Option<File>), Failure> {
        let is_inside = self.servers.is_some();
        let settings = Settings {
            policies,
            wildcards,
            hosts: match &self.hosts {
                Some(copy) => PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())),
                None => run::HOSTS.into(),
            },
            upstream: self
                .servers
                .unwrap_or_else(|| Upstream::File(run::SERVERS.into())),
        };
        let sockets = self.sockets;
        let start = || Resolver::start(sockets, settings, grant);
        let resolver = match is_inside {
            true => confine::in_network_of(self.pid, start)?,
            false => start(),
        };
        let resolver = resolver.map_err(|source| Failure::Resolver { source })?;
        Ok((resolver, self.hosts))
    }
}

fn copy(path: &std::path::Path) -> io::Result<File> {
    let mut copy = tempfile::tempfile()?;
    copy.write_all(&fs::read(path)?)?;
    Ok(copy)
}
