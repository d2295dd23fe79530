//! The `ringfence` command: parse, do, report.

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser as _;
use ringfence::{
    cli::{self, Cli, OciSetup, OciVerb, ProfileVerb, RuleArguments, Verb},
    command::{self, Failure, Place, oci::RuntimeOptions, profile::Question},
    oci::Runtime,
    profile::Right,
};

fn main() -> ExitCode {
    let done = match runtime_by_name() {
        Some(done) => done,
        None => match Cli::try_parse() {
            Ok(arguments) => act(arguments.verb),
            Err(help) => return cli::usage(&help),
        },
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Where stderr is gone, the exit code still tells.
            writeln!(io::stderr(), "ringfence: {failure}").ok();
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Called as `ringfence-runc` and the like, every word is the runtime's.
fn runtime_by_name() -> Option<Result<u8, Failure>> {
    let mut words = env::args_os();
    let runtime = Runtime::meant_by(&words.next()?)?;
    let options = RuntimeOptions {
        runtime: Some(runtime.into()),
        ..RuntimeOptions::default()
    };
    let words: Vec<_> = words.collect();
    Some(command::oci::runtime(&options, &words))
}

fn act(verb: Verb) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    match verb {
        Verb::Run(arguments) => {
            let options = cli::run_options(*arguments, &directory()?)?;
            command::run::run(&options, &mut io::stderr())
        }
        Verb::Learn(arguments) => {
            let options = cli::learn_options(*arguments)?;
            command::learn::learn(&options, &mut out, &mut io::stderr())
        }
        Verb::Check(arguments) => {
            let options = cli::check_options(*arguments)?;
            command::check::check(&options, &mut out, &mut io::stderr())
        }
        Verb::Report(arguments) => {
            let variables = Place::find(None)?.variables();
            command::report::report(
                &arguments.trace,
                arguments.profile.as_ref(),
                arguments.output.as_deref(),
                &variables,
                &mut out,
            )
            .map(|()| 0)
        }
        Verb::Why(arguments) => {
            command::why::why(arguments.filter.as_deref(), arguments.json, &mut out).map(|()| 0)
        }
        Verb::Doctor(arguments) => command::doctor::doctor(arguments.json, &mut out).map(|()| 0),
        Verb::Load => command::load::load(&mut out).map(|()| 0),
        Verb::Unload => command::load::unload(&mut out),
        Verb::Ps(arguments) => command::ps::ps(arguments.json, &mut out).map(|()| 0),
        Verb::Reload(arguments) => {
            command::reload::reload(arguments.id, &arguments.profiles, &mut out).map(|()| 0)
        }
        Verb::Stop(arguments) => {
            command::stop::stop(arguments.id, arguments.time, &mut out).map(|()| 0)
        }
        #[cfg(feature = "otlp")]
        Verb::Events(cli::EventsArguments {
            id,
            otlp: Some(endpoint),
        }) => command::events::send(id, &endpoint, &mut io::stderr()).map(|()| 0),
        Verb::Events(arguments) => command::events::events(arguments.id, &mut out).map(|()| 0),
        Verb::Metrics => command::metrics::metrics(&mut out).map(|()| 0),
        Verb::Profile(verb) => profile(*verb, &mut out),
        Verb::Oci(verb) => {
            // What becomes the runtime, or its hook, writes by other ways.
            drop(out);
            oci(verb)
        }
    }
}

fn oci(verb: OciVerb) -> Result<u8, Failure> {
    match verb {
        OciVerb::Runtime { setup, words } => command::oci::runtime(&options(setup), &words),
        OciVerb::Run { setup, id, bundle } => command::oci::bundle(&options(setup), &bundle, id),
        OciVerb::Hook {
            profile,
            fallback,
            learn,
        } => command::oci::hook(profile, fallback, learn),
        OciVerb::Install(host) => command::oci::install(
            host.engine.into(),
            &host.root,
            host.dry_run,
            &mut io::stdout(),
        )
        .map(|()| 0),
        OciVerb::Uninstall(host) => command::oci::uninstall(
            host.engine.into(),
            &host.root,
            host.dry_run,
            &mut io::stdout(),
        )
        .map(|()| 0),
    }
}

fn options(setup: OciSetup) -> RuntimeOptions {
    RuntimeOptions {
        runtime: setup.runtime,
        profile: setup.profile,
        learn: setup.learn,
    }
}

fn profile(verb: ProfileVerb, out: &mut dyn io::Write) -> Result<u8, Failure> {
    match verb {
        ProfileVerb::Show { rules, json } => {
            command::profile::show(request(&rules)?, json, out)?;
        }
        ProfileVerb::Test {
            path,
            connect,
            listen,
            unix,
            rights,
            programs,
            profiles,
            json,
        } => {
            let rules = RuleArguments {
                profiles,
                ..RuleArguments::default()
            };
            let asked = [
                (rights.read, Right::Read),
                (rights.write, Right::Write),
                (rights.exec, Right::Exec),
            ];
            let none = asked.iter().all(|(asked, _)| !asked);
            let asked: Vec<_> = asked
                .into_iter()
                .filter_map(|(asked, right)| (asked || none).then_some(right))
                .collect();
            let allowed = command::profile::test(
                request(&rules)?,
                &Question {
                    programs: programs.into_iter().map(PathBuf::from).collect(),
                    path: path.map(PathBuf::from),
                    rights: asked,
                    connect,
                    listen,
                    unix,
                },
                &directory()?,
                json,
                out,
            )?;
            return Ok(u8::from(!allowed));
        }
        ProfileVerb::Merge { profiles, output } => {
            command::profile::merge(&profiles, output.as_deref(), out)?;
        }
        ProfileVerb::Diff {
            first,
            second,
            json,
        } => {
            let variables = Place::find(None)?.variables();
            let same = command::profile::diff(&first, &second, &variables, json, out)?;
            return Ok(u8::from(!same));
        }
        ProfileVerb::Minimise { profile, traces } => {
            let variables = Place::find(None)?.variables();
            let none = command::profile::minimise(&profile, &traces, &variables, out)?;
            return Ok(u8::from(!none));
        }
        ProfileVerb::Export {
            target,
            profiles,
            lossy,
        } => {
            let variables = Place::find(None)?.variables();
            command::profile::export(
                &profiles,
                cli::export_target(&target),
                lossy,
                &variables,
                out,
                &mut io::stderr(),
            )?;
        }
        #[cfg(feature = "registry")]
        ProfileVerb::Push { .. } | ProfileVerb::Pull(_) => return Err(become_registry()),
        ProfileVerb::Schema => command::profile::schema(out)?,
        ProfileVerb::List => command::profile::list(out)?,
    }
    Ok(0)
}

/// Becomes the program beside this one that talks to registries; returns only if that fails.
#[cfg(feature = "registry")]
fn become_registry() -> Failure {
    use std::os::unix::process::CommandExt as _;
    let own = match env::current_exe() {
        Ok(own) => own,
        Err(source) => {
            return Failure::Unknown {
                what: "the path of this program",
                source,
            };
        }
    };
    let program = own.with_file_name("ringfence-registry");
    let words = env::args_os().skip(1);
    let mut command = std::process::Command::new(&program);
    Failure::File {
        action: "execute (it is installed beside ringfence)",
        source: command.arg0("ringfence").args(words).exec(),
        path: program,
    }
}

fn request(rules: &RuleArguments) -> Result<command::profile::Request, Failure> {
    Ok(command::profile::Request {
        profiles: rules.profiles.clone(),
        command_line: cli::command_line(rules, &directory()?)?,
        variables: Place::find(None)?.variables(),
    })
}

fn directory() -> Result<std::path::PathBuf, Failure> {
    env::current_dir().map_err(|source| Failure::Unknown {
        what: "the working directory",
        source,
    })
}
