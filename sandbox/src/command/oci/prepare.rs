//! From a container to a policy: its own paths, its own variables, its own links.

use ringfence_abi::surface::Surfaces;

use super::choice::Choice;
use crate::{
    command::{
        Failure,
        compiled::{Source, Wanted, compiled},
        memory::Remembered,
    },
    compile::{self, Entry, follow},
    oci::{Bundle, Container, Found, Process, Root},
    policy::Policy,
    profile::{CommandLine, Effective, Program, Right, Rule, Variables, kernel},
};

/// Loads and compiles the profile for this container.
pub(super) fn compile(
    container: &Container,
    bundle: &Bundle,
    process: &Process,
    choice: &Choice,
    remembered: &Remembered,
) -> Result<(Policy, Source), Failure> {
    let root = Root::of(container.pid, &bundle.root())?;
    let look = |path: &[u8]| entry(root.look(path));
    let mut command_line = CommandLine::default();
    if choice.profiles.is_empty() || is_pause(container) {
        command_line.rules = command_rules(process, &look);
    }
    let wanted = Wanted {
        profiles: choice.profiles.clone(),
        command_line,
        variables: variables(process),
    };
    compiled(wanted, &look, remembered)
}

/// What a profile opens of the kernel, its programs included: a filter of system calls cannot change at exec.
pub(super) fn opened(effective: &Effective) -> Surfaces {
    let open = kernel::opened(&effective.kernel);
    effective
        .programs
        .iter()
        .fold(open, |open, program| open.union(opened_by(program)))
}

fn opened_by(program: &Program) -> Surfaces {
    let open = kernel::opened(&program.sections.kernel);
    let inner = program.sections.programs.iter();
    inner.fold(open, |open, program| open.union(opened_by(program)))
}

pub(super) fn entry(found: Found) -> Entry {
    match found {
        Found::Missing => Entry::Missing,
        Found::Directory => Entry::Directory,
        Found::Link(target) => Entry::Link(target),
        Found::Other => Entry::Other,
    }
}

/// Whether this is the container that holds a pod's namespaces: it runs a program of the engine's, which no profile for what is in
/// the pod lists. Who says so wrongly gets no more than the right to execute the container's own command.
fn is_pause(container: &Container) -> bool {
    [
        "io.kubernetes.cri.container-type",
        "io.kubernetes.cri-o.ContainerType",
    ]
    .iter()
    .any(|name| {
        container
            .annotations
            .get(*name)
            .is_some_and(|kind| kind == "sandbox")
    })
}

/// Under the default profile, the command itself may be read and executed, as in `ringfence run`.
fn command_rules(process: &Process, look: compile::Look<'_>) -> Vec<Rule> {
    let reason = "the command of this container";
    let Some(program) = find(process, look) else {
        // The runtime says that it is not there.
        return Vec::new();
    };
    vec![
        Rule::built_in(Right::Read, &program, reason),
        Rule::built_in(Right::Exec, &program, reason),
    ]
}

/// What a runtime says of a command that is not there; it does not get as far where a launcher stands in front.
pub(super) fn missing(container: &Container, bundle: &Bundle, process: &Process) -> Option<String> {
    let name = process.arguments.first()?;
    let root = Root::of(container.pid, &bundle.root()).ok()?;
    let reason = match find(process, &|path: &[u8]| entry(root.look(path))) {
        Some(_) => return None,
        None if name.contains('/') => "no such file or directory",
        None => "executable file not found in $PATH",
    };
    Some(format!("exec: {name:?}: {reason}"))
}

/// Where the first word leads, as the runtime finds it: in `PATH` if it has no slash.
fn find(process: &Process, look: compile::Look<'_>) -> Option<Vec<u8>> {
    let name = process.arguments.first()?;
    let directory = process.directory.join(name);
    let candidates: Vec<_> = if name.contains('/') {
        vec![directory]
    } else {
        let path = process.environment.get("PATH")?;
        path.split(':')
            .map(|folder| process.directory.join(folder).join(name))
            .collect()
    };
    candidates
        .into_iter()
        .map(|path| follow(path.as_os_str().as_encoded_bytes(), look))
        .find(|path| look(path) == Entry::Other)
}

/// The values of the variables that profiles may use: the container's own.
pub(super) fn variables(process: &Process) -> Variables {
    let given = |name: &str| {
        process
            .environment
            .get(name)
            .filter(|value| value.starts_with('/'))
    };
    let root = process.uid == 0;
    let home = match given("HOME") {
        Some(home) => home.clone(),
        None if root => "/root".to_owned(),
        None => "/".to_owned(),
    };
    let below = |variable, default: &str| {
        given(variable)
            .cloned()
            .unwrap_or_else(|| format!("{}/{default}", home.trim_end_matches('/')))
    };
    let name = process.environment.get("USER").cloned();
    let name = name.unwrap_or_else(|| {
        if root {
            "root".to_owned()
        } else {
            process.uid.to_string()
        }
    });
    Variables::new()
        .with("CWD", &process.directory)
        .with("TMP", given("TMPDIR").map_or("/tmp", String::as_str))
        .with("UID", process.uid.to_string())
        .with("USER", name)
        .with("CACHE", below("XDG_CACHE_HOME", ".cache"))
        .with("CONFIG", below("XDG_CONFIG_HOME", ".config"))
        .with("HOME", &home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process {
            arguments: vec!["sh".to_owned()],
            environment: [("PATH", "/sbin:/bin"), ("HOME", "/home/u")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            directory: "/work".into(),
            uid: 1000,
            no_new_privileges: true,
        }
    }

    #[test]
    fn the_command_is_what_its_links_lead_to() {
        let look = |path: &[u8]| match path {
            b"/bin" => Entry::Link(b"usr/bin".to_vec()),
            b"/usr" | b"/usr/bin" => Entry::Directory,
            b"/usr/bin/sh" => Entry::Link(b"busybox".to_vec()),
            b"/usr/bin/busybox" => Entry::Other,
            _ => Entry::Missing,
        };
        assert_eq!(find(&process(), &look), Some(b"/usr/bin/busybox".to_vec()));
    }

    #[test]
    fn variables_are_the_containers() {
        let variables = variables(&process());
        assert_eq!(variables.get("HOME"), Some(&b"/home/u"[..]));
        assert_eq!(variables.get("CONFIG"), Some(&b"/home/u/.config"[..]));
        assert_eq!(variables.get("CWD"), Some(&b"/work"[..]));
        assert_eq!(variables.get("TMP"), Some(&b"/tmp"[..]));
        assert_eq!(variables.get("USER"), Some(&b"1000"[..]));
    }
}
