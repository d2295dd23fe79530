//! Learning from a run: what was recorded is enough for the next run, and what was not seen is denied.

mod compiled;
mod gate;
mod keys;
mod network;
mod packages;
mod page;
mod programs;
mod recording;
mod running;
mod services;
mod trips;
mod unprivileged;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use libtest_mimic::Failed;

use crate::kit::{Finished, Folder, Need, Ringfence, Suite};

/// What every recording needs.
const RECORDING: &[Need] = &[Need::Root, Need::Cgroup];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    recording::register(suite);
    running::register(suite);
    trips::register(suite);
    unprivileged::register(suite);
    network::register(suite);
    programs::register(suite);
    services::register(suite);
    packages::register(suite);
    compiled::register(suite);
    page::register(suite);
    gate::register(suite);
    keys::register(suite);
}

/// A folder to work in, and another for the profile and the home directory.
struct Workshop {
    work: Folder,
    aside: Folder,
}

impl Workshop {
    fn new() -> Result<Self, Failed> {
        let aside = Folder::new()?;
        fs::create_dir(aside.at("home"))?;
        Ok(Self {
            work: Folder::new()?,
            aside,
        })
    }

    fn profile(&self) -> PathBuf {
        self.aside.at("learned.toml")
    }

    fn text(&self) -> Result<String, Failed> {
        Ok(fs::read_to_string(self.profile())?)
    }

    fn ringfence<Word: Into<OsString>>(&self, words: impl IntoIterator<Item = Word>) -> Ringfence {
        Ringfence::with(words)
            .in_folder(self.work.path())
            .variable("HOME", self.aside.at("home"))
            .variable("XDG_CONFIG_HOME", self.aside.at("home/.config"))
            .variable("XDG_CACHE_HOME", self.aside.at("home/.cache"))
            .variable("XDG_STATE_HOME", self.aside.at("state"))
            // Where cargo and rustc are found by a tool that looks into the home directory.
            .variable("RUSTUP_HOME", rustup())
    }

    /// `ringfence learn -o PROFILE FLAGS... -- COMMAND...`, which succeeds.
    fn learn(&self, flags: &[&str], command: &[&str]) -> Result<Finished, Failed> {
        let finished = self
            .ringfence(["learn", "--trace"])
            .and([self.aside.at("trace"), "-o".into(), self.profile()])
            .and(flags)
            .and(["--"])
            .and(command)
            .run()?;
        finished.succeeds()?;
        Ok(finished)
    }

    /// `ringfence run -p PROFILE -- COMMAND...`, and the denials that it told.
    fn enforce(&self, command: &[&str]) -> Result<(Finished, String), Failed> {
        let events = self.aside.at("events");
        fs::remove_file(&events).ok();
        let finished = self
            .ringfence(["run", "--events"])
            .and([events.clone(), "-p".into(), self.profile()])
            .and(["--"])
            .and(command)
            .run()?;
        Ok((finished, fs::read_to_string(events)?))
    }

    /// It works under what was learned, and no denial is told but by an engine that is stricter than the profile, which learning
    /// has said.
    fn works(&self, command: &[&str]) -> Result<Finished, Failed> {
        let (finished, events) = self.enforce(command)?;
        finished.succeeds()?;
        network::without_denials(&finished.err())?;
        let by_profile = |event: &&str| event.contains("\"cause\":\"rule\"");
        let denied: Vec<_> = events.lines().filter(by_profile).collect();
        finished.claim(denied.is_empty(), &format!("no denial, not {denied:#?}"))?;
        Ok(finished)
    }

    /// The lines of the trace that hold this.
    fn traced(&self, text: &str) -> Result<Vec<String>, Failed> {
        let trace = fs::read_to_string(self.aside.at("trace"))?;
        let lines = trace.lines().filter(|line| line.contains(text));
        Ok(lines.map(str::to_owned).collect())
    }
}

fn rustup() -> PathBuf {
    let home = || std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    std::env::var_os("RUSTUP_HOME").map_or_else(|| home().join(".rustup"), PathBuf::from)
}
