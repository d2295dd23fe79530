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
pub use resolve::{Entry, Link, Look, follow};
pub use section::{Section, SectionNetwork};

use crate::policy::{
    Automaton, FilePolicy, Memory, Mode, NetworkPolicy, Policy, ProgramPolicy, Syscalls,
};
use crate::profile::{About, Effective, SyscallChoice, Variables, kernel, syscall};
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
    compile_remembering(effective, variables, look, Memory::NONE)
}

/// The same, which does not compile again what `memory` holds.
///
/// # Errors
///
/// As [`compile`].
pub fn compile_remembering(
    effective: &Effective,
    variables: &Variables,
    look: Look<'_>,
    memory: Memory<'_>,
) -> Result<(Policy, Explainer), Error> {
    let explainer = explainer(effective, variables, look)?;
    let key = kept::key(&explainer);
    let count = explainer.sections.len();
    let recalled = (memory.recall)(&key).and_then(|bytes| kept::decode(&bytes, count));
    let parts = match recalled {
        Some(parts) => parts,
        None => {
            let parts = parts(&explainer)?;
            (memory.keep)(&key, &kept::encode(&parts));
            parts
        }
    };
    let policy = policy(effective, &explainer, parts);
    Ok((policy, explainer))
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

/// The policy out of the parts of every section, of which there is one at least.
fn policy(effective: &Effective, explainer: &Explainer, parts: Vec<Part>) -> Policy {
    let mut sections = explainer.sections.iter().zip(parts).map(|(section, part)| {
        let files = FilePolicy {
            mode: section.mode,
            automaton: part.files,
            shows_own_tasks: part.shows_own_tasks,
        };
        let network = network::policy(explainer, &section.network, part.network);
        (section, files, network)
    });
    let (files, network) = sections
        .next()
        .map(|(_, files, network)| (files, network))
        .unwrap_or_default();
    Policy {
        profile: effective.name.clone(),
        files,
        network,
        capabilities: effective.capabilities.clone(),
        kernel: kernel::opened(&effective.kernel),
        syscalls: match &effective.syscalls {
            SyscallChoice::Default => Syscalls::Default,
            SyscallChoice::Listed(names) => Syscalls::Listed(syscall::expand(names)),
        },
        privilege_gain: effective.privilege_gain,
        programs: sections
            .map(|(section, files, network)| ProgramPolicy {
                path: explainer.path_of(section).unwrap_or_default(),
                files,
                network,
                kernel: section.kernel,
            })
            .collect(),
        limits: effective.limits,
        degradation: effective.degradation.clone(),
    }
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
