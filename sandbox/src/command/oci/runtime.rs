//! `ringfence oci runtime`: a runtime's whole command line, handed over to the real one after the fence has been put into the
//! bundle.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::{
    choice, engine,
    monitor::{self, Expected},
    prepare,
};
use crate::{
    command::Failure,
    confine::{self, Between, Engine},
    oci::{
        self, Act, Bundle, Call, Complaint, Fencing, Host, Launcher, Left, Meeting, Messenger,
        Runtime,
    },
    profile::{self, CommandLine, Effective},
};

/// A hook's first words.
const HOOK: [&str; 3] = ["ringfence", "oci", "hook"];
/// Among a hook's words: the container has a launcher.
pub(super) const FALLBACK: &str = "--fallback";

/// How the runtime is set up.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// The real runtime, by path or name.
    pub runtime: Option<OsString>,
    /// The profile of containers that name none.
    pub profile: Option<String>,
    /// Where the profile goes of a container that is recorded instead of fenced.
    pub learn: Option<PathBuf>,
}

/// Becomes the real runtime, with the command line `words`; what it starts is fenced.
///
/// # Errors
/// If the fence cannot be put into the bundle, or there is no runtime; nothing runs then. The reason has been written to the
/// runtime's log.
pub fn runtime(options: &RuntimeOptions, words: &[OsString]) -> Result<u8, Failure> {
    let directory = env::current_dir().map_err(|source| Failure::Unknown {
        what: "the working directory",
        source,
    })?;
    let complained = |complaint: &Complaint, failure: Failure| {
        complaint.write(&format!("ringfence: {failure}"));
        Failure::Runtime(Box::new(failure))
    };
    let call = Call::parse(words, &directory)
        .map_err(|(error, complaint)| complained(&complaint, error.into()))?;
    let mut words = words.to_vec();
    let failure = match prepared(options, &call.act, &mut words) {
        Ok(runtime) => oci::hand_over(&runtime, &words).into(),
        Err(failure) => failure,
    };
    Err(complained(&call.complaint, failure))
}

/// Runs the bundle in `directory` without an engine: `run` of the real runtime, in the foreground.
///
/// # Errors
/// As [`runtime`].
pub fn bundle(
    options: &RuntimeOptions,
    directory: &Path,
    id: Option<String>,
) -> Result<u8, Failure> {
    let id = id.unwrap_or_else(|| format!("ringfence-{}", std::process::id()));
    let words = ["run", "--bundle"].map(OsString::from);
    let words = [&words[..], &[directory.into(), id.into()]].concat();
    runtime(options, &words)
}

/// Makes the call one that starts nothing without a fence, and finds who does it.
fn prepared(
    options: &RuntimeOptions,
    act: &Act,
    words: &mut Vec<OsString>,
) -> Result<Runtime, Failure> {
    let host = Host::read()?;
    match act {
        Act::Start {
            bundle,
            descriptors,
            ..
        } => fence(options, &host, bundle, *descriptors)?,
        Act::Exec {
            process,
            id: Some(id),
            command,
            descriptors,
        } => add(process.as_deref(), id, *command, *descriptors, words)?,
        Act::Checkpoint {
            id: Some(id),
            goes_on: false,
        } => may_end(id)?,
        Act::Exec { .. } | Act::Checkpoint { .. } | Act::Other => {}
    }
    Ok(Runtime::find(options.runtime.as_deref(), &host)?)
}

/// Puts the hooks into the bundle, and takes from its process what the profile does not leave it.
fn fence(
    options: &RuntimeOptions,
    host: &Host,
    directory: &Path,
    descriptors: u32,
) -> Result<(), Failure> {
    let mut bundle = match Bundle::read(directory) {
        // The runtime says it in its own words.
        Err(oci::Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        other => other?,
    };
    oci::can_be_kept()?;
    let launcher = launcher(descriptors);
    // Also for a recorded start: what a fence has left would be all that is learned.
    bundle.restore(&launcher);
    let asked = host.learned_file(&bundle.annotations())?;
    if options.learn.is_some() || asked.is_some() {
        let mut words = HOOK.map(str::to_owned).to_vec();
        if let Some(file) = &options.learn {
            let file = absolute(file)?;
            words.extend(["--learn".to_owned(), file.to_string_lossy().into_owned()]);
        }
        bundle.record(&own_program()?, &[words.clone(), words]);
        return Ok(bundle.write()?);
    }
    let given = options.profile.as_deref();
    let annotations = bundle.annotations();
    let image = host.image_of(directory, &annotations);
    let choice = choice::choose(host, &annotations, &image, given)?;
    let effective = profile::load(&choice.profiles, CommandLine::default())?;
    let fallback = engine::choose(host)? == Engine::Fallback;
    // A launcher enters a filter of its own that closes these and more, which has been compiled before; the runtime would
    // compile them for each container anew.
    let closed = match fallback {
        true => Vec::new(),
        false => confine::closed_calls(prepare::opened(&effective)),
    };
    let hook = Hook::arrange(given, fallback)?;
    bundle.fence(&Fencing {
        launcher: fallback.then_some(launcher),
        closed,
        program: hook.program,
        hooks: hook.words,
        left: left(&effective),
        limits: effective.limits,
    });
    let send_ahead = |meeting| {
        let expected = Expected {
            bundle: &bundle,
            choice: &choice,
            given,
            fallback,
        };
        monitor::send_ahead(meeting, &expected)
    };
    let ahead = hook.meeting.map(send_ahead).transpose()?;
    bundle.write()?;
    Ok(ahead.map_or(Ok(()), Between::wait)?)
}

/// The hook runs elsewhere.
fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(file).map_err(|source| Failure::Unknown {
        what: "where the profile goes",
        source,
    })
}

/// What the runtime is to call.
struct Hook {
    program: PathBuf,
    /// Its words when a container comes to be, and when it has gone.
    words: [Vec<String>; 2],
    /// Where it finds a monitor that is sent ahead.
    meeting: Option<Meeting>,
}

impl Hook {
    /// The small program, if it is there to be called; else this one, which starts a monitor then.
    fn arrange(given: Option<&str>, fallback: bool) -> Result<Self, Failure> {
        let mut words = HOOK.map(str::to_owned).to_vec();
        if let Some(given) = given {
            words.extend(["--profile".to_owned(), given.to_owned()]);
        }
        if fallback {
            words.push(FALLBACK.to_owned());
        }
        let program = own_program()?;
        let called = env::args_os().next().unwrap_or_default();
        let (Some(messenger), Some(own)) = (Messenger::beside(&called), program.to_str()) else {
            return Ok(Self {
                program,
                words: [words.clone(), words],
                meeting: None,
            });
        };
        let meeting = Meeting::arrange()?;
        Ok(Self {
            words: Messenger::hooks(&meeting.path().to_string_lossy(), own, &words),
            program: messenger.program,
            meeting: Some(meeting),
        })
    }
}

/// What the profile leaves to each process.
fn left(effective: &Effective) -> Left {
    Left::by(
        &effective.capabilities,
        effective.privilege_gain,
        &effective.limits,
    )
}

/// What stands in front of a command that gets `descriptors` by option. Those of socket activation come on top (runc's `create`
/// and `run` pass them on).
fn launcher(descriptors: u32) -> Launcher {
    let activated = env::var("LISTEN_FDS").ok();
    let activated = activated.and_then(|value| value.parse::<u32>().ok());
    Launcher {
        program: confine::LAUNCHER,
        place: confine::LAUNCHER_PLACE,
        descriptors: descriptors.saturating_add(activated.unwrap_or(0)),
    }
}

/// Whether a container may be written down and ended: one that is fenced would be lost, for it is not restored.
fn may_end(id: &str) -> Result<(), Failure> {
    match oci::of_container(id)?.iter().any(|record| !record.is_learned) {
        false => Ok(()),
        true => Err(oci::Error::Verb {
            verb: "checkpoint",
            reason: "the container would end, and what is restored cannot be put behind its fence again; --leave-running writes it \
                     down and lets it go on",
        }
        .into()),
    }
}

/// The process that an engine adds comes with what the engine gave to the first one, before it was tightened; and where a
/// launcher stands in front of that, it gets one as well. `command` is where its words begin.
fn add(
    file: Option<&Path>,
    id: &str,
    command: Option<usize>,
    descriptors: u32,
    words: &mut Vec<OsString>,
) -> Result<(), Failure> {
    let mut records = oci::of_container(id)?;
    records.retain(|record| !record.is_learned);
    let launcher = launcher(descriptors);
    let behind = records.iter().any(|record| record.launcher);
    if behind {
        for record in &records {
            launcher.wait_for_mounts(&record.cgroup, confine::PLAN);
        }
    }
    match (file, command) {
        (Some(file), _) => {
            let left: Vec<&Left> = records.iter().map(|record| &record.left).collect();
            match oci::tighten_process(file, &left, &launcher, behind) {
                // The runtime says it in its own words.
                Err(oci::Error::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        (None, Some(at)) if behind => {
            words.splice(at..at, launcher.words().map(OsString::from));
        }
        (None, _) => {}
    }
    Ok(())
}

pub(super) fn own_program() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(|source| Failure::Unknown {
        what: "the path of this program",
        source,
    })
}
