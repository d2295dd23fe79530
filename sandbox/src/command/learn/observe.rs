//! One command, recorded.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    hash::{BuildHasher as _, RandomState},
    io::Write,
    os::fd::AsFd as _,
    path::Path,
    time::SystemTime,
};

use ringfence_abi::surface::{ALL, Surfaces};

use super::progress::Progress;
use crate::{
    command::{Failure, Place},
    confine::{self, Engine, Exit, Plan, Probe, Request},
    kernel::Recorder,
    policy::{FilePolicy, Limits, Mode, NetworkPolicy, Policy, Syscalls},
    profile::Variables,
    record::Collector,
    trace::{End, Facts, Tally, Text, Trace},
};

/// What was seen of one run.
pub struct Observation {
    /// The trace.
    pub trace: Trace,
    /// The values that variables had.
    pub variables: Variables,
    /// Sentences that whoever asked must know.
    pub notes: Vec<String>,
}

/// Runs a command with all the rights that it would have without ringfence, and records it. It is ended after `seconds`.
///
/// # Errors
/// If nothing can be recorded here, or the command cannot be started.
pub fn observe(
    command: &[OsString],
    user: Option<&str>,
    seconds: Option<u64>,
    stderr: &mut dyn Write,
) -> Result<Observation, Failure> {
    let place = Place::find(user)?;
    let probe = Probe::new()?;
    let mut recorder = Recorder::open()?;
    let policy = open_policy(&place, &probe, &recorder, seconds);
    let plan = Plan::new(&request(command, &place), &policy, Engine::BpfLsm, &probe)?;
    let began = SystemTime::now();
    let launched = plan.launch()?;
    let Some(cgroup) = launched.cgroup() else {
        return Err(Failure::Argument(
            "a run can be recorded in a cgroup only, and none can be made here".to_owned(),
        ));
    };
    recorder.begin(cgroup.id())?;
    let way = match recorder.refusal() {
        None => recorder.name().to_owned(),
        Some(reason) => format!("{}; not at the hooks: {reason}", recorder.name()),
    };
    writeln!(stderr, "ringfence: recording by {way}").ok();
    writeln!(stderr, "ringfence: the command runs without a fence").ok();
    let mut collector = Collector::new();
    let mut progress = Progress::new();
    let running = launched.release()?;
    let descriptor = recorder
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| Failure::Unknown {
            what: "the recorder's stream",
            source,
        })?;
    let exit = running.wait(&[descriptor.as_fd()], |_| {
        drain(&mut recorder, &mut collector);
        progress.show(collector.progress());
        true
    })?;
    drain(&mut recorder, &mut collector);
    progress.clear();
    let tally = recorder.tally()?;
    let mut notes = Vec::new();
    if !recorder.sees_capabilities() {
        notes.push(
            "this kernel does not tell which capabilities are used, so the command ran without any"
                .to_owned(),
        );
    }
    if tally.unlisted > 0 {
        notes.push(format!(
            "the kernel did not show {} system calls: their list may lack some, so that `--tight` takes the default ones, and \
             so may `[kernel] allow`; files, sockets and capabilities are whole",
            tally.unlisted
        ));
    }
    let not_told = if recorder.tells_questions_apart() {
        0
    } else {
        NOT_TOLD
    };
    Ok(Observation {
        trace: Trace {
            facts: facts(command, &place, recorder.name(), began),
            records: collector.records(&recorder.counts()?),
            end: end(&exit, &tally, &collector, seconds.is_some(), not_told),
        },
        variables: place.variables(),
        notes,
    })
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

fn facts(command: &[OsString], place: &Place, recorder: &'static str, began: SystemTime) -> Facts {
    let variables = place.variables();
    let values = Variables::KNOWN
        .iter()
        .filter_map(|(name, _)| Some(((*name).to_owned(), variables.get(name)?.into())))
        .collect::<BTreeMap<String, Text>>();
    let since = began
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // Random: two runs that begin in the same moment are two runs.
    let run = RandomState::new().hash_one(since) & 0xffff_ffff;
    Facts {
        run: format!("{run:08x}"),
        command: command
            .iter()
            .map(|word| word.as_encoded_bytes().into())
            .collect(),
        variables: values,
        recorder: recorder.to_owned(),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began: since.as_secs(),
    }
}

/// `was_timed` says that being ended by the clock was wanted.
fn end(exit: &Exit, tally: &Tally, collector: &Collector, was_timed: bool, not_told: u64) -> End {
    let names = |numbers: &[u32]| -> Vec<String> {
        let names = numbers
            .iter()
            .map(|&number| confine::system_call_name(number));
        names.collect()
    };
    let surfaces = confine::surfaces_of(&names(&tally.succeeded))
        .union(confine::surfaces_of_namespaces(collector.namespaces()))
        .union(collector.surfaces());
    let losses = collector.losses(tally).into_iter();
    End {
        exit: if was_timed && exit.timed_out {
            0
        } else {
            exit.code
        },
        lost: losses
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect(),
        capabilities: confine::capability_names(tally.capabilities & !not_told),
        surfaces: confine::surface_names(surfaces),
        system_calls: names(&tally.made),
        unlisted_calls: tally.unlisted,
        peak_memory: exit.peak.memory,
        peak_tasks: exit.peak.tasks,
    }
}

/// `CAP_SYS_ADMIN`: asked for whenever memory grows, to know whether the reserve may be used (mm/util.c,
/// `__vm_enough_memory`). The tracepoint does not tell such a question from a use; what needs the capability is mostly
/// closed by name, and seen as a part of the kernel.
const NOT_TOLD: u64 = 1 << 21;
