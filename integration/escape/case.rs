//! A case: one way out that somebody has found or thought of.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;

use serde::{Deserialize, Serialize};

use super::arena::Arena;

/// One attack, or (in the list of `works`) one thing that must go on working.
pub(crate) struct Case {
    /// Its name in the catalogue: a letter for the chapter and a number.
    pub(super) id: &'static str,
    /// What is tried, in words.
    pub(super) says: Cow<'static, str>,
    /// The fence that it is tried in.
    pub(super) world: World,
    /// Who gets through when there is no fence.
    pub(super) unfenced: Unfenced,
    /// What it tries.
    pub(super) attack: Box<dyn Fn(&Arena) -> Attempt + Send>,
}

/// The profile that a case runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum World {
    /// What a dynamic program needs, one directory to read, one to write, a few programs.
    Least,
    /// Every file may be read, written and executed: no rule about paths hides what else is missing.
    Wide,
    /// As `Least`, with parts of the kernel opened by `[kernel] allow`: what they give must still be fenced.
    Opened,
    /// As `Least`, with limits.
    Limited,
    /// As `Least`; its cases are about what goes on working, not attacks.
    Works,
}

impl World {
    /// All, in the order in which they run.
    pub(super) const ALL: [Self; 5] = [
        Self::Least,
        Self::Wide,
        Self::Opened,
        Self::Limited,
        Self::Works,
    ];

    /// Its name in tests and tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Least => "least",
            Self::Wide => "wide",
            Self::Opened => "opened",
            Self::Limited => "limited",
            Self::Works => "works",
        }
    }
}

/// The control: an attack that does not work without a fence proves nothing about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfenced {
    /// Everybody gets through.
    Everybody,
    /// Only root does.
    Root,
    /// Only somebody who is not root gains anything.
    User,
    /// It would hurt the machine that the test runs on, or the test itself.
    Harmful(&'static str),
}

impl Case {
    /// Tried where only what is listed may be touched.
    pub(super) fn least(
        id: &'static str,
        says: impl Into<Cow<'static, str>>,
        attack: impl Fn(&Arena) -> Attempt + Send + 'static,
    ) -> Self {
        Self {
            id,
            says: says.into(),
            world: World::Least,
            unfenced: Unfenced::Everybody,
            attack: Box::new(attack),
        }
    }

    /// Tried where every file may be touched.
    pub(super) fn wide(
        id: &'static str,
        says: impl Into<Cow<'static, str>>,
        attack: impl Fn(&Arena) -> Attempt + Send + 'static,
    ) -> Self {
        let mut case = Self::least(id, says, attack);
        case.world = World::Wide;
        case
    }

    /// In another world.
    pub(super) fn within(mut self, world: World) -> Self {
        self.world = world;
        self
    }

    /// Only root gets through without a fence.
    pub(super) fn by_root(mut self) -> Self {
        self.unfenced = Unfenced::Root;
        self
    }

    /// Only a user gains anything.
    pub(super) fn by_user(mut self) -> Self {
        self.unfenced = Unfenced::User;
        self
    }

    /// Not tried without a fence, for this reason.
    pub(super) fn harmful(mut self, why: &'static str) -> Self {
        self.unfenced = Unfenced::Harmful(why);
        self
    }

    /// The sentence as part of a test's name.
    pub(super) fn slug(&self) -> String {
        let word = |letter: char| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        };
        self.says.chars().map(word).collect()
    }
}

/// How an attack ended: with what it got, or with what stopped it.
pub(super) type Attempt = Result<String, Stop>;

/// What stopped an attack.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// The kernel said so.
    Refused(i32),
    /// All calls were answered, and yet nothing was gained.
    Nothing(String),
    /// Something that the attack is about does not exist on this machine.
    Absent(String),
    /// The attack itself does not work.
    Broken(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Refused(errno),
            None => Self::Broken(error.to_string()),
        }
    }
}

impl From<nix::Error> for Stop {
    fn from(errno: nix::Error) -> Self {
        Self::Refused(errno as i32)
    }
}

/// Got through.
pub(super) fn escaped(what: impl Display) -> Attempt {
    Ok(what.to_string())
}

/// Did not get anything, though nothing was refused.
pub(super) fn nothing(why: impl Display) -> Attempt {
    Err(Stop::Nothing(why.to_string()))
}

/// Cannot be tried here.
pub(super) fn absent(why: impl Display) -> Attempt {
    Err(Stop::Absent(why.to_string()))
}

/// The call came past the question of who may: what it answers afterwards is about its arguments, which are chosen so that
/// nothing happens.
pub(super) fn past_the_check<T>(answer: io::Result<T>, errnos: &[i32]) -> Attempt {
    match answer {
        Ok(_) => escaped("done"),
        Err(error) => match error.raw_os_error() {
            Some(errno) if errnos.contains(&errno) => {
                escaped(format!("permitted, then {}", nix::Error::from_raw(errno)))
            }
            _ => Err(error.into()),
        },
    }
}
