//! The profile: what a person writes, read with the place of every word, joined to what holds for one run.
//!
//! ```text
//! file --tree--> keys with places --read--> layer --load--> layers --join--> Effective
//! ```
//!
//! [`load`] takes names of shipped profiles and paths of files; [`Rule::from_command_line`] takes what flags say. The
//! result is compiled by [`crate::compile`]. Decisions of the language (docs/profile.md has all of it):
//!
//! - The rights are independent: `write` does not imply `read`, `exec` does not either. A drop box, which is written and
//!   not read, and a program that cannot be copied can both be said.
//! - `/x` in a file is that path alone; `/x/` and `/x/**` are `/x` and everything below. `/` alone is the root directory
//!   itself, everything is `/**`: nobody grants everything by a slash. On the command line a directory means
//!   everything below, too.
//! - A leading dot is nothing special: `*` matches `.git`.
//! - `\xe9` in a rule is that byte: profiles are UTF-8, paths are not.
//! - Of `[protection]` keys the narrower decides: a single one before `files` before `all`.
//! - Nothing in here reads the environment; `disk` alone reads files.

#![forbid(unsafe_code)]

pub mod capability;
mod disk;
mod document;
mod effective;
mod error;
pub mod kernel;
mod layer;
mod load;
mod network;
pub mod pattern;
mod quantity;
mod read;
mod rule;
pub mod shipped;
mod source;
pub mod syscall;
mod tree;
mod variables;
mod written;

pub use disk::{Found, read as read_file};
pub use document::{
    Amount, DefaultWord, Document, FilesSection, KernelSection, LimitsSection, ModeWord,
    NetworkEntry, NetworkSection, NetworkTable, ProcessSection, ProgramSection, RuleEntry,
    RuleTable, SniWord, SyscallsEntry, schema,
};
pub use effective::{CommandLine, Effective, NetworkChoice};
pub use error::Error;
pub use kernel::Opening;
pub use layer::{OwnVariable, Program, Sections, SyscallChoice};
pub use load::{Reader, from_text, is_path, load, load_by, portable};
pub use network::{About, Host, NamePattern, NetworkRight, NetworkRule, Peer, Ports, Transport};
pub use pattern::Pattern;
pub use quantity::limit;
pub use rule::{Origin, Right, Rule};
pub use source::{Fault, Place};
pub use variables::Variables;

/// Most bytes of a profile file.
pub const MAX_BYTES: u64 = 16 << 20;

/// The one of `known` that `word` was most likely meant to be.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A long word is no typing error, and the distance of long words is slow to tell.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}
