//! One command, recorded.

use std::{
    ffi::OsString,
    io::Write,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    panic::resume_unwind,
    path::Path,
    thread::{self, JoinHandle},
    time::SystemTime,
};

use ringfence_abi::surface::{ALL, Surfaces};

use super::{
    lookup::Lookup,
    outline::{NOT_TOLD, end, facts, not_told},
    progress::Progress,
    surroundings::{Known, known},
};
use crate::{
    command::{Failure, Place},
    confine::{self, Engine, Onlooker, Peak, Plan, Probe, Request},
    kernel::{Host, Recorder},
    policy::{FilePolicy, Limits, Mode, NetworkPolicy, Policy, Syscalls},
    profile::Variables,
    record::Collector,
    trace::{Facts, Text, Trace},
};

/// What was seen of one run.
pub struct Observation {
    /// The trace.
    pub trace: Trace,
    /// The values that variables had.
    pub variables: Variables,
    /// Sentences that whoever asked must know.
    pub notes: Vec<String>,
    /// What the learner has to know of the place where it ran.
    pub known: Known,
    /// The recorder goes while the profile is made, and before this does.
    pub(in crate::command) _ending: Ending,
}

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A command that is started for it, as this user.
    Command {
        /// The command and its arguments.
        words: Vec<OsString>,
        /// Who it runs as.
        user: Option<String>,
    },
    /// A process that runs already, and what has come and will come of it.
    Process(i32),
}

/// Records `subject`, for `seconds` at most: a command is ended then, a process that ran already goes on.
///
/// # Errors
/// If nothing can be recorded here, or the command cannot be started.
pub fn observe(
    subject: &Subject,
    seconds: Option<u64>,
    stderr: &mut dyn Write,
) -> Result<Observation, Failure> {
    match subject {
        Subject::Command { words, user } if Host::probe().privileged => {
            command(words, user.as_deref(), seconds, stderr)
        }
        Subject::Command { words, user: None } => traced(words, seconds, stderr),
        Subject::Command { .. } => Err(Failure::Argument(
            "only root can run a command as another user".to_owned(),
        )),
        Subject::Process(pid) => process(*pid, seconds, stderr),
    }
}

/// Runs a command with all the rights that it would have without ringfence, and records it.
fn command(
    words: &[OsString],
    user: Option<&str>,
    seconds: Option<u64>,
    stderr: &mut dyn Write,
) -> Result<Observation, Failure> {
    let place = Place::find(user)?;
    // No mounts: it runs without a fence.
    let probe = Probe::without_namespaces()?;
    let mut recording = Recording::start()?;
    let policy = open_policy(&place, &probe, &recording.recorder, seconds);
    let plan = Plan::new(&request(words, &place), &policy, Engine::BpfLsm, &probe)?;
    let began = SystemTime::now();
    let launched = plan.launch()?;
    let Some(cgroup) = launched.cgroup() else {
        return Err(Failure::Argument(
            "a run can be recorded in a cgroup only, and none can be made here".to_owned(),
        ));
    };
    recording.recorder.begin_network(cgroup.directory())?;
    recording.recorder.begin(cgroup.id())?;
    recording.say_how(stderr);
    writeln!(stderr, "ringfence: the command runs without a fence").ok();
    let running = launched.release()?.sampled();
    let known = Ahead::of(&place.variables());
    let (stream, bell) = recording.descriptors()?;
    let exit = running.wait(&[stream.as_fd(), bell.as_fd()], |_| {
        recording.take();
        true
    })?;
    let mut notes = Vec::new();
    if !recording.recorder.sees_capabilities() {
        notes.push(
            "this kernel does not tell which capabilities are used, so the command ran without any"
                .to_owned(),
        );
    }
    let code = match seconds {
        // That it is ended by the clock was wanted.
        Some(_) if exit.timed_out => 0,
        _ => exit.code,
    };
    let words = words.iter().map(|word| word.as_encoded_bytes().into());
    let facts = facts(
        words.collect(),
        &place.variables(),
        recording.recorder.name(),
        began,
    );
    recording.finish(facts, &place, (code, exit.peak), notes, known)
}

/// Records a command without root: every system call is stopped at.
fn traced(
    words: &[OsString],
    seconds: Option<u64>,
    stderr: &mut dyn Write,
) -> Result<Observation, Failure> {
    let place = Place::find(None)?;
    let began = SystemTime::now();
    writeln!(
        stderr,
        "ringfence: recording by ptrace, for want of root: the command is slower, and may take no privileges"
    )
    .ok();
    writeln!(stderr, "ringfence: the command runs without a fence").ok();
    let mut collector = Collector::new();
    let mut progress = Progress::new();
    let traced = confine::trace(&request(words, &place), seconds, |act| {
        collector.add(Ok(act));
        progress.show(collector.progress(), Some(0));
    })?;
    progress.clear();
    let code = match seconds {
        Some(_) if traced.exit.timed_out => 0,
        _ => traced.exit.code,
    };
    let words = words.iter().map(|word| word.as_encoded_bytes().into());
    let trace = Trace {
        facts: facts(words.collect(), &place.variables(), "ptrace", began),
        records: collector.records(&traced.counts),
        end: end(
            (code, traced.exit.peak),
            &traced.tally,
            &collector,
            NOT_TOLD,
        ),
    };
    let has_peers = trace.records.iter().any(|record| record.peer.is_some());
    let note = "without root it is not seen which names led to an address: peers are learned by their address";
    Ok(Observation {
        trace,
        known: known(&place.variables())?,
        _ending: Ending::default(),
        variables: place.variables(),
        notes: has_peers.then(|| note.to_owned()).into_iter().collect(),
    })
}

/// Records a process that runs already. It stands in a cgroup with others, so it is known by itself.
fn process(pid: i32, seconds: Option<u64>, stderr: &mut dyn Write) -> Result<Observation, Failure> {
    let place = Place::of_process(pid)?;
    let onlooker = Onlooker::of(pid)?;
    let mut recording = Recording::start()?;
    let began = SystemTime::now();
    let words = arguments_of(pid);
    let known = Ahead::of(&place.variables());
    let processes = recording.recorder.follow(pid.cast_unsigned())?;
    for directory in confine::cgroups_of(processes)? {
        recording.recorder.begin_network(&directory)?;
    }
    recording.say_how(stderr);
    writeln!(
        stderr,
        "ringfence: process {pid} and what comes of it is recorded until it ends, or this is interrupted; it goes on as it is"
    )
    .ok();
    let (stream, bell) = recording.descriptors()?;
    onlooker.wait(seconds, &[stream.as_fd(), bell.as_fd()], || {
        recording.take();
    })?;
    let mut notes = vec![
        "what the process opened, mapped or connected before is not in it, nor the libraries that it began with: learn from a \
         start of it as well, and merge"
            .to_owned(),
    ];
    if !recording.recorder.sees_capabilities() {
        notes.push(
            "this kernel does not tell which capabilities are used: the profile keeps none"
                .to_owned(),
        );
    }
    let facts = facts(words, &place.variables(), recording.recorder.name(), began);
    recording.finish(facts, &place, (0, Peak::default()), notes, known)
}

/// Its command line, as long as it has one.
fn arguments_of(pid: i32) -> Vec<Text> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    line.split(|&byte| byte == 0).map(Into::into).collect()
}

/// What the learner has to know, found out while the command runs.
struct Ahead(JoinHandle<Result<Known, Failure>>);

impl Ahead {
    fn of(variables: &Variables) -> Self {
        let variables = variables.clone();
        Self(thread::spawn(move || known(&variables)))
    }

    fn get(self) -> Result<Known, Failure> {
        self.0.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// A recorder that is taken off: the kernel waits for grace periods. Dropped, it has gone.
#[derive(Default)]
pub(in crate::command) struct Ending(Option<JoinHandle<()>>);

impl Ending {
    fn of(recorder: Recorder) -> Self {
        Self(Some(thread::spawn(move || drop(recorder))))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // What a panic has left is collected by the next run.
        if let Some(thread) = self.0.take() {
            thread.join().ok();
        }
    }
}

/// A recording that stands.
struct Recording {
    recorder: Recorder,
    lookup: Lookup,
    collector: Collector,
    progress: Progress,
}

impl Recording {
    fn start() -> Result<Self, Failure> {
        let mut recorder = Recorder::open()?;
        let lookup = Lookup::start()?;
        recorder.resolve_by(&lookup.place())?;
        Ok(Self {
            recorder,
            lookup,
            collector: Collector::new(),
            progress: Progress::new(),
        })
    }

    fn say_how(&self, stderr: &mut dyn Write) {
        let way = match self.recorder.refusal() {
            None => self.recorder.name().to_owned(),
            Some(reason) => format!("{}; not at the hooks: {reason}", self.recorder.name()),
        };
        writeln!(stderr, "ringfence: recording by {way}").ok();
    }

    /// The recorder's stream, and what tells of names.
    fn descriptors(&self) -> Result<(OwnedFd, OwnedFd), Failure> {
        let copied = |descriptor: BorrowedFd<'_>, what| {
            descriptor
                .try_clone_to_owned()
                .map_err(|source| Failure::Unknown { what, source })
        };
        Ok((
            copied(self.recorder.as_fd(), "the recorder's stream")?,
            copied(self.lookup.bell(), "the resolver's events")?,
        ))
    }

    /// Takes in what has been told.
    fn take(&mut self) {
        drain(&mut self.recorder, &mut self.collector);
        self.lookup.take();
        let lost = self.recorder.lost();
        self.progress.show(self.collector.progress(), lost);
    }

    /// The trace of it; `ended` is the exit code, and what was used at most.
    fn finish(
        mut self,
        facts: Facts,
        place: &Place,
        ended: (u8, Peak),
        mut notes: Vec<String>,
        known: Ahead,
    ) -> Result<Observation, Failure> {
        self.recorder.end()?;
        drain(&mut self.recorder, &mut self.collector);
        self.progress.clear();
        let tally = self.recorder.tally()?;
        if tally.unlisted > 0 {
            notes.push(format!(
                "the kernel did not show {} system calls: their list may lack some, so that `--tight` takes the default ones, \
                 and so may `[kernel] allow`; files, sockets and capabilities are whole",
                tally.unlisted
            ));
        }
        let not_told = not_told(&self.recorder);
        let mut trace = Trace {
            facts,
            records: self.collector.records(&self.recorder.counts()?),
            end: end(ended, &tally, &self.collector, not_told),
        };
        self.lookup.finish(&mut trace);
        Ok(Observation {
            trace,
            variables: place.variables(),
            notes,
            known: known.get()?,
            _ending: Ending::of(self.recorder),
        })
    }
}

fn drain(recorder: &mut Recorder, collector: &mut Collector) {
    while let Some(act) = recorder.next_act() {
        collector.add(act);
    }
}

/// Everything that the caller may do: what is closed would not be done, and not be learned.
fn open_policy(place: &Place, probe: &Probe, recorder: &Recorder, seconds: Option<u64>) -> Policy {
    let uid = place.user.as_ref().map_or(probe.uid, |user| user.uid);
    // Another user than root has none to begin with.
    let keeps = uid == 0 && recorder.sees_capabilities();
    let held = if keeps {
        confine::held_capabilities()
    } else {
        0
    };
    let every = ALL
        .iter()
        .fold(Surfaces::NONE, |every, surface| every.union(surface.bit));
    Policy {
        profile: "learn".to_owned(),
        files: FilePolicy {
            mode: Mode::Off,
            ..FilePolicy::default()
        },
        network: NetworkPolicy::off(),
        capabilities: confine::capability_names(held),
        kernel: every,
        syscalls: Syscalls::Default,
        privilege_gain: false,
        programs: Vec::new(),
        limits: Limits {
            wall_seconds: seconds,
            ..Limits::default()
        },
        degradation: crate::policy::Degradation::default(),
    }
}

fn request(command: &[OsString], place: &Place) -> Request {
    let mut words = command.iter().cloned();
    Request {
        command: words.next().unwrap_or_default(),
        arguments: words.collect(),
        environment: place.environment(),
        directory: Path::to_path_buf(&place.directory),
        user: place.user.clone(),
        keep: Vec::new(),
        wait_all: false,
    }
}
