//! What can be wrong with a profile. A message ends with the way out wherever there is one.

use std::io;

use super::source::{Fault, Place};

/// Why a profile could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not TOML, or not JSON.
    #[error("{0}")]
    Syntax(Fault),
    /// A key, section or value that the language does not have.
    #[error("{0}")]
    Meaning(Fault),
    /// A rule that cannot match as it is written.
    #[error("{0}")]
    Rule(Fault),
    /// A rule of the command line that cannot match as it is written.
    #[error("rule `{rule}` of the command line: {message}{}", .help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
    CommandLineRule {
        /// The rule, bytes that are not UTF-8 replaced.
        rule: String,
        /// What is wrong with it.
        message: String,
        /// The way out.
        help: Option<String>,
    },
    /// A profile that says nothing.
    #[error(
        "profile `{file}` is empty; write at least `version = 1` and a section such as [files]"
    )]
    Empty {
        /// Its file.
        file: String,
    },
    /// A profile file that is not text.
    #[error(
        "profile `{file}` is not UTF-8: byte {offset} is 0x{byte:02x}; write other bytes of a path as `\\\\x{byte:02x}` in a rule"
    )]
    NotText {
        /// Its file.
        file: String,
        /// Where the first wrong byte is, from 0.
        offset: usize,
        /// That byte.
        byte: u8,
    },
    /// A profile file beyond [`super::MAX_BYTES`].
    #[error(
        "profile `{file}` has {size} bytes, the most is {most}; use `/**` rules for whole directories"
    )]
    TooLarge {
        /// Its file.
        file: String,
        /// Its size, or what was read of it before it was given up.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// A profile file that could not be read.
    #[error("cannot read profile `{file}`{}: {cause}", .place.as_ref().map(|place| format!(" (extended at {place})")).unwrap_or_default())]
    Read {
        /// Its file.
        file: String,
        /// Where it is extended, if it is not named on the command line.
        place: Option<Place>,
        /// What the system said.
        cause: io::Error,
    },
    /// No shipped profile has this name.
    #[error("no shipped profile is called `{name}`{}; known: {known}; a file is named with a slash, as in `./{name}.toml`", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The name.
        name: String,
        /// The shipped profile with the nearest name.
        near: Option<String>,
        /// All shipped profiles.
        known: String,
    },
    /// Profiles that extend each other.
    #[error("profiles extend each other: {}; remove one of the `extends`", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A variable that has no value.
    #[error("{0}")]
    Variable(Fault),
    /// A variable in a rule of the command line that has no value.
    #[error("variable `${{{name}}}` is not set; known: {known}")]
    Unset {
        /// The variable.
        name: String,
        /// All that are set.
        known: String,
    },
}
