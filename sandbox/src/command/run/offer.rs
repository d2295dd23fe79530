//! A shipped profile that allows what was denied: what programs of a kind want is written down there.

use std::cmp::Reverse;

use ringfence_abi::network::TCP;

use super::{denial::Denial, peer::LIKELY_PORT};
use crate::{
    command::{compiled::Wanted, look::look},
    compile::{self, Explainer},
    policy::NetworkQuestion,
    profile::{self, CommandLine, Right, Variables, shipped},
};

/// What the working directory and the temporary one are to be used for is said by a flag, whatever the program is.
const OWN: [&str; 2] = ["CWD", "TMP"];

/// A sentence that names the one which allows most of `denials`, of a run that `wanted` these rules; `None` if none allows any.
pub(super) fn sentence(denials: &[&Denial], wanted: &Wanted) -> Option<String> {
    let (name, count) = best(denials, &wanted.variables)?;
    let first = match wanted.profiles.is_empty() {
        true => format!("-p {} ", shipped::DEFAULT),
        false => String::new(),
    };
    Some(format!(
        "of these, the shipped profile `{name}` allows {count}: {first}-p {name}"
    ))
}

/// The one with the fewest rules of those that allow most, and how many that are.
fn best(denials: &[&Denial], variables: &Variables) -> Option<(&'static str, usize)> {
    let asked: Vec<_> = denials
        .iter()
        // What is added to the profile at large need not hold inside its programs.
        .filter(|denial| denial.program.is_none() && !is_own(denial, variables))
        .collect();
    // To take the default for a profile that was chosen would be to give it up.
    let others = shipped::ALL.map(|shipped| shipped.name);
    let offers = others.into_iter().filter(|name| *name != shipped::DEFAULT);
    let counted = offers.filter_map(|name| {
        let explainer = explainer(name, variables)?;
        let count = asked.iter().filter(|one| allows(&explainer, one)).count();
        let rules = explainer.rules.len() + explainer.network.len();
        (count > 0).then_some((count, Reverse(rules), name))
    });
    counted.max().map(|(count, _, name)| (name, count))
}

/// What a shipped profile says on this host; one that cannot be used here offers nothing.
fn explainer(name: &str, variables: &Variables) -> Option<Explainer> {
    let effective = profile::load(&[name.into()], CommandLine::default()).ok()?;
    compile::explainer(&effective, variables, &look).ok()
}

fn is_own(denial: &Denial, variables: &Variables) -> bool {
    let path = denial.path.as_bytes();
    OWN.iter().any(|name| {
        let place = variables.get(name).unwrap_or_default();
        let below = path.strip_prefix(place);
        !place.is_empty() && below.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

fn allows(explainer: &Explainer, denial: &Denial) -> bool {
    if denial.operation == Denial::RESOLVE {
        let question = NetworkQuestion::Name {
            name: &denial.path,
            protocol: TCP,
            port: LIKELY_PORT,
        };
        return explainer.explain_network(0, &question).allowed;
    }
    let rights = [Right::Read, Right::Write, Right::Exec];
    let mut missing = rights
        .iter()
        .filter(|right| denial.lacks & right.bits() != 0);
    denial.lacks != 0
        && denial.other.is_none()
        && missing.all(|right| explainer.explain(denial.path.as_bytes(), *right).allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(profiles: &[&str]) -> Wanted {
        let variables = [("HOME", "/home/u"), ("CWD", "/home/u/w"), ("TMP", "/tmp/x")];
        let more = [
            ("USER", "u"),
            ("UID", "7"),
            ("CONFIG", "/home/u/.config"),
            ("CACHE", "/home/u/.cache"),
        ];
        let all = variables.into_iter().chain(more);
        Wanted {
            profiles: profiles.iter().map(Into::into).collect(),
            command_line: CommandLine::default(),
            variables: all.fold(Variables::new(), |all, (name, value)| all.with(name, value)),
        }
    }

    fn lacks(path: &str, right: Right) -> Denial {
        Denial {
            path: path.to_owned(),
            lacks: right.bits(),
            ..Denial::default()
        }
    }

    #[test]
    fn the_one_that_allows_most_is_offered() {
        let config = lacks("/home/u/.gitconfig", Right::Read);
        let ignored = lacks("/home/u/.config/git/ignore", Right::Read);
        let other = lacks("/home/u/notes", Right::Read);
        let denials = [&config, &ignored, &other];
        let text = sentence(&denials, &wanted(&[])).unwrap();
        assert_eq!(
            text,
            "of these, the shipped profile `git` allows 2: -p untrusted -p git"
        );
        let text = sentence(&denials, &wanted(&["./own.toml"])).unwrap();
        assert!(text.ends_with(": -p git"), "{text}");
    }

    #[test]
    fn a_group_of_hosts_is_offered_for_a_name_of_it() {
        let denial = Denial {
            operation: Denial::RESOLVE.to_owned(),
            path: "registry.npmjs.org".to_owned(),
            ..Denial::default()
        };
        let text = sentence(&[&denial], &wanted(&[])).unwrap();
        assert!(text.contains("`registry/npm` allows 1"), "{text}");
    }

    #[test]
    fn nothing_is_offered_for_what_a_flag_says_or_what_is_denied_everywhere() {
        let own = lacks("/home/u/w/made", Right::Write);
        let key = lacks("/home/u/.ssh/id_rsa", Right::Read);
        let inside = Denial {
            program: Some("/usr/bin/git".to_owned()),
            ..lacks("/home/u/.gitconfig", Right::Read)
        };
        let ruled = Denial {
            path: "/home/u/.gitconfig".to_owned(),
            ..Denial::default()
        };
        for denial in [own, key, inside, ruled] {
            assert_eq!(sentence(&[&denial], &wanted(&[])), None);
        }
    }
}
