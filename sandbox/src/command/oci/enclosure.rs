//! The fence of one container while it stands: set up, listened to, taken down.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use super::{
    log::{self, Log},
    names::Names,
    prepare,
    ready::{Ready, open},
    standing,
};
use crate::{
    command::{
        Failure,
        compiled::Source,
        run::{self, Line},
        told::Told,
    },
    compile::{Entry, Explainer},
    confine::{self, Around, Engine, Gate, Probe},
    event::Event,
    kernel::{self, Events, Fence, Subject, Totals},
    oci::{Container, Held, Launcher, Left, Meeting, OwnCgroup, Process, Record, Root},
    policy::{Policy, Standing},
};

/// How often programs are looked for that somebody else has unloaded.
const ATTEMPTS: u32 = 5;

/// A fence around a container.
pub(super) struct Enclosure {
    /// What judges in the kernel, or watches; a container of the fallback engine can do without.
    judge: Option<Judge>,
    /// The container of the fallback engine whose command has not been started.
    gate: Option<Gate>,
    /// Whether that has been opened.
    has_passed: bool,
    /// Its first process, as long as it is not known to have ended.
    first: Option<confine::Process>,
    /// Its root from then on.
    root: Option<Root>,
    pid: i32,
    names: Option<Names>,
    /// Seconds that it may take, as long as it has not started.
    time: Option<u64>,
    /// When its time is up, when it has.
    deadline: Option<Instant>,
    cgroup: OwnCgroup,
    source: Source,
    log: Log,
    held: Held,
    /// Where the hook of a container that has gone waits, if it knows where.
    meeting: Option<Meeting>,
}

/// The programs of one fence.
struct Judge {
    engine: kernel::Engine,
    fence: Fence,
    events: Events,
    told: Told,
}

/// A container with all that is known before anything is changed for it.
struct Prepared {
    ready: Ready,
    process: Process,
    policy: Policy,
    source: Source,
}

impl Enclosure {
    /// `None` if the fence stands already: the same hook can be in the bundle and in the engine's folder of hooks.
    pub(super) fn around(
        container: &Container,
        ready: Ready,
        meeting: Option<Meeting>,
    ) -> Result<Option<Self>, Failure> {
        let first = confine::Process::of(container.pid)?;
        let cgroup = own_cgroup(container, &ready.probe)?;
        let mut prepared = Prepared::of(container, ready)?;
        let (contained, standings) = prepared.stand(container)?;
        let refused = prepared.policy.degradation.refused(&standings);
        if !refused.is_empty() {
            return Err(Failure::Refused(refused.into_iter().cloned().collect()));
        }
        let record = prepared.record(container, &cgroup);
        let Some(held) = Held::keep(cgroup.id(), &record)? else {
            return Ok(None);
        };
        let blind = prepared.ready.blind.as_deref();
        let log = Log::begin(&record, cgroup.id(), &standings, blind)?;
        let gate = contained.map(confine::Container::place).transpose()?;
        let engine = prepared.ready.engine.take();
        let Ready {
            ref probe,
            ref bundle,
            fallback,
            ..
        } = prepared.ready;
        let again = || match fallback {
            false => open(probe),
            true => Ok(kernel::Engine::open_watch()?),
        };
        let judge = engine
            .map(|engine| Judge::install(engine, &prepared.policy, &cgroup, &container.id, again));
        let judge = judge.transpose()?;
        let mut enclosure = Self {
            judge,
            gate,
            has_passed: false,
            first: Some(first),
            root: None,
            pid: container.pid,
            names: None,
            time: prepared.policy.limits.wall_seconds,
            deadline: None,
            cgroup,
            source: prepared.source,
            log,
            held,
            meeting,
        };
        let judge = enclosure.judge.as_mut();
        let names = judge.map(|judge| {
            let engine = match fallback {
                true => Engine::Fallback,
                false => Engine::BpfLsm,
            };
            Names::start(
                container.pid,
                bundle,
                &enclosure.source,
                &prepared.policy,
                engine,
                |resolver| {
                    let grants = judge.fence.grants(&judge.engine)?;
                    Ok((
                        grants,
                        judge.fence.set_resolver(&mut judge.engine, resolver),
                    ))
                },
            )
        });
        match names.transpose() {
            Ok(names) => enclosure.names = names.flatten(),
            Err(failure) => {
                enclosure.end()?;
                return Err(failure);
            }
        }
        Ok(Some(enclosure))
    }

    /// Until the container is gone.
    pub(super) fn stay(mut self) -> Result<(), Failure> {
        loop {
            // Asked before the events are read: those of the last task are read, too.
            let empty = self.cgroup.is_empty();
            self.drain();
            self.pass()?;
            self.keep_time()?;
            if empty {
                return self.end();
            }
            let gate = self.gate.as_ref().map(|gate| gate.as_fd());
            let events = self.judge.as_ref().map(|judge| judge.events.as_fd());
            let queries = self.names.as_ref().map(Names::bell);
            let first = self.first.as_ref().map(|first| first.as_fd());
            let all = [first, gate, events, queries].into_iter().flatten();
            let all: Vec<BorrowedFd<'_>> = all.collect();
            self.cgroup.wait(&all)?;
            if self.first.take_if(|first| first.has_ended()).is_some() {
                self.cgroup.expect_end();
            }
        }
    }

    /// Ends a container whose time is up. It runs from the moment on that the first of its programs is fenced.
    fn keep_time(&mut self) -> Result<(), Failure> {
        if let Some(seconds) = self.time
            && self.has_started()?
        {
            self.time = None;
            self.deadline = Instant::now().checked_add(Duration::from_secs(seconds));
        }
        let is_up = |deadline: &mut Instant| Instant::now() >= *deadline;
        match self.deadline.take_if(is_up) {
            Some(_) => Ok(self.cgroup.kill()?),
            None => Ok(()),
        }
    }

    fn has_started(&self) -> Result<bool, Failure> {
        match &self.judge {
            _ if self.has_passed => Ok(true),
            Some(judge) => Ok(judge.fence.totals(&judge.engine)?.tasks > 0),
            None => Ok(false),
        }
    }

    /// Lets the container's command start, when its runtime has done all it does and the launcher asks.
    fn pass(&mut self) -> Result<(), Failure> {
        let Some(gate) = self.gate.take() else {
            return Ok(());
        };
        if !gate.is_called()? {
            self.gate = Some(gate);
            return Ok(());
        }
        self.root = Root::of(self.pid, "/".as_ref()).ok();
        // One that is not opened is closed for good: the launcher finds nothing, says so, and ends.
        match gate.open() {
            Ok(()) => self.has_passed = true,
            Err(error) => self.log.failed(&error.to_string()),
        }
        Ok(())
    }

    fn drain(&mut self) {
        if let Some(judge) = &mut self.judge {
            judge.told.look();
        }
        while let Some(event) = self
            .judge
            .as_mut()
            .and_then(|judge| judge.events.next_event())
        {
            match event {
                // What the runtime does in the container before its command starts is not the container's.
                Ok(_) if self.gate.is_some() => {}
                Ok(event) => {
                    // The rules could be read when the policy was made of them.
                    let Ok(explainer) = self.source.explainer() else {
                        self.log.malformed();
                        continue;
                    };
                    let event = resolved(event, self.root.as_ref(), explainer);
                    if let Some(judge) = &mut self.judge {
                        judge.told.event(&Line::of(&event, &[]));
                    }
                    self.log.event(&event, explainer);
                }
                Err(_) => self.log.malformed(),
            }
        }
        if let Some(names) = &self.names {
            let (queries, lost) = names.events();
            for query in queries {
                match self.source.explainer() {
                    Ok(explainer) => self.log.query(&query, explainer),
                    Err(_) => self.log.malformed(),
                }
            }
            self.log.lost_queries(lost);
        }
    }

    /// Takes the fence down.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let totals = match &self.judge {
            Some(judge) => judge.fence.totals(&judge.engine)?,
            None => Totals::default(),
        };
        self.log.end(totals);
        let removed = self.judge.map(|mut judge| {
            judge.told.end(totals);
            judge.fence.remove(&mut judge.engine)
        });
        drop(self.held);
        if let Some(meeting) = self.meeting.take() {
            meeting.end();
        }
        // From here on nobody waits.
        log::prune();
        Ok(removed.transpose().map(|_| ())?)
    }
}

/// With the path that a call meant in the container.
fn resolved(event: Event, root: Option<&Root>, explainer: &Explainer) -> Event {
    let look = |path: &[u8]| root.map_or(Entry::Missing, |root| prepare::entry(root.look(path)));
    run::resolved_by(event, explainer, &look)
}

impl Judge {
    /// Between being found and being used the programs may be unloaded by somebody else; then they are found again.
    fn install(
        mut engine: kernel::Engine,
        policy: &Policy,
        cgroup: &OwnCgroup,
        id: &str,
        again: impl Fn() -> Result<kernel::Engine, Failure>,
    ) -> Result<Self, Failure> {
        let place = kernel::Cgroup {
            directory: cgroup.directory().to_owned(),
            id: cgroup.id(),
        };
        let mut attempts = ATTEMPTS;
        let mut fence = loop {
            match engine.install(policy, &place) {
                Err(kernel::Error::Removed) if attempts > 0 => {
                    attempts -= 1;
                    engine = again()?;
                }
                other => break other?,
            }
        };
        let Some(events) = fence.events() else {
            fence.remove(&mut engine)?;
            return Err(Failure::Argument("the fence has no events".to_owned()));
        };
        let subject = Subject::Container(id.to_owned());
        let told = match Told::begin(&fence, &policy.profile, subject) {
            Ok(told) => told,
            Err(failure) => {
                fence.remove(&mut engine)?;
                return Err(failure);
            }
        };
        Ok(Self {
            engine,
            fence,
            events,
            told,
        })
    }
}

impl Prepared {
    fn of(container: &Container, ready: Ready) -> Result<Self, Failure> {
        let bundle = &ready.bundle;
        let mut process = bundle.process();
        process.arguments = Launcher::own_words(confine::LAUNCHER, process.arguments);
        if ready.fallback
            && let Some(missing) = prepare::missing(container, bundle, &process)
        {
            return Err(Failure::Argument(missing));
        }
        let (policy, source) = prepare::compile(
            container,
            bundle,
            &process,
            &ready.choice,
            &ready.remembered,
        )?;
        Ok(Self {
            ready,
            process,
            policy,
            source,
        })
    }

    /// What would be enforced, and for the fallback engine what does it.
    fn stand(
        &self,
        container: &Container,
    ) -> Result<(Option<confine::Container>, Vec<Standing>), Failure> {
        let policy = &self.policy;
        let Ready {
            probe,
            bundle,
            remembered,
            ..
        } = &self.ready;
        if !self.ready.fallback {
            let open = policy.opened();
            return Ok((None, standing::of(policy, open, bundle, probe)?));
        }
        let root = bundle.root();
        let around = Around {
            pid: container.pid,
            root: &root,
            directory: &self.process.directory,
            uid: self.process.uid,
            own_ipc: bundle.has_own_namespace("ipc"),
            labelled: bundle.is_labelled(),
        };
        let container =
            remembered.lend(|memory| confine::Container::derive(policy, probe, &around, memory))?;
        let standings = standing::of_fallback(container.standings(), policy, bundle);
        Ok((Some(container), standings))
    }

    fn record(&self, container: &Container, cgroup: &OwnCgroup) -> Record {
        Record {
            id: container.id.clone(),
            bundle: container.bundle.clone(),
            cgroup: cgroup.directory().to_owned(),
            profile: self.ready.choice.name.clone(),
            left: Left::by(
                &self.policy.capabilities,
                self.policy.privilege_gain,
                &self.policy.limits,
            ),
            launcher: self.ready.fallback,
            is_learned: false,
        }
    }
}

pub(super) fn own_cgroup(container: &Container, probe: &Probe) -> Result<OwnCgroup, Failure> {
    let place = probe.cgroup.as_ref().ok_or_else(|| {
        Failure::Argument(
            "there is no cgroup v2 hierarchy, by which containers are told apart".to_owned(),
        )
    })?;
    Ok(OwnCgroup::of(container.pid, place.directory())?)
}
