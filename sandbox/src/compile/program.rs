//! The automata of a profile and its programs, and what is wrong with a program's section.
//!
//! A section that could never be entered is an error: its author believes that something is allowed, or denied, by it. So
//! is one whose program can be written by what has fewer rights: whoever may write it would have its rights.

use ringfence_abi::rights::{self, EXEC, WRITE};

use super::determinise::{Mark, accept};
use super::explain::Explainer;
use super::section::Section;
use super::{Bound, Error, automaton, network};
use crate::policy::{Automaton, Mode, NetworkPolicy};
use crate::profile::Right;

/// `state` with the rank in it replaced by the number of the program. Where denials are enforced a path that cannot be
/// executed enters no program.
pub(super) const fn numbered(state: u8, programs: &[u8], mode: Mode) -> u8 {
    let rank = rights::program(state);
    if rank == 0 || (matches!(mode, Mode::Enforce) && state & EXEC == 0) {
        return state & rights::ALL;
    }
    accept(state, programs[rank as usize - 1])
}

/// The automaton of every section, which has the network of its number in `networks`.
pub(super) fn automata(
    explainer: &Explainer,
    networks: &[NetworkPolicy],
) -> Result<Vec<Automaton>, Error> {
    refuse_twins(explainer)?;
    let automata = explainer
        .sections
        .iter()
        .map(|section| of_section(explainer, section))
        .collect::<Result<Vec<_>, _>>()?;
    for (number, section) in explainer.sections.iter().enumerate().skip(1) {
        let around = &automata[usize::from(section.parent)];
        let entered = accepts(around, |state| {
            usize::from(rights::program(state)) == number
        });
        if let Some(path) = explainer.path(section)
            && !entered
        {
            return Err(never_entered(explainer, section, path));
        }
    }
    for writer in 0..explainer.sections.len() {
        refuse_writable(explainer, &automata, networks, writer)?;
    }
    Ok(automata)
}

fn of_section(explainer: &Explainer, section: &Section) -> Result<Automaton, Error> {
    let rules: Vec<_> = explainer.rules_of(section).collect();
    let marks = rules
        .iter()
        .map(|bound| (Mark::Right(bound.rule.right), *bound))
        .chain(entries(explainer, &section.entries));
    let marks = marks.flat_map(|(mark, bound)| globs(bound).map(move |glob| (mark, glob)));
    automaton(
        &explainer.profile,
        marks,
        &section.entries,
        section.mode,
        &rules,
    )
}

/// The paths of `programs`, each with its rank there.
fn entries<'a>(
    explainer: &'a Explainer,
    programs: &[u8],
) -> impl Iterator<Item = (Mark, &'a Bound)> {
    let path = |(rank, &program): (u8, &u8)| {
        let path = explainer.sections.get(usize::from(program))?.path?;
        Some((Mark::Program(rank), &explainer.rules[path]))
    };
    (1..=rights::PROGRAMS).zip(programs).filter_map(path)
}

fn globs(bound: &Bound) -> impl Iterator<Item = &super::Glob> {
    bound.covers.iter().map(|cover| &cover.glob)
}

/// Whether a state of `automaton` is accepted by `wanted`.
fn accepts(automaton: &Automaton, wanted: impl Fn(u8) -> bool) -> bool {
    automaton.accepts().into_iter().any(wanted)
}

/// Of two sections about the very same path the later one would be lost.
fn refuse_twins(explainer: &Explainer) -> Result<(), Error> {
    let sections = &explainer.sections;
    for (later, section) in sections.iter().enumerate().skip(1) {
        let path = explainer.path(section);
        for earlier in sections[1..later].iter() {
            if earlier.parent != section.parent {
                continue;
            }
            let known = explainer.path(earlier);
            let twin = path.into_iter().flat_map(globs).find(|glob| {
                glob.is_literal() && known.into_iter().flat_map(globs).any(|one| one == *glob)
            });
            if let (Some(twin), Some(path), Some(known)) = (twin, path, known) {
                let message = format!(
                    "two [[program]] sections are about `{}`, this one and that at {}",
                    twin.text(),
                    known.rule.origin
                );
                return Err(fault(path, &message, "make one of them"));
            }
        }
    }
    Ok(())
}

fn never_entered(explainer: &Explainer, section: &Section, path: &Bound) -> Error {
    let around = &explainer.sections[usize::from(section.parent)];
    // Whether anything that its path covers may be executed, whichever section that enters.
    let reachable = [(Mark::Program(1), path)].into_iter();
    let rules = explainer.rules_of(around);
    let marks = rules
        .map(|bound| (Mark::Right(bound.rule.right), bound))
        .chain(reachable)
        .flat_map(|(mark, bound)| globs(bound).map(move |glob| (mark, glob)));
    let executed = automaton(&explainer.profile, marks, &[1], around.mode, &[])
        .is_ok_and(|automaton| accepts(&automaton, |state| rights::program(state) == 1));
    if executed {
        fault(
            path,
            "the section is never entered: sections before it cover all of its path",
            "put the narrower pattern first",
        )
    } else {
        let help = format!(
            "allow it where the section stands: exec = [\"{}\"] in [files]",
            path.rule.shown()
        );
        fault(
            path,
            "the section is never entered: what surrounds it does not allow to execute the path",
            &help,
        )
    }
}

/// What the section `writer` may write must not be a program that has more rights than it.
fn refuse_writable(
    explainer: &Explainer,
    automata: &[Automaton],
    networks: &[NetworkPolicy],
    writer: usize,
) -> Result<(), Error> {
    let section = &explainer.sections[writer];
    let writes = explainer
        .rules_of(section)
        .any(|bound| bound.rule.right == Right::Write);
    if section.mode != Mode::Enforce || !writes {
        return Ok(());
    }
    let every: Vec<u8> = (1..=rights::PROGRAMS)
        .take(explainer.sections.len() - 1)
        .collect();
    let rules = explainer.rules_of(section).filter(|bound| {
        // What is asked is whether a path can be written; denied it cannot be.
        matches!(bound.rule.right, Right::Write | Right::Deny)
    });
    let marks = rules
        .map(|bound| (Mark::Right(bound.rule.right), bound))
        .chain(entries(explainer, &every))
        .flat_map(|(mark, bound)| globs(bound).map(move |glob| (mark, glob)));
    let writable = automaton(&explainer.profile, marks, &every, Mode::Audit, &[])?;
    for state in writable.accepts() {
        let program = usize::from(rights::program(state));
        if program == 0 || state & WRITE == 0 {
            continue;
        }
        if !gives(explainer, automata, program, writer)
            && !network::gives(&networks[program], &networks[writer])
        {
            continue;
        }
        if let Some(path) = explainer.path(&explainer.sections[program]) {
            let by = explainer.path_of(section).map_or_else(
                || "the profile lets it be written".to_owned(),
                |writer| format!("the program `{writer}` may write it"),
            );
            return Err(fault(
                path,
                &format!("{by}: who writes the program would have its rights"),
                "deny it or allow to write less; [[program]] is for programs that are not written inside",
            ));
        }
    }
    Ok(())
}

/// Whether the section `program` has anything that the section `writer` has not.
fn gives(explainer: &Explainer, automata: &[Automaton], program: usize, writer: usize) -> bool {
    let (one, other) = (&explainer.sections[program], &explainer.sections[writer]);
    // Programs of its own may have anything; the profile's are within reach of all.
    let nested =
        |entry: &u8| usize::from(explainer.sections[usize::from(*entry)].parent) == program;
    one.mode != Mode::Enforce
        || !other.kernel.contains(one.kernel)
        || one.entries.iter().any(nested)
        || automata[program].difference(&automata[writer]).more != 0
}

fn fault(path: &Bound, message: &str, help: &str) -> Error {
    Error::Profile(path.rule.error(message, Some(help)))
}
