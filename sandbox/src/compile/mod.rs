//! Profile to policy: variables are filled in, links followed, and all file rules become one minimised automaton, and all
//! rules about the network another.
//!
//! ```text
//! Effective --section, bind--> sections, rules and all that they cover --determinise--> --minimise--> --pack--> policy::Automaton
//!                                                                      \--explain--> which rule decides
//! ```
//!
//! Pure: what is on disk comes in through [`Look`], and what earlier runs have compiled through [`Memory`]. [`compile`] returns the policy and the [`Explainer`], which answers the
//! same by asking rule by rule. A profile that does not fit is refused with its size; nothing is cut.

#![forbid(unsafe_code)]

mod bind;
mod determinise;
mod error;
mod explain;
pub mod export;
mod glob;
mod kept;
mod minimise;
mod network;
mod outline;
mod pack;
mod program;
mod resolve;
mod section;

use ringfence_abi::policy::LARGE_WORDS;

pub use bind::{Bound, Cover, Unfollowed};
pub use error::Error;
pub use explain::{Deciding, Explainer, Explanation, Suggestion};
pub use glob::Glob;
pub use network::{BoundNetwork, Meaning, NetworkExplanation};
pub use outline::Outline;
pub use resolve::{Entry, Link, Look, follow, is_followed};
pub use section::{Section, SectionNetwork};

use crate::policy::{Automaton, Memory, Mode, NetworkPolicy, Policy};
use crate::profile::{About, Effective, Variables};
use determinise::{GivenUp, MOST_STATES, MOST_STEPS, Mark, determinise};
use kept::Part;

/// Compiles `effective` with the values of `variables`, looking at links with `look`.
///
/// # Errors
///
/// [`Error::Profile`] if a variable, rule or program has no meaning here; the others if the rules do not fit.
pub fn compile(
    effective: &Effective,
    variables: &Variables,
    look: Look<'_>,
) -> Result<(Policy, Explainer), Error> {
    let (policy, explainer, _) = compile_remembering(effective, variables, look, Memory::NONE)?;
    Ok((policy, explainer))
}

/// The same, which does not compile again what `memory` holds, and gives the [`Outline`] by which the policy can be had from there
/// without the profile.
///
/// # Errors
///
/// As [`compile`].
pub fn compile_remembering(
    effective: &Effective,
    variables: &Variables,
    look: Look<'_>,
    memory: Memory<'_>,
) -> Result<(Policy, Explainer, Outline), Error> {
    let explainer = explainer(effective, variables, look)?;
    let key = kept::key(&explainer);
    let outline = Outline::of(effective, &explainer, key);
    if let Some(policy) = outline.recall(memory) {
        return Ok((policy, explainer, outline));
    }
    let parts = parts(&explainer)?;
    (memory.keep)(&key, &kept::encode(&parts));
    Ok((outline.policy(parts), explainer, outline))
}

/// What takes time: every section's automata.
fn parts(explainer: &Explainer) -> Result<Vec<Part>, Error> {
    let networks = network::policies(explainer)?;
    let automata = program::automata(explainer, &networks)?;
    let parts = explainer.sections.iter().zip(automata).zip(networks);
    let part = |((section, files), network): ((&Section, _), NetworkPolicy)| Part {
        files,
        network: network.automaton,
        shows_own_tasks: explainer.shows_own_tasks(section),
    };
    Ok(parts.map(part).collect())
}

/// The half of [`compile`] that explains, for who does not run anything.
///
/// # Errors
///
/// [`Error::Profile`] if a variable or rule has no meaning here; [`Error::TooManyPrograms`].
pub fn explainer(
    effective: &Effective,
    variables: &Variables,
    look: Look<'_>,
) -> Result<Explainer, Error> {
    let layout = section::sections(effective)?;
    let variables = effective.variables(variables)?;
    // Links that lead to sockets are judged with those that lead to files: the same rules tell who can have made them.
    let sockets = layout.network.iter().filter_map(|rule| match &rule.about {
        About::Socket(rule) => Some(rule),
        About::Peer(_) | About::Abstract(_) => None,
    });
    let files = layout.rules.len();
    let mut rules = bind::bind(layout.rules.into_iter().chain(sockets), &variables, look)?;
    let sockets = rules.split_off(files);
    Ok(Explainer {
        profile: effective.name.clone(),
        rules,
        network: network::bind(&layout.network, sockets, &variables)?,
        sections: layout.sections,
    })
}

/// The automaton of what `marks` say, in which an exec of a path of rank `n` enters `programs[n - 1]`. `rules` are those
/// that an error may blame.
fn automaton<'a>(
    profile: &str,
    marks: impl Iterator<Item = (Mark, &'a Glob)>,
    programs: &[u8],
    mode: Mode,
    rules: &[&Bound],
) -> Result<Automaton, Error> {
    let given_up = |cause| given_up(profile, cause, || suspect(rules));
    let mut automaton = determinise(marks).map_err(given_up)?;
    for state in &mut automaton.states {
        state.accept = program::numbered(state.accept, programs, mode);
    }
    let automaton = minimise::minimise(&automaton).map_err(given_up)?;
    pack::pack(&automaton)
        .map_err(|words| too_large(profile, words, "use `/**` rules for whole directories"))
}

fn given_up(profile: &str, given_up: GivenUp, suspect: impl FnOnce() -> Option<String>) -> Error {
    match given_up {
        GivenUp::Library(cause) => Error::Patterns {
            profile: profile.to_owned(),
            cause,
        },
        GivenUp::Bounds { states, steps } => Error::TooComplex {
            profile: profile.to_owned(),
            states,
            most_states: MOST_STATES,
            steps,
            most_steps: MOST_STEPS,
            suspect: suspect(),
        },
    }
}

fn too_large(profile: &str, words: usize, help: &'static str) -> Error {
    Error::TooLarge {
        profile: profile.to_owned(),
        words,
        most: LARGE_WORDS,
        help,
    }
}

/// The rule with most wildcards, if it has more than one.
fn suspect(rules: &[&Bound]) -> Option<String> {
    let wildcards = |bound: &&&Bound| -> usize {
        let covers = bound.covers.iter();
        covers
            .map(|cover| cover.glob.wildcards())
            .max()
            .unwrap_or(0)
    };
    let most = rules.iter().max_by_key(wildcards)?;
    (wildcards(&most) > 1).then(|| format!("{} ({})", most.rule.shown(), most.rule.origin))
}
