//! What a learned profile allows and the fallback engine cannot: told when it is learned, not only when it is denied.

use std::{collections::BTreeMap, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use super::Observation;
use crate::{
    command::{Failure, look::look},
    compile,
    confine::{self, Act, Kept, Probe, standings},
    kernel::Engine,
    learn::{BY_HOOKS, is_making, is_removing},
    profile::{self, CommandLine},
    trace::Record,
};

/// Acts that this engine keeps from nobody ([`crate::confine::NOT_STOPPED_BY_FALLBACK`]).
const NOT_STOPPED: [&str; 2] = ["readlink", "inotify"];
/// Acts of one kind that are named; more are counted.
const NAMED: usize = 5;

/// A sentence for each kind of act that was seen, that the profile at `profile` allows, and that the engine which this machine has
/// will deny, and for each protection for which it refuses to run the profile; none where the hooks judge.
///
/// # Errors
/// If the profile does not compile, or is too much for the engine.
pub(super) fn not_kept(seen: &Observation, profile: &Path) -> Result<Vec<String>, Failure> {
    let facts = &seen.trace.facts;
    // Where another recorder has been at work, the fallback engine is all that there is.
    if facts.recorder == BY_HOOKS {
        return Ok(Vec::new());
    }
    let effective = profile::load(&[profile.into()], CommandLine::default())?;
    let (policy, _) = compile::compile(&effective, &seen.variables, &look)?;
    let variable = |name: &str| facts.variables.get(name).map(|value| path(value.bytes()));
    let directory = variable("CWD").unwrap_or(Path::new("/"));
    let mut probe = Probe::new()?;
    if probe.cgroup.is_some() {
        let engine = Engine::open_watch();
        probe.cgroup_programs = engine.as_ref().is_ok_and(Engine::has_network);
        let had = engine.and_then(|engine| engine.has_unix());
        probe.unix_programs = had.map_err(|error| error.to_string());
    }
    let kept = Kept::new(&policy, &probe, directory)?;
    let temporary = variable("TMP");
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for record in &seen.trace.records {
        if record.what == "connect-unix" && !kept.unix_sockets() {
            note(
                &mut kinds,
                "Unix sockets are made with --best-effort network only, so that nobody is reached at",
                record,
            );
            continue;
        }
        if NOT_STOPPED.contains(&record.what.as_str()) {
            continue;
        }
        let Some(of) = record.path.as_ref().map(|text| path(text.bytes())) else {
            continue;
        };
        // It is another one in each run, and open as a whole.
        if temporary.is_some_and(|temporary| of.starts_with(temporary)) || !of.is_absolute() {
            continue;
        }
        let allowed = policy.files.automaton.rights(of.as_os_str().as_bytes());
        let act = Act {
            path: of,
            rights: record.rights.0 & allowed & ringfence_abi::rights::ALL,
            lists: record.what == "readdir",
            makes: is_making(&record.what),
            removes: is_removing(&record.what),
        };
        if act.rights != 0 && !kept.passes(act) {
            let kind = match (act.lists, act.makes) {
                (true, _) => {
                    "directories are listed only where all in them may be, or be hidden; not"
                }
                (_, true) => "names are made only where all of the directory may be written; not",
                _ => "not possible here:",
            };
            note(&mut kinds, kind, record);
        }
    }
    let standings = standings(&policy, confine::Engine::Fallback, &probe, None)?;
    let refused = policy.degradation.refused(&standings).into_iter();
    let refused = refused.map(|standing| {
        let (protection, grade) = (standing.protection, standing.grade);
        format!(
            "the fallback engine, which this machine has, refuses a run of this profile: {protection} would be {grade}: {}; \
             --best-effort {protection} accepts it",
            standing.why()
        )
    });
    let told = kinds.into_iter().map(|(kind, acts)| {
        let more = acts.len().saturating_sub(NAMED);
        let mut text = acts[..acts.len().min(NAMED)].join(", ");
        if more > 0 {
            text.push_str(&format!(", and {more} more"));
        }
        format!(
            "the fallback engine, which this machine has, will deny some of this: {kind} {text}"
        )
    });
    Ok(told.chain(refused).collect())
}

fn note<'a>(kinds: &mut BTreeMap<&'a str, Vec<String>>, kind: &'a str, record: &Record) {
    let subject = record
        .path
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let text = format!("{} {}", record.what, crate::report::printable(&subject));
    let acts = kinds.entry(kind).or_default();
    if !acts.contains(&text) {
        acts.push(text);
    }
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
