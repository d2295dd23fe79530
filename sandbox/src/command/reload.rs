//! `ringfence reload`: another profile for a fence that stands.

use std::{
    ffi::OsString,
    fs,
    io::{Read as _, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, absolute},
};

use super::{
    Failure,
    ps::registered,
    run::{Answer, Request},
};
use crate::{
    kernel::{Registered, Subject, control, token},
    profile,
};

/// Has the supervisor of a fence put `profiles` in the place of those that it has. Without `id` it is the only one that stands.
///
/// # Errors
/// If there is no such fence, or its supervisor refuses: what was in force is.
pub fn reload(id: Option<u64>, profiles: &[OsString], out: &mut dyn Write) -> Result<(), Failure> {
    let fence = found(id)?;
    let id = fence.id;
    if !fence.supervised {
        return Err(Failure::Argument(format!(
            "the supervisor of fence {id} was killed, and nobody else replaces its policy; end it with `ringfence stop {id}`"
        )));
    }
    if let Ok(description) = &fence.description
        && let Subject::Container(name) = &description.subject
    {
        return Err(Failure::Argument(format!(
            "fence {id} holds the container {name}, and a container's profile is that of its start"
        )));
    }
    let profiles = profiles.iter().map(named).collect::<Result<_, _>>()?;
    let shown = token(id);
    let token = fs::read_to_string(&shown).map_err(|source| Failure::File {
        action: "read",
        path: shown,
        source,
    })?;
    match ask(id, &Request::Reload { token, profiles })? {
        Answer::Reloaded(name) => writeln!(out, "fence {id} has the profile {name} from here on")
            .map_err(|source| Failure::File {
                action: "write to",
                path: "/dev/stdout".into(),
                source,
            }),
        Answer::Refused(reason) => Err(Failure::Argument(format!(
            "fence {id} keeps its profile: {reason}"
        ))),
    }
}

fn found(id: Option<u64>) -> Result<Registered, Failure> {
    let mut fences = registered()?.fences;
    let Some(id) = id else {
        let only = fences.pop().filter(|_| fences.is_empty());
        return only.ok_or_else(|| {
            let text = "say which fence: `ringfence ps` lists those that stand on this host";
            Failure::Argument(text.to_owned())
        });
    };
    fences
        .into_iter()
        .find(|fence| fence.id == id)
        .ok_or_else(|| {
            Failure::Argument(format!(
                "no fence {id} stands on this host: `ringfence ps` lists them"
            ))
        })
}

/// As the supervisor, which is elsewhere, finds it.
fn named(profile: &OsString) -> Result<String, Failure> {
    let path = match profile::is_path(profile) {
        true => absolute(profile).map_err(|source| Failure::File {
            action: "find",
            path: profile.into(),
            source,
        })?,
        false => profile.into(),
    };
    let descriptor = path.starts_with("/proc/self") || path.starts_with("/dev/fd");
    path.to_str()
        .filter(|_| !descriptor)
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::Argument(format!(
                "the supervisor reads the profile itself, and cannot read {}: put it into a file",
                Path::new(profile).display()
            ))
        })
}

fn ask(id: u64, request: &Request) -> Result<Answer, Failure> {
    let path = control(id);
    let failed = |source| Failure::File {
        action: "ask the fence's supervisor at",
        path: path.clone(),
        source,
    };
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    let asked = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    let mut answer = Vec::new();
    let sent = stream
        .write_all(&asked)
        .and_then(|()| stream.shutdown(Shutdown::Write));
    // Who does not want to hear all of it says why before it goes.
    let heard = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        sent.and(heard).map_err(failed)?;
    }
    serde_json::from_slice(&answer).map_err(|error| failed(error.into()))
}
