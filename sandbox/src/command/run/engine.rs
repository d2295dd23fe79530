//! Which engine stands behind the fence, and what it shows of the run.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
};

use super::Record;
use crate::{
    command::{Failure, told::Told},
    confine::{self, Cgroup, CgroupPlace, Probe},
    event::Event,
    kernel::{self, Events, Fence, Host, Subject, Totals, Traffic},
    policy::{Limits, Policy},
};

/// Which engine is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// BPF LSM where it can be had, else the fallback.
    #[default]
    Auto,
    /// BPF LSM or nothing.
    BpfLsm,
    /// Landlock, mounts and seccomp.
    Fallback,
}

/// The engine of one run.
#[derive(Debug)]
pub(super) enum Enforcer {
    /// BPF LSM.
    BpfLsm(Box<kernel::Engine>),
    /// The fallback, why it is not BPF LSM, what would have it, and what watches it, or why nothing can.
    Fallback {
        reason: Option<Reason>,
        way_to_hooks: String,
        watch: Result<Box<kernel::Engine>, kernel::Error>,
    },
}

/// Why the engine is not the best one.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    pub(super) text: String,
    /// Whether the kernel has just refused programs that it was expected to take, and not already before.
    pub(super) is_news: bool,
}

/// A fence that stands, with its events.
pub(super) struct Watch {
    fence: Fence,
    events: Events,
    /// Records that made no sense.
    pub(super) malformed: u64,
}

impl Enforcer {
    pub(super) fn choose(choice: EngineChoice, probe: &Probe) -> Result<Self, Failure> {
        let host = Host::probe();
        if choice == EngineChoice::Fallback {
            return Ok(Self::fallback(host, None));
        }
        if choice == EngineChoice::Auto
            && let Some((text, _)) = host.obstacle()
        {
            let is_news = false;
            return Ok(Self::fallback(host, Some(Reason { text, is_news })));
        }
        match open(probe) {
            Ok(engine) => Ok(Self::BpfLsm(Box::new(engine))),
            Err(Failure::Kernel(error)) if choice == EngineChoice::Auto => {
                let reason = Reason {
                    is_news: !matches!(error, kernel::Error::Unavailable(_)),
                    text: error.to_string(),
                };
                Ok(Self::fallback(host, Some(reason)))
            }
            Err(error) => Err(error),
        }
    }

    /// The fallback denies without a word; where the watch cannot be had, the run says that it is blind.
    fn fallback(host: &Host, reason: Option<Reason>) -> Self {
        Self::Fallback {
            reason,
            way_to_hooks: host.way_to_hooks(kernel::Engine::is_refused()),
            watch: kernel::Engine::open_watch().map(Box::new),
        }
    }

    /// Why denials cannot be seen, if they cannot.
    pub(super) fn blindness(&self, cgroup: Option<&Cgroup>) -> Option<String> {
        match self {
            Self::Fallback {
                watch: Err(kernel::Error::Unavailable(reason)),
                ..
            } => Some(reason.clone()),
            Self::Fallback {
                watch: Err(error), ..
            } => Some(error.to_string()),
            Self::Fallback { .. } if cgroup.is_none() => Some("there is no cgroup".to_owned()),
            _ => None,
        }
    }

    pub(super) fn engine(&self) -> confine::Engine {
        match self {
            Self::BpfLsm(_) => confine::Engine::BpfLsm,
            Self::Fallback { .. } => confine::Engine::Fallback,
        }
    }

    /// What would have BPF LSM judge here, where the fallback does.
    pub(super) fn way_to_hooks(&self) -> Option<&str> {
        match self {
            Self::BpfLsm(_) => None,
            Self::Fallback { way_to_hooks, .. } => Some(way_to_hooks),
        }
    }

    /// Whether it judges addresses on the fence's cgroup, or below the hooks.
    pub(super) fn has_network(&self) -> bool {
        self.kernel().is_some_and(kernel::Engine::has_network)
    }

    /// Whether it judges Unix sockets on the fence's cgroup, by the addresses that are passed; why not, if it does not.
    pub(super) fn has_unix(&self) -> Result<(), String> {
        match self {
            Self::BpfLsm(engine) => engine.has_unix(),
            Self::Fallback { watch, .. } => match watch {
                Ok(engine) => engine.has_unix(),
                Err(error) => return Err(error.to_string()),
            },
        }
        .map_err(|error| error.to_string())
    }

    /// What opens addresses that names have led to.
    pub(super) fn grants(&self, watch: &Watch) -> Result<kernel::Grants, Failure> {
        let engine = self.kernel().ok_or_else(no_programs)?;
        Ok(watch.fence.grants(engine)?)
    }

    /// Sends the fence's name queries to `resolver`.
    pub(super) fn resolve_by(
        &mut self,
        watch: &Watch,
        resolver: ringfence_abi::network::Resolver,
    ) -> Result<(), Failure> {
        let engine = self.kernel_mut().ok_or_else(no_programs)?;
        Ok(watch.fence.set_resolver(engine, resolver)?)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::BpfLsm(_) => "bpf-lsm",
            Self::Fallback { .. } => "fallback",
        }
    }

    /// Why the engine is not the best one, if it is not.
    pub(super) fn reason(&self) -> Option<&Reason> {
        match self {
            Self::BpfLsm(_) => None,
            Self::Fallback { reason, .. } => reason.as_ref(),
        }
    }

    /// Puts the policy in place for the process that waits in `cgroup`, before it is released.
    pub(super) fn enclose(
        &mut self,
        policy: &Policy,
        cgroup: Option<&Cgroup>,
    ) -> Result<Option<Watch>, Failure> {
        let engine = match self {
            Self::BpfLsm(engine) => engine,
            Self::Fallback { watch, .. } => match (watch, cgroup) {
                (Ok(watch), Some(_)) => watch,
                _ => return Ok(None),
            },
        };
        let cgroup = cgroup.ok_or_else(no_cgroup)?;
        let mut fence = engine.install(
            policy,
            &kernel::Cgroup {
                directory: cgroup.directory().to_owned(),
                id: cgroup.id(),
            },
        )?;
        let Some(events) = fence.events() else {
            return Err(Failure::Argument("the fence has no events".to_owned()));
        };
        Ok(Some(Watch {
            fence,
            events,
            malformed: 0,
        }))
    }

    fn kernel(&self) -> Option<&kernel::Engine> {
        match self {
            Self::BpfLsm(engine) => Some(engine),
            Self::Fallback { watch, .. } => watch.as_deref().ok(),
        }
    }

    fn kernel_mut(&mut self) -> Option<&mut kernel::Engine> {
        match self {
            Self::BpfLsm(engine) => Some(engine),
            Self::Fallback { watch, .. } => watch.as_deref_mut().ok(),
        }
    }

    /// Puts `new` in the place of `old`, which is in force.
    pub(super) fn replace(
        &mut self,
        watch: &Watch,
        old: &Policy,
        new: &Policy,
    ) -> Result<(), Failure> {
        let engine = self.kernel_mut().ok_or_else(no_programs)?;
        Ok(watch.fence.replace(engine, old, new)?)
    }

    /// Takes the fence down.
    pub(super) fn release(&mut self, watch: Watch) -> Result<(), Failure> {
        match self.kernel_mut() {
            Some(engine) => Ok(watch.fence.remove(engine)?),
            None => Ok(()),
        }
    }
}

impl Watch {
    /// A descriptor that is readable when there are events.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, Failure> {
        self.events
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| Failure::Unknown {
                what: "the fence's events",
                source,
            })
    }

    /// Hands over every event that is there.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Event)) {
        while let Some(event) = self.events.next_event() {
            match event {
                Ok(event) => take(event),
                Err(_) => self.malformed += 1,
            }
        }
    }

    /// Enters the fence in the register, and tells those who follow.
    pub(super) fn told(&self, record: &Record) -> Result<Told, Failure> {
        let subject = Subject::Command(record.command.clone());
        Told::begin(&self.fence, &record.profile, subject)
    }

    /// Enters another profile in the register, and tells those who follow.
    pub(super) fn retold(&self, told: &mut Told, profile: &str) -> Result<(), Failure> {
        told.reloaded(&self.fence, profile)
    }

    /// Where the supervisor hears what is asked of it, and what shows it that it may be.
    pub(super) fn control(&self) -> [PathBuf; 2] {
        let id = self.fence.key();
        [kernel::control(id), kernel::token(id)]
    }

    /// Counts what passes from here on.
    pub(super) fn count_traffic(&self, enforcer: &mut Enforcer) -> Result<(), Failure> {
        let engine = enforcer.kernel_mut().ok_or_else(no_programs)?;
        Ok(self.fence.count_traffic(engine)?)
    }

    /// Has Unix sockets judged on the cgroup from here on, and connected to paths by this process.
    pub(super) fn judge_unix(&self, enforcer: &mut Enforcer) -> Result<(), Failure> {
        let engine = enforcer.kernel_mut().ok_or_else(no_programs)?;
        Ok(self
            .fence
            .judge_unix(engine, Some(confine::own_cgroup()?))?)
    }

    /// What has passed, if it was counted.
    pub(super) fn traffic(&self, enforcer: &Enforcer) -> Result<Vec<Traffic>, Failure> {
        match enforcer.kernel() {
            Some(engine) => Ok(self.fence.traffic(engine)?),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn totals(&self, enforcer: &Enforcer) -> Result<Totals, Failure> {
        match enforcer.kernel() {
            Some(engine) => Ok(self.fence.totals(engine)?),
            None => Ok(Totals::default()),
        }
    }
}

/// Whether the BPF LSM engine can really be had: it is loaded, if it is not yet.
///
/// # Errors
/// Why not.
pub fn try_engine(probe: &Probe) -> Result<(), Failure> {
    open(probe).map(|_| ())
}

/// What would have BPF LSM judge here, where the fallback does.
#[must_use]
pub fn way_to_hooks() -> String {
    Host::probe().way_to_hooks(kernel::Engine::is_refused())
}

/// Finds or loads the programs. Only the first run after a boot needs the cgroup, for its self-test.
pub(in crate::command) fn open(probe: &Probe) -> Result<kernel::Engine, Failure> {
    let place: &CgroupPlace = probe.cgroup.as_ref().ok_or_else(no_cgroup)?;
    if let Some(engine) = kernel::Engine::find()? {
        return Ok(engine);
    }
    let mut test = Cgroup::create(place, &Limits::default())?;
    let engine = kernel::Engine::open(&kernel::Cgroup {
        directory: test.directory().to_owned(),
        id: test.id(),
    });
    test.remove()?;
    Ok(engine?)
}

fn no_programs() -> Failure {
    Failure::Kernel(kernel::Error::NoNetwork(
        "there are no programs of this fence in the kernel".to_owned(),
    ))
}

fn no_cgroup() -> Failure {
    Failure::Kernel(kernel::Error::Unavailable(
        "there is no cgroup v2 hierarchy in which a cgroup can be made; mount one with `mount -t cgroup2 none \
         /sys/fs/cgroup`"
            .to_owned(),
    ))
}
