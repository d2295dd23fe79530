//! The escape suite: every way out of a fence that is known or thought of, tried from inside.
//!
//! A case is a function that attacks and says what it got, or what stopped it. The attacker is this binary itself; one
//! fence runs all cases of a world, each in a process of its own. The same run without a fence is the control: an attack that
//! fails there proves nothing here. What has an effect is looked at from outside as well. Results are tests, one for each
//! case and user, on the engine of the floor; `known.txt` lists what escapes and why, and a line of it that is not true any more fails as well.

mod arena;
mod attacker;
mod case;
mod exec;
mod files;
mod identity;
mod kernel;
mod metadata;
mod network;
mod outcome;
mod procfs;
mod profile;
mod resources;
mod rings;
mod stage;
mod startup;
mod system;
mod tasks;
mod victim;
mod works;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::Failed;
use serde_json::json;

use crate::kit::{Need, Suite, Verdict};
use attacker::Line;
use case::{Case, World};
use outcome::{Known, Outcome};
use stage::{Engine, Stage, User};

/// In front of each line of results, at the end of a run.
const RESULT: &str = "escape-result ";

/// All cases, by chapter.
fn cases() -> Vec<Case> {
    [
        files::cases(),
        metadata::cases(),
        exec::cases(),
        identity::cases(),
        kernel::cases(),
        procfs::cases(),
        tasks::cases(),
        network::cases(),
        rings::cases(),
        resources::cases(),
        startup::cases(),
        works::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Plays the attacker or the victim, if that is what this process was started for.
pub(crate) fn play() -> Option<ExitCode> {
    if let Some(stage) = std::env::var_os(victim::STAGE) {
        return Some(victim::play(Path::new(&stage)));
    }
    let arena = std::env::var(attacker::ARENA).ok()?;
    Some(attacker::play(&arena))
}

/// A test for each case and user.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "escape::the_lsm_engine_is_tried",
        &[Need::Root, Need::BpfLsm],
        || Ok(()),
    );
    // The fallback is for kernels without BPF LSM; in an emulated machine its walk over the files takes too long for it.
    let engine = match Need::BpfLsm.unmet() {
        None => Engine::BpfLsm,
        Some(_) => Engine::Fallback,
    };
    suite.test(
        "escape::every_known_escape_is_one_of_a_case",
        &[],
        move || {
            let cases = cases();
            let mut ids: Vec<&str> = cases.iter().map(|case| case.id).collect();
            ids.extend(startup::IDS);
            let known = Known::read(&known_file())?;
            match known.stale(&floor(), engine, &ids).first() {
                Some(line) => Err(format!("no case is covered by `{line}`: remove it").into()),
                None => Ok(()),
            }
        },
    );
    for user in [User::Root, User::Nobody] {
        for world in World::ALL {
            register_world(suite, engine, user, world);
        }
        startup::register(suite, engine, user);
    }
}

fn register_world(suite: &mut Suite, engine: Engine, user: User, world: World) {
    let round = Arc::new(Round {
        engine,
        user,
        world,
        outcomes: OnceLock::new(),
    });
    for case in cases().into_iter().filter(|case| case.world == world) {
        let name = format!(
            "escape::{}::{}::{}::{}_{}",
            engine.name(),
            user.name(),
            world.name(),
            case.id,
            case.slug()
        );
        let round = Arc::clone(&round);
        suite.test(name, &[Need::Root], move || round.judge(&case));
    }
}

/// One fence and its control, run when the first of its tests asks.
struct Round {
    engine: Engine,
    user: User,
    world: World,
    outcomes: OnceLock<Result<BTreeMap<&'static str, Outcome>, String>>,
}

/// One at a time: attacks on "everybody" would reach the victims of others.
static TURN: Mutex<()> = Mutex::new(());
/// What the report says.
static RESULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Round {
    fn judge(&self, case: &Case) -> Verdict {
        let outcomes = self.outcomes.get_or_init(|| {
            let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let outcomes = self
                .run()
                .map_err(|failed| failed.message().unwrap_or_default().to_owned())?;
            self.note(&outcomes);
            Ok(outcomes)
        });
        let outcomes = outcomes
            .as_ref()
            .map_err(|error| Failed::from(error.as_str()))?;
        let outcome = outcomes.get(case.id).ok_or("no outcome")?;
        verdict(self.engine, self.user, case.id, &case.says, outcome)
    }

    fn run(&self) -> Result<BTreeMap<&'static str, Outcome>, Failed> {
        let mut stage = Stage::build(self.world, self.user)?;
        let fenced = stage::lines(stage.fenced(self.engine, &stage.arena(true))?)?;
        let changes = stage.changes()?;
        let stands = stage.victim_stands()?;
        drop(stage);
        let control = control(self.user, self.world)?;
        if !stands {
            return Err("the victim did not survive".into());
        }
        let mut outcomes = BTreeMap::new();
        for case in cases().into_iter().filter(|case| case.world == self.world) {
            let change = changes.iter().find(|(name, _)| name == case.id);
            let outcome = match change {
                Some((_, change)) => Outcome::Escaped(change.clone()),
                None => Outcome::of(
                    &case,
                    self.user,
                    self.engine,
                    fenced.get(case.id),
                    control.get(case.id),
                ),
            };
            outcomes.insert(case.id, outcome);
        }
        if let Some((name, change)) = changes
            .iter()
            .find(|(name, _)| !outcomes.contains_key(name.as_str()))
        {
            return Err(format!("changed by nobody knows whom: {name}: {change}").into());
        }
        Ok(outcomes)
    }

    /// Keeps the results for the report.
    fn note(&self, outcomes: &BTreeMap<&'static str, Outcome>) {
        for case in cases() {
            if let Some(outcome) = outcomes.get(case.id) {
                note(self.engine, self.user, case.id, &case.says, outcome);
            }
        }
    }
}

/// Keeps one result for the report.
fn note(engine: Engine, user: User, id: &str, says: &str, outcome: &Outcome) {
    let kernel = nix::sys::utsname::uname();
    let kernel = kernel
        .as_ref()
        .map(|names| names.release().to_string_lossy());
    let floor = floor();
    let known = Known::read(&known_file()).ok();
    let why = known
        .as_ref()
        .and_then(|known| known.line([&floor, engine.name(), user.name(), id]))
        .and_then(|line| line.split_once(": "))
        .map(|(_, why)| why);
    let line = json!({
        "floor": floor, "kernel": kernel.unwrap_or_default(), "engine": engine.name(), "user": user.name(),
        "case": id, "says": says, "outcome": outcome.word(), "detail": outcome.detail(), "known": why,
    });
    let mut results = RESULTS.lock().unwrap_or_else(PoisonError::into_inner);
    results.push(format!("{RESULT}{line}"));
}

/// What the list says about an outcome.
fn verdict(engine: Engine, user: User, id: &str, says: &str, outcome: &Outcome) -> Verdict {
    let known = Known::read(&known_file())?;
    let line = known.line([&floor(), engine.name(), user.name(), id]);
    match (outcome, line) {
        (Outcome::Escaped(_), Some(_)) => Ok(()),
        (Outcome::Escaped(what), None) => Err(format!("escaped: {says}: {what}").into()),
        (Outcome::Unproven(why), _) => Err(format!("proves nothing: {says}: {why}").into()),
        (_, Some(line)) => Err(format!("is {} now: remove `{line}`", outcome.word()).into()),
        (Outcome::Held(_) | Outcome::Works(_) | Outcome::NotApplicable(_), None) => Ok(()),
    }
}

/// What a run said, by case.
type Lines = BTreeMap<String, Line>;

/// The same attacks without a fence.
fn control(user: User, world: World) -> Result<Lines, Failed> {
    if world == World::Works {
        return Ok(Lines::new());
    }
    let stage = Stage::build(world, user)?;
    stage::lines(stage.unfenced(&stage.arena(false))?)
}

/// Prints the results of all rounds, for `cargo xtask security`.
pub(crate) fn report() {
    for line in RESULTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
    {
        println!("{line}");
    }
}

fn floor() -> String {
    std::env::var("RINGFENCE_FLOOR").unwrap_or_else(|_| "host".to_owned())
}

fn known_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration/escape/known.txt")
}
