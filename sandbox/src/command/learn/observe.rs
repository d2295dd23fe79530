//! One command, recorded.

use std::{
    ffi::OsString,
    io::Write,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use ringfence_abi::surface::{ALL, Surfaces};

use super::{
    container, image,
    lookup::name_peers,
    outline::{NOT_TOLD, end, facts},
    progress::Progress,
    recording::{Ending, Recording},
    surroundings::{Ahead, Known, known},
};
use crate::{
    command::{Failure, Place, run::HOSTS},
    confine::{self, Engine, Namespace, Notice, Onlooker, Peak, Plan, Probe, Request},
    kernel::{Host, Recorder},
    network::Overheard,
    policy::{FilePolicy, Limits, Mode, NetworkPolicy, Policy, Syscalls},
    profile::Variables,
    record::Collector,
    trace::{Peer, Text, Trace},
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
    /// Where its paths are, if not here: a container's files.
    pub namespace: Option<Namespace>,
}

impl Observation {
    /// Does something where the paths are that were seen.
    ///
    /// # Errors
    /// If it cannot be entered.
    pub(super) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        match &self.namespace {
            Some(namespace) => Ok(namespace.after_start(act)?),
            None => Ok(act()),
        }
    }
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
    /// A container that an engine has made.
    Container {
        /// What its runtime or its engine call it.
        name: String,
        /// Where its runtime keeps its state, if that is no usual place.
        root: Option<PathBuf>,
    },
    /// A container that podman makes of an image for it, and that is gone afterwards.
    Image {
        /// The image.
        name: OsString,
        /// What `podman create` is told besides.
        options: Vec<OsString>,
        /// The command and its arguments; the image's own if none.
        words: Vec<OsString>,
    },
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
        Subject::Container { name, root } => {
            container::observe(name, root.as_ref(), seconds, stderr)
        }
        Subject::Image {
            name,
            options,
            words,
        } => image::observe(
            &[&options[..], std::slice::from_ref(name), words].concat(),
            seconds,
            stderr,
        ),
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
    // The kernel takes its time for a start: that is used.
    let known = Ahead::of(&place.variables());
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
    recording.say(stderr, "the command runs without a fence");
    known.give_way();
    let (stream, bell) = recording.descriptors()?;
    let running = launched.release()?.sampled();
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
    let known = Some(known);
    recording.finish(facts, place.variables(), (code, exit.peak), notes, known)
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
    let mut overheard = Overheard::new(HOSTS.into());
    let traced = confine::trace(&request(words, &place), seconds, |notice| match notice {
        Notice::Act(act) => {
            collector.add(Ok(act));
            progress.show(collector.progress(), Some(0));
        }
        Notice::Answer(message) => overheard.hear(&message),
    })?;
    progress.clear();
    let code = match seconds {
        Some(_) if traced.exit.timed_out => 0,
        _ => traced.exit.code,
    };
    let words = words.iter().map(|word| word.as_encoded_bytes().into());
    let mut trace = Trace {
        facts: facts(words.collect(), &place.variables(), "ptrace", began),
        records: collector.records(&traced.counts),
        end: end(
            (code, traced.exit.peak),
            &traced.tally,
            &collector,
            NOT_TOLD,
        ),
    };
    let inside = |address| overheard.leads_inside(address);
    let asked = overheard.asked();
    name_peers(
        &mut trace,
        asked,
        |address| overheard.names(address),
        inside,
    );
    trace.end.names.clone_from(asked);
    let nameless = |peer: &Peer| peer.names.is_empty() && !peer.address.is_loopback();
    let mut reached = trace.records.iter().filter(|one| one.what == "connect");
    let has_nameless = reached.any(|one| one.peer.as_ref().is_some_and(nameless));
    let note = "names are read from what name servers answer to the command itself; where none led to an address, that is learned";
    Ok(Observation {
        trace,
        known: known(&place.variables())?,
        _ending: Ending::default(),
        variables: place.variables(),
        notes: has_nameless.then(|| note.to_owned()).into_iter().collect(),
        namespace: None,
    })
}

/// Records a process that runs already. It stands in a cgroup with others, so it is known by itself.
fn process(pid: i32, seconds: Option<u64>, stderr: &mut dyn Write) -> Result<Observation, Failure> {
    let place = Place::of_process(pid)?;
    let mut onlooker = Onlooker::of(pid)?;
    let mut recording = Recording::start()?;
    let began = SystemTime::now();
    let words = arguments_of(pid);
    let known = Ahead::of(&place.variables());
    known.give_way();
    let processes = recording.recorder.follow(pid.cast_unsigned())?;
    for directory in confine::cgroups_of(processes)? {
        recording.recorder.begin_network(&directory)?;
    }
    recording.say(
        stderr,
        &format!(
            "process {pid} and what comes of it is recorded until it ends, or this is interrupted; it goes on as it is"
        ),
    );
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
    let ended = (0, Peak::default());
    recording.finish(facts, place.variables(), ended, notes, Some(known))
}

/// Its command line, as long as it has one.
fn arguments_of(pid: i32) -> Vec<Text> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    line.split(|&byte| byte == 0).map(Into::into).collect()
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
        tells: false,
    }
}
