//! From what was asked to a policy and a request.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{Options, record};
use crate::{
    command::{
        Failure,
        compiled::{Source, Wanted, compiled},
        look::look,
        memory::Remembered,
        place::Place,
    },
    confine::{Request, find_program},
    kernel,
    policy::Policy,
    profile::{Right, Rule},
};

/// The compiled profile.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) policy: Policy,
    pub(super) source: Rc<Source>,
}

/// Loads and compiles the profile for this place.
pub(super) fn prepare(
    options: &Options,
    place: &Place,
    remembered: &Remembered,
) -> Result<Prepared, Failure> {
    let mut command_line = options.command_line.clone();
    if options.profiles.is_empty() {
        command_line.rules.extend(command_rules(options, place)?);
    }
    command_line.rules.extend(own_places(options)?);
    let wanted = Wanted {
        profiles: options.profiles.clone(),
        command_line,
        variables: place.variables(),
    };
    let (policy, source) = compiled(wanted, &look, remembered)?;
    Ok(Prepared {
        policy,
        source: Rc::new(source),
    })
}

/// The programs' pins and what supervisors keep beside them, the records of runs, and the file of this run's events:
/// whatever a profile lets be written, not these. A deny rule holds in every program of the profile.
fn own_places(options: &Options) -> Result<Vec<Rule>, Failure> {
    [
        Some(PathBuf::from(kernel::STATE)),
        record::state_directory(),
        options.events.clone(),
    ]
    .into_iter()
    .flatten()
    // What is not there is not in use; rules are about what links lead to.
    .filter_map(|path| fs::canonicalize(path).ok())
    .map(|path| {
        let reason = "the fence protects itself";
        let path = path.as_os_str().as_bytes();
        Ok(Rule::built_in_below(Right::Deny, path, reason)?)
    })
    .collect()
}

/// Under the default profile, the command itself may be read and executed: that is what was asked for. A profile that
/// was named says so itself.
fn command_rules(options: &Options, place: &Place) -> Result<Vec<Rule>, Failure> {
    let program = find_program(command(options)?, &place.environment(), &place.directory)?;
    let program = fs::canonicalize(&program).map_err(|source| Failure::File {
        action: "find",
        path: program,
        source,
    })?;
    let path = program.as_os_str().as_bytes();
    let reason = "the command of this run";
    Ok(vec![
        Rule::built_in(Right::Read, path, reason),
        Rule::built_in(Right::Exec, path, reason),
    ])
}

fn command(options: &Options) -> Result<&OsString, Failure> {
    options
        .command
        .first()
        .ok_or_else(|| Failure::Argument("there is no command to run".to_owned()))
}

/// The launch that was asked for.
pub(super) fn request(options: &Options, place: &Place) -> Request {
    let mut words = options.command.iter().cloned();
    Request {
        command: words.next().unwrap_or_default(),
        arguments: words.collect(),
        environment: place.environment(),
        directory: Path::to_path_buf(&place.directory),
        user: place.user.clone(),
        keep: options.keep.clone(),
        wait_all: options.wait_all,
        tells: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Variables;

    #[test]
    fn a_variable_that_uses_its_old_value_has_it_once() {
        let place = Place::find(None).unwrap();
        let profile = place.temporary.path().join("own.toml");
        let text = "version = 1\n[variables]\nCWD = \"${CWD}/x\"\n[files]\nread = [\"${CWD}\"]\n";
        fs::write(&profile, text).unwrap();
        let options = Options {
            profiles: vec![profile.into()],
            ..Options::default()
        };
        let prepared = prepare(&options, &place, &Remembered::open()).unwrap();
        let given: Variables = place.variables();
        let once = [given.get("CWD").unwrap(), b"/x"].concat();
        let twice = [&once[..], b"/x"].concat();
        let rights = |path: &[u8]| prepared.policy.files.automaton.rights(path);
        assert_eq!(rights(&once), ringfence_abi::rights::READ);
        assert_eq!(rights(&twice), 0);
    }
}
