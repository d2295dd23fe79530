//! From what was typed to what it means.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use super::{
    CheckArguments, ContainerEngineArgument, EngineArgument, ExportTarget, FormatArgument,
    LearnArguments, LimitArguments, NetworkArgument, RuleArguments, RunArguments, SniArgument,
};
use crate::{
    command::{
        Failure, check, learn,
        run::{EngineChoice, Options},
    },
    compile::export::Target,
    learn::Level,
    oci::install::ContainerEngine,
    policy::{Demand, Limits, Mode, Protection, Sni},
    profile::{
        CommandLine, NetworkChoice, NetworkRight, NetworkRule, Opening, Origin, Right, Rule,
        SyscallChoice, capability, kernel, limit, syscall,
    },
    report::Format,
};

/// The options of `ringfence run`; relative paths of rules are taken from `directory`.
///
/// # Errors
/// If a rule, a limit or a name makes no sense.
pub fn run_options(arguments: RunArguments, directory: &Path) -> Result<Options, Failure> {
    let mut command_line = command_line(&arguments.rules, directory)?;
    command_line.limits = limits(&arguments.limits)?;
    Ok(Options {
        profiles: arguments.rules.profiles,
        command_line,
        command: arguments.command,
        user: arguments.user,
        keep: arguments.keep,
        wait_all: arguments.wait_all,
        engine: match arguments.engine {
            EngineArgument::Auto => EngineChoice::Auto,
            EngineArgument::BpfLsm => EngineChoice::BpfLsm,
            EngineArgument::Fallback => EngineChoice::Fallback,
        },
        quiet: arguments.quiet,
        stats: arguments.stats,
        events: arguments.events,
        dry_run: arguments.dry_run,
    })
}

/// The options of `ringfence learn`.
///
/// # Errors
/// If the time makes no sense.
pub fn learn_options(arguments: LearnArguments) -> Result<learn::Options, Failure> {
    let seconds = arguments.time.as_deref();
    Ok(learn::Options {
        seconds: seconds.map(|text| limit("time", text)).transpose()?,
        subject: match (arguments.pid, arguments.container, arguments.image) {
            (Some(pid), ..) => learn::Subject::Process(pid),
            (None, Some(name), _) => learn::Subject::Container {
                name,
                root: arguments.runtime_root,
            },
            (None, None, Some(name)) => learn::Subject::Image {
                name,
                options: arguments.engine_arguments,
                words: arguments.command,
            },
            (None, None, None) => learn::Subject::Command {
                words: arguments.command,
                user: arguments.user,
            },
        },
        output: arguments.output,
        merge: arguments.merge,
        trace: arguments.trace,
        base: arguments.base,
        level: match (arguments.tight, arguments.loose) {
            (true, _) => Level::Tight,
            (_, true) => Level::Loose,
            _ => Level::Default,
        },
        accept_secrets: arguments.accept_secrets,
        allow_loss: arguments.allow_loss,
    })
}

/// The options of `ringfence check`.
///
/// # Errors
/// If the time makes no sense.
pub fn check_options(arguments: CheckArguments) -> Result<check::Options, Failure> {
    let seconds = arguments.time.as_deref();
    Ok(check::Options {
        seconds: seconds.map(|text| limit("time", text)).transpose()?,
        profile: arguments.profile,
        command: arguments.command,
        format: match arguments.format {
            FormatArgument::Text => Format::Text,
            FormatArgument::Json => Format::Json,
            FormatArgument::Junit => Format::Junit,
            FormatArgument::Sarif => Format::Sarif,
            FormatArgument::Markdown => Format::Markdown,
            FormatArgument::Github => Format::Github,
        },
        output: arguments.output,
        update: arguments.update,
        allow_loss: arguments.allow_loss,
        user: arguments.user,
    })
}

/// What rules on the command line add to the profiles.
///
/// # Errors
/// If a rule or a name makes no sense.
pub fn command_line(arguments: &RuleArguments, directory: &Path) -> Result<CommandLine, Failure> {
    let mut rules = Vec::new();
    let lists: [(Right, &[OsString]); 4] = [
        (Right::Read, &arguments.read),
        (Right::Write, &arguments.write),
        (Right::Exec, &arguments.exec),
        (Right::Deny, &arguments.deny),
    ];
    for (right, paths) in lists {
        for path in paths {
            rules.push(Rule::from_command_line(right, path, directory)?);
        }
    }
    Ok(CommandLine {
        rules,
        files_mode: arguments.audit.then_some(Mode::Audit),
        network: arguments.network.map(|network| match network {
            NetworkArgument::None => NetworkChoice::None,
            NetworkArgument::Open => NetworkChoice::Open,
        }),
        network_mode: arguments.audit.then_some(Mode::Audit),
        network_rules: network_rules(arguments, directory)?,
        sni: arguments.sni.map(|sni| match sni {
            SniArgument::Required => Sni::Required,
            SniArgument::IfPresent => Sni::IfPresent,
            SniArgument::Off => Sni::Off,
        }),
        capabilities: capabilities(&arguments.capabilities)?,
        kernel: kernel(&arguments.kernel)?,
        syscalls: syscalls(&arguments.syscalls)?,
        privilege_gain: arguments.allow_privilege_gain,
        limits: Limits::default(),
        demands: demands(&arguments.best_effort)?,
    })
}

fn network_rules(arguments: &RuleArguments, directory: &Path) -> Result<Vec<NetworkRule>, Failure> {
    let lists: [(NetworkRight, &[OsString]); 4] = [
        (NetworkRight::Connect, &arguments.connect),
        (NetworkRight::Listen, &arguments.listen),
        (NetworkRight::Unix, &arguments.unix),
        (NetworkRight::Deny, &arguments.deny_network),
    ];
    let mut rules = Vec::new();
    for (right, texts) in lists {
        for text in texts {
            rules.push(NetworkRule::from_command_line(right, text, directory)?);
        }
    }
    Ok(rules)
}

fn capabilities(names: &[String]) -> Result<Vec<&'static str>, Failure> {
    let named =
        |name: &String| capability::named(name).map_err(|near| unknown("capability", name, near));
    names.iter().map(named).collect()
}

fn kernel(names: &[String]) -> Result<Vec<Opening>, Failure> {
    let opening = |name: &String| {
        let surface =
            kernel::surface(name).map_err(|near| unknown("part of the kernel", name, near))?;
        Ok(Opening {
            surface,
            origin: Origin::CommandLine,
        })
    };
    names.iter().map(opening).collect()
}

/// `default` alone is the word for what is not listed, as in a profile.
fn syscalls(names: &[String]) -> Result<Option<SyscallChoice>, Failure> {
    match names {
        [] => return Ok(None),
        [only] if only == "default" => return Ok(Some(SyscallChoice::Default)),
        _ => {}
    }
    for name in names {
        syscall::check(name).map_err(|near| unknown(syscall::kind(name), name, near))?;
    }
    Ok(Some(SyscallChoice::Listed(names.to_vec())))
}

fn unknown(what: &str, name: &str, near: Option<&str>) -> Failure {
    let near = near
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    Failure::Argument(format!("there is no {what} `{name}`{near}"))
}

impl From<ContainerEngineArgument> for ContainerEngine {
    fn from(argument: ContainerEngineArgument) -> Self {
        match argument {
            ContainerEngineArgument::Containerd => Self::Containerd,
            ContainerEngineArgument::Podman => Self::Podman,
            ContainerEngineArgument::Crio => Self::Crio,
        }
    }
}

fn limits(arguments: &LimitArguments) -> Result<Limits, Failure> {
    let amount =
        |key, text: &Option<String>| text.as_deref().map(|text| limit(key, text)).transpose();
    Ok(Limits {
        memory: amount("memory", &arguments.memory)?,
        pids: arguments.pids,
        wall_seconds: amount("time", &arguments.time)?,
        cpu_percent: amount("cpu", &arguments.cpu)?,
        open_files: arguments.open_files,
        file_size: amount("file-size", &arguments.file_size)?,
    })
}

/// What may degrade: names of protections, `files` for the three about files, `all` for all.
fn demands(names: &[String]) -> Result<BTreeMap<Protection, Demand>, Failure> {
    let mut demands = BTreeMap::new();
    for name in names {
        let meant: Vec<_> = Protection::ALL
            .into_iter()
            .filter(|protection| {
                name == "all"
                    || protection.name() == name
                    || (name == "files" && protection.name().starts_with("files-"))
            })
            .collect();
        if meant.is_empty() {
            let known: Vec<_> = Protection::ALL
                .iter()
                .map(|protection| protection.name())
                .collect();
            return Err(Failure::Argument(format!(
                "there is no protection `{name}`; known: {}, files, all",
                known.join(", ")
            )));
        }
        demands.extend(
            meant
                .into_iter()
                .map(|protection| (protection, Demand::BestEffort)),
        );
    }
    Ok(demands)
}

/// Where a pulled profile goes.
#[cfg(feature = "registry")]
#[must_use]
pub fn destination(arguments: &super::PullArguments) -> crate::command::profile::Destination {
    use crate::command::{output, profile::Destination};
    match (&arguments.install, &arguments.output) {
        (Some(name), _) => Destination::Host {
            name: name.clone(),
            replace: arguments.replace,
        },
        (None, named) => match output::file(named.as_deref()) {
            Some(path) => Destination::File(path.to_owned()),
            None => Destination::Output,
        },
    }
}

/// The format that was asked for; the parser sees to it that one was.
#[must_use]
pub fn export_target(target: &ExportTarget) -> Target {
    match target {
        ExportTarget { seccomp: true, .. } => Target::Seccomp,
        ExportTarget { apparmor: true, .. } => Target::AppArmor,
        ExportTarget { landlock: true, .. } => Target::Landlock,
        _ => Target::Oci,
    }
}
