//! What can go wrong when a profile is compiled.

use regex_automata::nfa::thompson::BuildError;

use crate::profile;

/// Why a profile could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule or variable is wrong.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// The automaton does not fit into the kernel's largest table.
    #[error(
        "the rules of profile `{profile}` need a table of {words} words, the largest has {most}; {help}"
    )]
    TooLarge {
        /// The profile.
        profile: String,
        /// Words that it needs.
        words: usize,
        /// Words that there are.
        most: usize,
        /// The way out.
        help: &'static str,
    },
    /// Finding the automaton was given up.
    #[error(
        "the rules of profile `{profile}` are too many or too entangled: given up at {states} states (most {most_states}) after \
         {steps} steps (most {most_steps}){}",
        .suspect.as_ref().map(|rule| format!("; the rule with most wildcards is `{rule}`: write it with fewer of them")).unwrap_or_default()
    )]
    TooComplex {
        /// The profile.
        profile: String,
        /// States found.
        states: usize,
        /// Most states.
        most_states: usize,
        /// Steps taken.
        steps: u64,
        /// Most steps.
        most_steps: u64,
        /// The rule that is most likely why.
        suspect: Option<String>,
    },
    /// More programs than a path can be marked with.
    #[error(
        "profile `{profile}` has {programs} [[program]] sections, the most is {most}; let patterns cover several programs"
    )]
    TooManyPrograms {
        /// The profile.
        profile: String,
        /// Programs that it has.
        programs: usize,
        /// Most programs.
        most: u8,
    },
    /// The library that reads patterns refused them.
    #[error("the rules of profile `{profile}` cannot be compiled: {cause}")]
    Patterns {
        /// The profile.
        profile: String,
        /// What the library said.
        cause: Box<BuildError>,
    },
}
