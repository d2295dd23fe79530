//! `ringfence load` and `unload`: the programs in the kernel, before the first fence or recording and after the last.

use std::{io::Write, time::Instant};

use super::{Failure, output, run};
use crate::{
    confine::Probe,
    kernel::{Engine, Host, Recorder},
};

/// Loads what a fence and a recording need, so that the first one need not: on this host's best engine.
///
/// # Errors
/// If neither engine's programs can be loaded, with the reason.
pub fn load(out: &mut dyn Write) -> Result<(), Failure> {
    only_root("load programs into the kernel")?;
    let began = Instant::now();
    let (engine, beside) = match run::open_engine(&Probe::without_namespaces()?) {
        Ok(engine) => (engine, None),
        Err(Failure::Kernel(reason)) => (Engine::open_watch()?, Some(reason)),
        Err(error) => return Err(error),
    };
    if let Some(reason) = beside {
        output::print(
            out,
            &format!("{reason}\nwhat stands beside the fallback engine: "),
        )?;
    }
    let recorder = match Recorder::load() {
        Ok(loaded_now) => loaded_now,
        // A fence does not need it.
        Err(reason) => {
            output::print(out, &format!("{reason}\n"))?;
            false
        }
    };
    let seconds = began.elapsed().as_secs_f32();
    match engine.loaded_now || recorder {
        true => output::print(out, &format!("loaded in {seconds:.1} s\n")),
        false => output::print(out, "loaded already\n"),
    }
}

/// Removes the programs from the kernel. Gives 1 if some had to stay, because a fence needs them.
///
/// # Errors
/// If what is there cannot be read or removed.
pub fn unload(out: &mut dyn Write) -> Result<u8, Failure> {
    only_root("take programs out of the kernel")?;
    let unloaded = Engine::unload()?;
    match (unloaded.removed, unloaded.kept) {
        (0, 0) => output::print(out, "nothing is loaded\n")?,
        (_, 0) => output::print(out, "unloaded\n")?,
        _ => output::print(
            out,
            "a fence or a recording stands and needs the programs: they stay until it ends\n",
        )?,
    }
    Ok(u8::from(unloaded.kept > 0))
}

fn only_root(act: &str) -> Result<(), Failure> {
    match Host::probe().privileged {
        true => Ok(()),
        false => Err(Failure::Argument(format!(
            "only root can {act}: run it with sudo"
        ))),
    }
}
