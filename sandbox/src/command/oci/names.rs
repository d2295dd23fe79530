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
    command::{Failure, run},
    confine::{self, Engine},
    kernel,
    network::{QueryEvent, Resolver, Settings, Sockets, Upstream},
    oci::Bundle,
    policy::{Mode, NetworkPolicy, Policy},
    profile::Effective,
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
        effective: &Effective,
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
        let failed = |source| Failure::Resolver { source };
        let sockets = confine::in_network_of(pid, Sockets::on_loopback)?.map_err(failed)?;
        let (grants, sent) = connect(run::place_of_sockets(&sockets).map_err(failed)?)?;
        sent?;
        let hosts = bundle.mounted_file(run::HOSTS).map(|path| copy(&path));
        let hosts = hosts.transpose().map_err(failed)?;
        let servers = bundle.mounted_file(run::SERVERS);
        let is_inside = servers.is_some();
        let settings = Settings {
            policies,
            wildcards: run::wildcards(&effective.network, &effective.programs),
            hosts: match &hosts {
                Some(copy) => PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())),
                None => run::HOSTS.into(),
            },
            upstream: match servers {
                Some(path) => Upstream::of_text(&fs::read_to_string(path).map_err(failed)?),
                None => Upstream::File(run::SERVERS.into()),
            },
        };
        let start = || Resolver::start(sockets, settings, run::granting(grants));
        let resolver = match is_inside {
            true => confine::in_network_of(pid, start)?,
            false => start(),
        };
        Ok(Some(Self {
            resolver: resolver.map_err(failed)?,
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

fn copy(path: &std::path::Path) -> io::Result<File> {
    let mut copy = tempfile::tempfile()?;
    copy.write_all(&fs::read(path)?)?;
    Ok(copy)
}
