//! `ringfence oci monitor`: owns the fence of one container, writes down its denials, and takes it down when nobody is left.
//!
//! Killed, it leaves the fence standing; a later run collects it once the container's cgroup is empty.

use std::{
    io::{self, Read as _},
    os::fd::AsFd as _,
};

use serde::{Deserialize, Serialize};

use super::{choice, log::Log, prepare, standing};
use crate::{
    command::{
        Failure,
        run::{self, Line},
        told::Told,
    },
    compile::Explainer,
    confine::Probe,
    kernel::{self, Events, Fence, Subject},
    oci::{Bundle, Container, Detached, Held, Host, OwnCgroup, Record},
};

/// What the monitor answers when the fence stands; anything else is the reason why it does not.
pub(super) const FENCED: &str = "fenced";

/// What the hook asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The container.
    pub(super) container: Container,
    /// The profile if it names none.
    pub(super) profile: Option<String>,
}

/// A fence around a container.
struct Enclosure {
    engine: kernel::Engine,
    fence: Fence,
    events: Events,
    cgroup: OwnCgroup,
    explainer: Explainer,
    log: Log,
    told: Told,
    held: Held,
}

/// Sets the fence up that the request on standard input asks for, answers on standard output, and stays until the container is
/// gone.
///
/// # Errors
/// If the fence cannot stand; the answer says why.
pub fn monitor() -> Result<u8, Failure> {
    let mut request = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut request)
        .map_err(|source| Failure::Unknown {
            what: "which container is meant",
            source,
        })?;
    let request: Request = serde_json::from_slice(&request)
        .map_err(|error| Failure::Argument(format!("the request makes no sense: {error}")))?;
    let detached = Detached::detach()?;
    match Enclosure::around(&request) {
        Ok(enclosure) => {
            let told = detached.report(FENCED);
            let Some(enclosure) = enclosure else {
                return Ok(told.map(|()| 0)?);
            };
            match told {
                Ok(()) => enclosure.stay()?,
                // The hook is gone, and with it who would have started the container.
                Err(error) => {
                    enclosure.end()?;
                    return Err(error.into());
                }
            }
            Ok(0)
        }
        Err(failure) => {
            detached.report(&failure.to_string())?;
            Err(failure)
        }
    }
}

impl Enclosure {
    /// `None` if the fence stands already: the same hook can be in the bundle and in the engine's folder of hooks.
    fn around(request: &Request) -> Result<Option<Self>, Failure> {
        let container = &request.container;
        let host = Host::read()?;
        let bundle = Bundle::read(&container.bundle)?;
        let choice = choice::choose(&host, &container.annotations, request.profile.as_deref())?;
        let probe = Probe::new()?;
        let cgroup = own_cgroup(container, &probe)?;
        let (effective, policy, explainer) = prepare::compile(container, &bundle, &choice)?;
        let standings = standing::of(&policy, prepare::opened(&effective), &bundle, &probe)?;
        let refused = policy.degradation.refused(&standings);
        if !refused.is_empty() {
            return Err(Failure::Refused(refused.into_iter().cloned().collect()));
        }
        let record = Record {
            id: container.id.clone(),
            bundle: container.bundle.clone(),
            cgroup: cgroup.directory().to_owned(),
            profile: choice.name,
            capabilities: effective.capabilities,
            privilege_gain: effective.privilege_gain,
        };
        let Some(held) = Held::keep(cgroup.id(), &record)? else {
            return Ok(None);
        };
        let log = Log::begin(&record, cgroup.id(), &standings)?;
        let mut engine = run::open_engine(&probe)?;
        let mut fence = engine.install(
            &policy,
            &kernel::Cgroup {
                directory: cgroup.directory().to_owned(),
                id: cgroup.id(),
            },
        )?;
        let Some(events) = fence.events() else {
            fence.remove(&mut engine)?;
            return Err(Failure::Argument("the fence has no events".to_owned()));
        };
        let subject = Subject::Container(container.id.clone());
        let told = match Told::begin(&fence, &policy.profile, subject) {
            Ok(told) => told,
            Err(failure) => {
                fence.remove(&mut engine)?;
                return Err(failure);
            }
        };
        Ok(Some(Self {
            engine,
            fence,
            events,
            cgroup,
            explainer,
            log,
            told,
            held,
        }))
    }

    fn stay(mut self) -> Result<(), Failure> {
        loop {
            // Asked before the events are read: those of the last task are read, too.
            let empty = self.cgroup.is_empty();
            self.drain();
            if empty {
                return self.end();
            }
            self.cgroup.wait(self.events.as_fd())?;
        }
    }

    fn drain(&mut self) {
        self.told.look();
        while let Some(event) = self.events.next_event() {
            match event {
                Ok(event) => {
                    self.told.event(&Line::of(&event, &[]));
                    self.log.event(&event, &self.explainer);
                }
                Err(_) => self.log.malformed(),
            }
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        let totals = self.fence.totals(&self.engine)?;
        self.log.end(totals);
        self.told.end(totals);
        let removed = self.fence.remove(&mut self.engine);
        drop(self.held);
        Ok(removed?)
    }
}

fn own_cgroup(container: &Container, probe: &Probe) -> Result<OwnCgroup, Failure> {
    let place = probe.cgroup.as_ref().ok_or_else(|| {
        Failure::Argument(
            "there is no cgroup v2 hierarchy, by which containers are told apart".to_owned(),
        )
    })?;
    Ok(OwnCgroup::of(container.pid, place.directory())?)
}
