//! `ringfence profile push` and `profile pull`, in a program of their own that `ringfence` becomes.
//!
//! What talks to registries is a fifth of what there would be to map and relocate at each start of `ringfence run`, which has no use for
//! it. The command line is the same, and is read by the same parser.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use ringfence::{
    cli::{self, Cli, ProfileVerb, Verb},
    command::{Failure, profile},
    registry::Address,
};

fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(arguments) => act(arguments.verb),
        Err(help) => return cli::usage(&help),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where stderr is gone, the exit code still tells.
            writeln!(io::stderr(), "ringfence: {failure}").ok();
            ExitCode::from(failure.exit_code())
        }
    }
}

fn act(verb: Verb) -> Result<(), Failure> {
    let other = || {
        Err(Failure::Argument(
            "call `ringfence`, which calls this".to_owned(),
        ))
    };
    let Verb::Profile(verb) = verb else {
        return other();
    };
    let (mut out, mut stderr) = (io::stdout(), io::stderr());
    match *verb {
        ProfileVerb::Push {
            file,
            address,
            plain_http,
        } => {
            let address = Address::parse(&address, plain_http)?;
            profile::push(&file, &address, &mut out, &mut stderr)
        }
        ProfileVerb::Pull(arguments) => {
            let address = Address::parse(&arguments.address, arguments.plain_http)?;
            let destination = cli::destination(&arguments);
            profile::pull(&address, &destination, &mut out, &mut stderr)
        }
        _ => other(),
    }
}
