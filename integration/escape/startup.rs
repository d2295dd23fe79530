//! The start, and the supervisor: what the caller left lying about does not come along, and a fence does not need whoever
//! started it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::PoisonError;

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::{Need, Suite};

use super::arena::Arena;
use super::attacker::{End, READY, WAIT, borrowed};
use super::case::World;
use super::case::{Attempt, Case, Stop, escaped, nothing};
use super::files::{secret_in, steal};
use super::outcome::Outcome;
use super::stage::{Engine, LEAKED, Stage, User, understood};
use super::system::{open_at, read, write};

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::least(
            "S4",
            "a descriptor of the caller is still open at the first instruction",
            inherits,
        ),
        Case::least(
            "S4a",
            "a socket of the caller is written to",
            writes_to_socket,
        ),
        Case::least(
            "S5",
            "a relative path starts from a closed working directory",
            from_working_directory,
        ),
        Case::least(
            "S5a",
            "a path starts from a directory that the caller had open",
            from_leaked_directory,
        ),
    ]
}

fn inherits(arena: &Arena) -> Attempt {
    let Some(found) = arena.inherited.iter().find(|found| LEAKED.contains(found)) else {
        return nothing(format!("{} descriptors above 2", arena.inherited.len()));
    };
    if *found == LEAKED[0] {
        return secret_in(&read(&borrowed(*found))?);
    }
    escaped(format!("descriptor {found}"))
}

/// The runner opens files of its own: a number may be in use again.
fn leaked(
    arena: &Arena,
    number: i32,
) -> Result<std::mem::ManuallyDrop<std::os::fd::OwnedFd>, Stop> {
    if arena.inherited.contains(&number) {
        Ok(borrowed(number))
    } else {
        Err(Stop::Nothing("the descriptor is not there".into()))
    }
}

fn writes_to_socket(arena: &Arena) -> Attempt {
    let socket = leaked(arena, LEAKED[2])?;
    write(&socket, b"x")?;
    escaped("a byte has left")
}

fn from_working_directory(arena: &Arena) -> Attempt {
    steal(format!("{}/secret", arena.case))
}

fn from_leaked_directory(arena: &Arena) -> Attempt {
    let directory = leaked(arena, LEAKED[1])?;
    let file = open_at(
        std::os::fd::AsRawFd::as_raw_fd(&*directory),
        "secret",
        libc::O_RDONLY,
    )?;
    secret_in(&read(&file)?)
}

/// Cases that are tried once the supervisor cannot help.
const WITHOUT_SUPERVISOR: [&str; 7] = ["F0", "F3", "F5", "F48", "X0", "N1", "R1"];

/// What is done to the supervisor.
const BLOWS: [(&str, &str, Signal); 2] = [
    (
        "S1",
        "attacks when the supervisor was killed",
        Signal::SIGKILL,
    ),
    (
        "S2",
        "attacks when the supervisor is stopped and nobody reads events",
        Signal::SIGSTOP,
    ),
];

/// Their names, which are not in the list of cases.
pub(super) const IDS: [&str; 2] = [BLOWS[0].0, BLOWS[1].0];

/// The cases that need somebody outside to do something meanwhile.
pub(super) fn register(suite: &mut Suite, engine: Engine, user: User) {
    for (id, says, blow) in BLOWS {
        let slug = says.replace(' ', "_");
        let name = format!("escape::{}::{}::{id}_{slug}", engine.name(), user.name());
        suite.test(name, &[Need::Root], move || {
            let _turn = super::TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = without_supervisor(engine, user, blow)?;
            super::note(engine, user, id, says, &outcome);
            super::verdict(engine, user, id, says, &outcome)
        });
    }
}

fn without_supervisor(engine: Engine, user: User, blow: Signal) -> Result<Outcome, Failed> {
    let stage = Stage::build(World::Least, user)?;
    let mut arena = stage.arena(true);
    arena.only = WITHOUT_SUPERVISOR.map(str::to_owned).to_vec();
    let mut supervisor = stage
        .fenced(engine, &arena)?
        .env(WAIT, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut out = BufReader::new(supervisor.stdout.take().ok_or("no output")?);
    let mut text = String::new();
    out.read_line(&mut text)?;
    let pid = Pid::from_raw(i32::try_from(supervisor.id())?);
    let struck = kill(pid, blow);
    // Closing it lets the attacker go on in any case.
    if let Some(mut input) = supervisor.stdin.take() {
        input.write_all(b"\n").ok();
    }
    let mut said = String::new();
    while said.lines().filter(|line| line.starts_with('{')).count() < arena.only.len()
        && out.read_line(&mut said)? > 0
    {}
    kill(pid, Signal::SIGCONT).ok();
    out.read_to_string(&mut String::new())?;
    supervisor.wait()?;
    struck?;
    if text.trim() != READY {
        return Err(format!("the attacker did not start: {text:?}").into());
    }
    let lines = understood(&said)?;
    let wrong = |line: &&super::attacker::Line| !matches!(line.end, End::Refused | End::Nothing);
    if let Some(line) = lines.values().find(wrong) {
        return Ok(Outcome::Escaped(format!("{}: {}", line.case, line.detail)));
    }
    if let Some((case, change)) = stage.changes()?.first() {
        return Ok(Outcome::Escaped(format!("{case}: {change}")));
    }
    Ok(match lines.len() == arena.only.len() {
        true => Outcome::Held(format!("{} cases held", lines.len())),
        false => Outcome::Unproven(format!("only {} cases were tried", lines.len())),
    })
}
