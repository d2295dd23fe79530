//! `cargo xtask VERB`: what building, testing and trying ringfence takes beyond cargo itself.

mod bench;
mod ebpf;
mod packages;
mod place;
mod run;
mod security;
mod soak;
mod test;
mod tool;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, machines, tests and benches of ringfence"
)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the kernel half into the object that is checked in
    Ebpf(ebpf::Ask),
    /// Run a command as root on a kernel of your choice, in a throw-away machine
    Vm(vm::Ask),
    /// Run every floor of the tests that this machine can carry
    Test(test::Ask),
    /// Build ringfence and run a command behind its fence
    Run(run::Ask),
    /// Write docs/security.md from what the escape suite found on the floors that were run
    Security,
    /// Run many fences for a long time, and say what grew and what was lost
    Soak(soak::Ask),
    /// Run the benchmarks
    Bench(bench::Ask),
}

fn main() -> ExitCode {
    match act(Line::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Ebpf(ask) => ebpf::verb(&ask).map(|()| ExitCode::SUCCESS),
        Verb::Vm(ask) => vm::verb(ask),
        Verb::Test(ask) => test::verb(&ask),
        Verb::Security => security::verb().map(|()| ExitCode::SUCCESS),
        Verb::Soak(ask) => soak::verb(&ask).map(|()| ExitCode::SUCCESS),
        Verb::Bench(ask) => bench::verb(&ask).map(|()| ExitCode::SUCCESS),
        Verb::Run(ask) => run::verb(&ask).map(|never| match never {}),
    }
}
