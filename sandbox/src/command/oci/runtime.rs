//! `ringfence oci runtime`: a runtime's whole command line, handed over to the real one after the fence has been put into the
//! bundle.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::{choice, prepare};
use crate::{
    command::Failure,
    confine,
    oci::{self, Act, Bundle, Call, Complaint, Fencing, Host, Runtime},
    profile::{self, CommandLine, Effective},
};

/// How the runtime is set up.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// The real runtime, by path or name.
    pub runtime: Option<OsString>,
    /// The profile of containers that name none.
    pub profile: Option<String>,
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
    let failure = match prepared(options, &call.act) {
        Ok(runtime) => oci::hand_over(&runtime, words).into(),
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
fn prepared(options: &RuntimeOptions, act: &Act) -> Result<Runtime, Failure> {
    let host = Host::read()?;
    match act {
        Act::Start { bundle, .. } => fence(options, &host, bundle)?,
        Act::Exec {
            process: Some(file),
            id: Some(id),
        } => tighten(file, id)?,
        Act::Exec { .. } | Act::Other => {}
    }
    Ok(Runtime::find(options.runtime.as_deref(), &host)?)
}

/// Puts the hooks into the bundle, and takes from its process what the profile does not leave it.
fn fence(options: &RuntimeOptions, host: &Host, directory: &Path) -> Result<(), Failure> {
    let mut bundle = match Bundle::read(directory) {
        // The runtime says it in its own words.
        Err(oci::Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        other => other?,
    };
    let given = options.profile.as_deref();
    let choice = choice::choose(host, &bundle.annotations(), given)?;
    let effective = profile::load(&choice.profiles, CommandLine::default())?;
    bundle.fence(&fencing(&effective, given)?);
    bundle.close_calls(&confine::closed_calls(prepare::opened(&effective)));
    Ok(bundle.write()?)
}

fn fencing(effective: &Effective, given: Option<&str>) -> Result<Fencing, Failure> {
    let mut words = ["ringfence", "oci", "hook"].map(str::to_owned).to_vec();
    if let Some(given) = given {
        words.extend(["--profile".to_owned(), given.to_owned()]);
    }
    Ok(Fencing {
        program: own_program()?,
        hooks: [words.clone(), words],
        capabilities: effective.capabilities.clone(),
        privilege_gain: effective.privilege_gain,
    })
}

/// The process that an engine adds comes with what the engine gave to the first one, before it was tightened.
fn tighten(file: &Path, id: &str) -> Result<(), Failure> {
    for record in oci::of_container(id)? {
        match oci::tighten_process(file, &record.capabilities, record.privilege_gain) {
            // The runtime says it in its own words.
            Err(oci::Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

pub(super) fn own_program() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(|source| Failure::Unknown {
        what: "the path of this program",
        source,
    })
}
