//! `ringfence run`: one command behind a fence.

mod closed;
mod denial;
mod engine;
mod line;
mod narrator;
mod offer;
mod peer;
mod prepare;
mod record;
mod reload;
mod resolver;
mod sighting;
mod stricter;
mod summary;
mod traffic;

pub use denial::Denial;
pub(super) use engine::open as open_engine;
pub use engine::{EngineChoice, try_engine, way_to_hooks};
pub(super) use line::Line;
pub use record::{Record, last_run};
pub(super) use reload::{Answer, Request};
pub(super) use resolver::{
    HOSTS, SERVERS, granting, place as place_of, place_of_sockets, policies, wildcards,
};
pub(super) use sighting::resolved_by;
pub use summary::paragraph;
pub(super) use summary::printable;

use std::{
    ffi::OsString,
    io::Write,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::PathBuf,
    rc::Rc,
};

use ringfence_abi::rights::EXEC;

use super::{Failure, memory::Remembered, place::Place};
use crate::{
    confine::{self, Connector, Engine, Exit, Plan, Probe, Running},
    kernel,
    policy::{Mode, Policy},
    profile::CommandLine,
};
use engine::{Enforcer, Watch};
use narrator::Narrator;
use reload::{Control, Reloader};
use resolver::Names;

/// What was asked for.
#[derive(Debug, Default)]
pub struct Options {
    /// Profiles; the built-in `untrusted` if empty.
    pub profiles: Vec<OsString>,
    /// Rules and single values of the command line.
    pub command_line: CommandLine,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Who to run as.
    pub user: Option<String>,
    /// Descriptors that the command inherits besides 0, 1 and 2.
    pub keep: Vec<RawFd>,
    /// Whether to wait for tasks that outlive the command, instead of ending them.
    pub wait_all: bool,
    /// Which engine.
    pub engine: EngineChoice,
    /// Whether to say nothing about denials.
    pub quiet: bool,
    /// Whether to count what passes between the command and its peers, and to tell of it in the end.
    pub stats: bool,
    /// Where each event is appended to as a line of JSON.
    pub events: Option<PathBuf>,
    /// Whether to print the plan and what would be enforced, and run nothing.
    pub dry_run: bool,
}

/// A command that cannot be run because nothing can: a profile that only names hosts, for one.
fn explained(failure: Failure, policy: &Policy) -> Failure {
    match failure {
        Failure::Confine(confine::Error::ProgramNotRunnable { path, .. })
            if executes_nothing(policy) =>
        {
            let reason = "the profile lets nothing be executed; add `-p untrusted`, or list under files.exec what may be".to_owned();
            Failure::Confine(confine::Error::ProgramNotRunnable { path, reason })
        }
        other => other,
    }
}

fn executes_nothing(policy: &Policy) -> bool {
    let automaton = &policy.files.automaton;
    let root = automaton.state(b"/");
    policy.files.mode == Mode::Enforce && !automaton.leads_anywhere_to(root, EXEC)
}

/// Runs the command and returns its exit code; 128+n if signal n ended it. What the fence has to say goes to `stderr`.
///
/// # Errors
/// If the fence cannot stand or the command cannot be started; nothing runs then.
pub fn run(options: &Options, stderr: &mut dyn Write) -> Result<u8, Failure> {
    let place = Place::find(options.user.as_deref())?;
    let mut probe = Probe::without_namespaces()?;
    let mut enforcer = Enforcer::choose(options.engine, &probe)?;
    let remembered = Remembered::open();
    let trial = match enforcer.engine() {
        Engine::BpfLsm => None,
        Engine::Fallback => remembered.lend(|memory| probe.try_namespaces_remembering(memory))?,
    };
    probe.cgroup_programs = probe.cgroup.is_some() && enforcer.has_network();
    if probe.cgroup.is_some() {
        probe.unix_programs = enforcer.has_unix();
    }
    if let Some(way) = enforcer.way_to_hooks() {
        way.clone_into(&mut probe.way_to_hooks);
    }
    let events = narrator::open(options)?;
    let mut prepared = prepare::prepare(options, &place, &remembered)?;
    if let Some(trial) = trial {
        trial.end(&mut probe)?;
        remembered.lend(|memory| probe.keep_namespaces(memory));
    }
    let request = prepare::request(options, &place);
    let plan = remembered.lend(|memory| {
        Plan::remembering(
            &request,
            &prepared.policy,
            enforcer.engine(),
            &probe,
            memory,
        )
    })?;
    let refused = prepared.policy.degradation.refused(plan.standings());
    if !refused.is_empty() {
        return Err(Failure::Refused(refused.into_iter().cloned().collect()));
    }
    if options.dry_run {
        return summary::dry_run(&plan, &enforcer, stderr).map(|()| 0);
    }
    let mut narrator = Narrator::new(options, events, Rc::clone(&prepared.source), stderr);
    narrator.standing(&enforcer, plan.standings());
    for note in plan.notes() {
        narrator.note(note);
    }
    let mut record = Record::begin(options, &prepared, &enforcer, plan.standings());
    let supervises_unix = plan.supervises_unix();
    let connecting = supervises_unix.then(|| prepared.policy.clone());
    let mut connector = None;
    let launched = plan.launch()?;
    record.blind = enforcer.blindness(launched.cgroup());
    let mut watch = enforcer.enclose(&prepared.policy, launched.cgroup())?;
    let told = |names| {
        let control = watch.as_ref().map(Control::listen).transpose()?;
        let told = watch.as_ref().map(|watch| watch.told(&record));
        told.transpose().map(|told| (names, told, control))
    };
    let (names, told, control) = match count(options, &mut enforcer, watch.as_ref())
        .and_then(|()| judge_unix(supervises_unix, &mut enforcer, watch.as_ref()))
        .and_then(|()| Names::start(&prepared, &mut enforcer, watch.as_ref()))
        .and_then(told)
    {
        Ok(set_up) => set_up,
        Err(failure) => {
            if let Some(watch) = watch {
                enforcer.release(watch)?;
            }
            return Err(failure);
        }
    };
    if let Some(told) = told {
        narrator.tell(told);
    }
    let mut reloader = control.map(|control| Reloader {
        control,
        options,
        place: &place,
        probe: &probe,
        remembered: &remembered,
        prepared: &mut prepared,
        enforcer: &mut enforcer,
        connector: None,
    });
    let ended = launched
        .release()
        .map_err(Failure::from)
        .and_then(|mut running| {
            connector = self::connector(&mut running, connecting)?.map(Rc::new);
            if let Some(reloader) = &mut reloader {
                reloader.connector.clone_from(&connector);
            }
            let heard = Heard {
                watch: watch.as_mut(),
                names: names.as_ref(),
                connector: connector.as_deref(),
            };
            follow(
                running,
                heard,
                reloader.as_mut(),
                &mut narrator,
                &mut record,
            )
        });
    drop(reloader);
    if ended.is_err() {
        remembered.lend(|memory| probe.forget_namespaces(memory));
    }
    let mut heard = Heard {
        watch: watch.as_mut(),
        names: names.as_ref(),
        connector: connector.as_deref(),
    };
    heard.tell(&mut narrator, &mut record);
    if let Some(watch) = &watch {
        let totals = watch.totals(&enforcer)?;
        narrator.end(totals);
        record.count(totals, watch.malformed);
        let led = |address| {
            let names = names.as_ref().map(|names| names.of(address));
            names.into_iter().flatten().collect()
        };
        if options.stats {
            record.destinations = traffic::rows(&watch.traffic(&enforcer)?, led);
        }
    }
    if let Some(connector) = &connector {
        record.count_closed(&connector.totals());
    }
    if let Some(names) = names {
        names.stop();
    }
    if let Some(watch) = watch {
        enforcer.release(watch)?;
    }
    if let Ok(exit) = &ended {
        record.leftover = exit.leftover;
        record.exit = Some(exit.code);
        record.timed_out = exit.timed_out;
    }
    let ended = ended.map_err(|failure| explained(failure, &prepared.policy));
    narrator.summary(&record);
    if options.stats {
        narrator.traffic(&record.destinations);
    }
    record.save(&mut narrator);
    // This process ends now. The kernel takes back its memory at once; to free it piece by piece writes to every page once more.
    std::mem::forget((request, prepared));
    Ok(ended?.code)
}

/// Has traffic counted, if that is asked for.
fn count(options: &Options, enforcer: &mut Enforcer, watch: Option<&Watch>) -> Result<(), Failure> {
    match watch {
        _ if !options.stats => Ok(()),
        Some(watch) => watch.count_traffic(enforcer),
        None => Err(Failure::Argument(
            "--stats counts on the cgroup of the fence, which needs root".to_owned(),
        )),
    }
}

/// Has Unix sockets judged, where a rule is about one and nothing else judges it.
fn judge_unix(
    supervises: bool,
    enforcer: &mut Enforcer,
    watch: Option<&Watch>,
) -> Result<(), Failure> {
    match watch {
        _ if !supervises => Ok(()),
        Some(watch) => watch.judge_unix(enforcer),
        None => Err(Failure::Kernel(kernel::Error::NoUnix(
            "there is no cgroup of the fence".to_owned(),
        ))),
    }
}

/// What answers the command's filter, where it asks.
fn connector(
    running: &mut Running,
    connecting: Option<Policy>,
) -> Result<Option<Connector>, Failure> {
    let Some(asked) = running.notifications() else {
        return Ok(None);
    };
    let started = Connector::start(asked, connecting);
    started.map(Some).map_err(|source| Failure::Unknown {
        what: "what the filter of system calls asks",
        source,
    })
}

/// Who tells of what happens in the fence.
struct Heard<'a> {
    watch: Option<&'a mut Watch>,
    names: Option<&'a Names>,
    connector: Option<&'a Connector>,
}

/// Waits for the end, telling of denials as they come.
fn follow(
    running: Running,
    mut heard: Heard<'_>,
    mut reloader: Option<&mut Reloader<'_>>,
    narrator: &mut Narrator<'_>,
    record: &mut Record,
) -> Result<Exit, Failure> {
    for note in running.notes() {
        narrator.note(note);
    }
    let watch = heard.watch.as_ref();
    let descriptor = watch.map(|watch| watch.descriptor()).transpose()?;
    // A number of its own, since what is asked changes what it is asked of.
    let asked = reloader.as_ref().map(|reloader| reloader.descriptor());
    let asked = asked.transpose()?;
    let watched: Vec<_> = descriptor
        .iter()
        .chain(&asked)
        .map(AsFd::as_fd)
        .chain(heard.names.map(Names::bell))
        .chain(heard.connector.map(Connector::bell))
        .collect();
    let asked = asked.as_ref().map(AsRawFd::as_raw_fd);
    let exit = running.wait(&watched, |ready| {
        // What happened under the old policy is explained by it.
        heard.tell(narrator, record);
        if Some(ready) == asked
            && let (Some(reloader), Some(watch)) = (&mut reloader, &mut heard.watch)
        {
            reloader.serve(watch, narrator, record);
        }
        true
    })?;
    Ok(exit)
}

impl Heard<'_> {
    /// Tells of what has happened since the last time.
    fn tell(&mut self, narrator: &mut Narrator<'_>, record: &mut Record) {
        narrator.look();
        if let Some(names) = self.names {
            let (queries, lost) = names.events();
            for query in queries {
                narrator.query(&query, record);
            }
            record.lost_queries += lost;
        }
        for event in self.connector.iter().flat_map(|one| one.news()) {
            narrator.event(&event, self.names, record);
        }
        if let Some(watch) = &mut self.watch {
            watch.drain(|event| {
                if self.connector.is_none_or(|one| !one.tells_of(&event)) {
                    narrator.event(&event, self.names, record);
                }
            });
        }
    }
}
