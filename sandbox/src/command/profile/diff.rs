//! `profile diff`: what one profile allows and another does not, by what they mean.

use std::{collections::BTreeSet, ffi::OsString, io::Write};

use ringfence_abi::rights::{EXEC, READ, WRITE};
use serde::Serialize;

use super::{Error, look};
use crate::{
    compile,
    policy::{Automaton, Policy, Syscalls, Witness},
    profile::{self, CommandLine, Effective, NetworkRight, Rule, Variables, pattern},
};

/// One thing that one of two profiles allows, and the other does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Entry {
    /// Who allows it: `+` the second, `-` the first.
    side: char,
    /// Which right or section.
    kind: &'static str,
    /// A path, or a name.
    example: String,
    /// The rule that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// One profile, compiled.
struct Side {
    effective: Effective,
    policy: Policy,
}

/// `profile diff`. Returns whether both mean the same.
///
/// # Errors
///
/// If a profile has an error, or `out` cannot be written.
pub fn diff(
    first: &OsString,
    second: &OsString,
    variables: &Variables,
    json: bool,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let load = |name: &OsString| -> Result<Side, Error> {
        let effective = profile::load(std::slice::from_ref(name), CommandLine::default())?;
        let (policy, _) = compile::compile(&effective, variables, &look)?;
        Ok(Side { effective, policy })
    };
    let (first, second) = (load(first)?, load(second)?);
    let mut entries = beyond('-', &first, &second, variables)?;
    entries.extend(beyond('+', &second, &first, variables)?);
    if json {
        serde_json::to_writer_pretty(&mut *out, &entries)?;
        writeln!(out)?;
        return Ok(entries.is_empty());
    }
    for entry in &entries {
        write!(out, "{} {} {}", entry.side, entry.kind, entry.example)?;
        match &entry.rule {
            Some(rule) => writeln!(out, "   (rule `{rule}`)")?,
            None => writeln!(out)?,
        }
    }
    Ok(entries.is_empty())
}

/// What `side` allows and `other` does not.
fn beyond(
    sign: char,
    side: &Side,
    other: &Side,
    variables: &Variables,
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    files(sign, side, other, variables, &mut entries)?;
    network(sign, side, other, &mut entries);
    let mut add = |kind, example: String| {
        entries.push(Entry {
            side: sign,
            kind,
            example,
            rule: None,
        });
    };
    let (own, others) = (&side.policy, &other.policy);
    if own.files.mode != others.files.mode {
        add("files-mode", own.files.mode.name().to_owned());
    }
    if own.network.is_off() && !others.network.is_off() {
        add("network", "open".to_owned());
    }
    for name in &own.capabilities {
        if !others.capabilities.contains(name) {
            add("capability", name.clone());
        }
    }
    for surface in ringfence_abi::surface::ALL {
        if own.kernel.contains(surface.bit) && !others.kernel.contains(surface.bit) {
            add("kernel", surface.name.to_owned());
        }
    }
    match (&own.syscalls, &others.syscalls) {
        (Syscalls::Default, Syscalls::Listed(_)) => add("syscalls", "default".to_owned()),
        (Syscalls::Listed(own), Syscalls::Listed(others)) => {
            for name in own.iter().filter(|name| !others.contains(name)) {
                add("syscall", (*name).to_owned());
            }
        }
        _ => {}
    }
    if own.privilege_gain && !others.privilege_gain {
        add("privilege-gain", "allowed".to_owned());
    }
    programs(own, others, &mut add);
    if own.limits != others.limits {
        add("limits", format!("{:?}", own.limits));
    }
    Ok(entries)
}

/// Programs with rights of their own are held against those of the same path; a path that the other does not have is
/// named as a whole.
fn programs(own: &Policy, others: &Policy, add: &mut impl FnMut(&'static str, String)) {
    for program in &own.programs {
        let twin = others
            .programs
            .iter()
            .find(|other| other.path == program.path);
        let Some(twin) = twin else {
            add("program", program.path.clone());
            continue;
        };
        for (bit, kind) in RIGHTS {
            let automaton = &program.files.automaton;
            match automaton.witness(&twin.files.automaton, bit, None) {
                Witness::None => {}
                Witness::Path(path) => add(
                    "program",
                    format!("{}: {kind} {}", program.path, pattern::escape(&path)),
                ),
                Witness::TooLarge => add("program", format!("{}: {kind} ?", program.path)),
            }
        }
        if program.network.is_off() && !twin.network.is_off() {
            add("program", format!("{}: network", program.path));
        }
        if !twin.kernel.contains(program.kernel) {
            add("program", format!("{}: kernel", program.path));
        }
    }
}

const RIGHTS: [(u8, &str); 3] = [(READ, "read"), (WRITE, "write"), (EXEC, "exec")];

/// Rules that only one side has, where the automata differ: a deny rule of the other lets this side do more.
fn network(sign: char, side: &Side, other: &Side, entries: &mut Vec<Entry>) {
    let (own, others) = (&side.policy.network, &other.policy.network);
    if own.is_off() || others.is_off() || own.automaton == others.automaton {
        return;
    }
    let texts = |side: &Side, denies: bool| -> BTreeSet<(NetworkRight, Vec<u8>)> {
        let rules = side.effective.network.iter();
        rules
            .filter(|rule| (rule.right == NetworkRight::Deny) == denies)
            .map(|rule| (rule.right, rule.text.clone()))
            .collect()
    };
    let mut add = |right: NetworkRight, text: &[u8], denied: bool| {
        let text = String::from_utf8_lossy(text).into_owned();
        entries.push(Entry {
            side: sign,
            kind: "network",
            example: match denied {
                true => format!("what the other denies by `{text}`"),
                false => format!("{right} {text}"),
            },
            rule: (!denied).then_some(text),
        });
    };
    for (right, text) in texts(side, false).difference(&texts(other, false)) {
        add(*right, text, false);
    }
    for (right, text) in texts(other, true).difference(&texts(side, true)) {
        add(*right, text, true);
    }
}

/// Rule by rule, so that each difference has its own example; what is left over by all rules together is the work of a
/// deny rule of the other.
fn files(
    sign: char,
    side: &Side,
    other: &Side,
    variables: &Variables,
    entries: &mut Vec<Entry>,
) -> Result<(), Error> {
    let (own, others) = (&side.policy.files.automaton, &other.policy.files.automaton);
    for (bit, kind) in RIGHTS {
        match own.witness(others, bit, None) {
            Witness::None => continue,
            Witness::TooLarge => {
                entries.push(Entry {
                    side: sign,
                    kind,
                    example: "the profiles are too large to be compared".to_owned(),
                    rule: None,
                });
                continue;
            }
            Witness::Path(_) => {}
        }
        let rules = side.effective.rules.iter();
        for rule in rules.filter(|rule| rule.right.bits() == bit) {
            let alone = alone(&side.effective, rule, variables)?;
            if let Witness::Path(path) = own.witness(others, bit, Some(&alone)) {
                entries.push(Entry {
                    side: sign,
                    kind,
                    example: pattern::escape(&path),
                    rule: Some(rule.shown()),
                });
            }
        }
    }
    Ok(())
}

/// What one rule allows by itself.
fn alone(effective: &Effective, rule: &Rule, variables: &Variables) -> Result<Automaton, Error> {
    let mut single = effective.clone();
    single.rules = vec![rule.clone()];
    single.programs.clear();
    let (policy, _) = compile::compile(&single, variables, &look)?;
    Ok(policy.files.automaton)
}
