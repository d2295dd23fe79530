//! What watches a container from outside: a recorder of its cgroup, a resolver in its network, and its mount namespace.

use std::{fs::File, path::PathBuf};

use super::{names::Beside, prepare};
use crate::{
    command::{Failure, learn::Lookup},
    confine::{Namespace, Probe},
    kernel::Recorder,
    oci::{self, Bundle, Container, Held, Host, Left, OwnCgroup, Process, Record, Running},
    policy::{Mode, NetworkPolicy},
    profile::Variables,
    trace::Text,
};

/// Who watches. Dropped, it does no more.
pub(in crate::command) struct Witness {
    pub(in crate::command) recorder: Recorder,
    pub(in crate::command) lookup: Lookup,
    pub(in crate::command) namespace: Namespace,
    pub(in crate::command) about: About,
    pub(in crate::command) stays: Stays,
}

/// What is known of the container.
pub(in crate::command) struct About {
    /// The words of its command.
    pub(in crate::command) words: Vec<Text>,
    /// The values of variables in it.
    pub(in crate::command) variables: Variables,
}

/// What has to be there as long as the container is watched.
pub(in crate::command) struct Stays {
    _held: Held,
    _hosts: Option<File>,
}

impl Witness {
    /// Watches a container from its first program on; `None` if somebody else stays with it already.
    pub(super) fn of_new(
        container: &Container,
        bundle: &Bundle,
        cgroup: &OwnCgroup,
    ) -> Result<Option<Self>, Failure> {
        let begun = Self::around(container, bundle, cgroup)?;
        begun
            .map(|mut witness| {
                witness.recorder.begin_at_exec(cgroup.id())?;
                Ok(witness)
            })
            .transpose()
    }

    /// Watches a container that an engine has made: from now on if it runs, else from its first program on.
    ///
    /// # Errors
    /// If it is fenced or watched, or cannot be.
    pub(in crate::command) fn of_running(running: &Running) -> Result<Self, Failure> {
        let container = &running.container;
        let probe = Probe::new()?;
        let bundle = Bundle::read(&container.bundle)?;
        let refused = |reason: String| oci::Error::Running {
            id: container.id.clone(),
            reason,
        };
        let Some(place) = &probe.cgroup else {
            let reason = "there is no cgroup v2 hierarchy, by which containers are told apart";
            return Err(refused(reason.to_owned()).into());
        };
        let path = bundle.cgroups_path();
        let cgroup = OwnCgroup::of_running(container.pid, place.directory(), path)?;
        if let Some(record) = oci::of_cgroup(cgroup.id())?
            && !record.is_learned
        {
            return Err(refused(format!(
                "it stands behind a fence (profile `{}`), and does no more than that allows; start it by another runtime \
                 to record it",
                record.profile
            ))
            .into());
        }
        let Some(mut witness) = Self::around(container, &bundle, &cgroup)? else {
            return Err(refused("it is recorded already".to_owned()).into());
        };
        witness.recorder.begin_at_exec(cgroup.id())?;
        if running.is_started {
            // Who executes something from now on is taken in by that.
            witness.recorder.take_in_all(&cgroup.processes()?)?;
        }
        Ok(witness)
    }

    fn around(
        container: &Container,
        bundle: &Bundle,
        cgroup: &OwnCgroup,
    ) -> Result<Option<Self>, Failure> {
        let process = bundle.process();
        let Some(held) = Held::keep(cgroup.id(), &record(container, cgroup))? else {
            return Ok(None);
        };
        let mut recorder = Recorder::open()?;
        let beside = Beside::of(container.pid, bundle)?;
        recorder.resolve_by(&beside.place()?)?;
        recorder.begin_network(cgroup.directory())?;
        // Nothing is closed, so that nothing has to be opened.
        let everything = NetworkPolicy {
            mode: Mode::Audit,
            ..NetworkPolicy::default()
        };
        let (resolver, hosts) = beside.start(vec![everything], Vec::new(), Box::new(|_| Ok(())))?;
        Ok(Some(Self {
            recorder,
            lookup: Lookup::by(resolver),
            namespace: Namespace::of(container.pid, &bundle.root())?,
            about: About {
                words: words_of(&process),
                variables: prepare::variables(&process),
            },
            stays: Stays {
                _held: held,
                _hosts: hosts,
            },
        }))
    }
}

/// The container `name`, as [`Running::find`] finds it on this host.
pub(in crate::command) fn running(name: &str, root: Option<&PathBuf>) -> Result<Running, Failure> {
    let host = Host::read()?;
    Ok(Running::find(name, root.map(PathBuf::as_path), &host)?)
}

fn record(container: &Container, cgroup: &OwnCgroup) -> Record {
    Record {
        id: container.id.clone(),
        bundle: container.bundle.clone(),
        cgroup: cgroup.directory().to_owned(),
        profile: String::new(),
        left: Left::default(),
        launcher: false,
        is_learned: true,
    }
}

fn words_of(process: &Process) -> Vec<Text> {
    let words = process.arguments.iter();
    words.map(|word| word.as_bytes().into()).collect()
}
