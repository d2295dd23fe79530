//! The start: what the caller left lying about does not come along.

use super::arena::Arena;
use super::attacker::borrowed;
use super::case::{Attempt, Case, Stop, escaped, nothing};
use super::files::{secret_in, steal};
use super::stage::LEAKED;
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
