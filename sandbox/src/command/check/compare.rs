//! A trace held against a policy: what a fence would have denied.

mod reach;

use std::collections::BTreeMap;

use ringfence_abi::rights::{EXEC, READ, WRITE};

use crate::{
    command::learn::Known,
    compile::Explainer,
    policy::{Mode, Policy, Syscalls},
    profile::{Right, pattern::escape},
    report::Finding,
    trace::{Record, Trace},
};

/// What the trace did and the policy does not allow, each once.
pub(in crate::command) fn new(
    trace: &Trace,
    policy: &Policy,
    explainer: &Explainer,
    known: &Known,
) -> Vec<Finding> {
    let mut findings: BTreeMap<(String, String), Finding> = BTreeMap::new();
    let mut add = |finding: Finding| {
        let key = (finding.kind.clone(), finding.subject.clone());
        findings
            .entry(key)
            .and_modify(|known| {
                known.count += finding.count;
                known.programs.extend(finding.programs.iter().cloned());
                known.programs.sort();
                known.programs.dedup();
            })
            .or_insert(finding);
    };
    for record in &trace.records {
        files(record, policy, explainer, known)
            .into_iter()
            .for_each(&mut add);
        reach::new(record, policy, explainer)
            .into_iter()
            .for_each(&mut add);
    }
    reach::looked_up(trace, policy)
        .into_iter()
        .for_each(&mut add);
    let plain = |kind: &str, subject: &str, reason: &str, allow: String| Finding {
        kind: kind.to_owned(),
        what: kind.to_owned(),
        subject: subject.to_owned(),
        count: 1,
        reason: reason.to_owned(),
        allow: Some(allow),
        ..Finding::default()
    };
    for name in &trace.end.capabilities {
        if !policy.capabilities.contains(name) {
            let allow = format!("capabilities = [\"{name}\"] in [process]");
            add(plain(
                "capability",
                name,
                "the profile does not keep it",
                allow,
            ));
        }
    }
    for name in &trace.end.surfaces {
        let is_open = ringfence_abi::surface::ALL
            .iter()
            .any(|surface| surface.name == name && policy.kernel.contains(surface.bit));
        if !is_open {
            let allow = format!("allow = [\"{name}\"] in [kernel]");
            add(plain("kernel", name, "the profile does not open it", allow));
        }
    }
    if let Syscalls::Listed(listed) = &policy.syscalls {
        for name in &trace.end.system_calls {
            if !listed.contains(&name.as_str()) && name.parse::<u32>().is_err() {
                let allow = format!("syscalls = [\"{name}\"] in [process]");
                add(plain(
                    "syscall",
                    name,
                    "the profile does not list it",
                    allow,
                ));
            }
        }
    }
    findings.into_values().collect()
}

/// The rights that a record needed and the policy does not give.
fn files(record: &Record, policy: &Policy, explainer: &Explainer, known: &Known) -> Vec<Finding> {
    if policy.files.mode == Mode::Off {
        return Vec::new();
    }
    let automaton = &policy.files.automaton;
    // The rights of a [[program]] hold for the program itself; what it starts is looked at as if at large, which is
    // rather told once too often.
    let program = record
        .program
        .as_ref()
        .map_or(0, |path| automaton.program(path.bytes()));
    let inside = usize::from(program).checked_sub(1);
    let inside = inside.and_then(|number| policy.programs.get(number));
    let automaton = inside.map_or(automaton, |program| &program.files.automaton);
    let paths = [&record.path, &record.other];
    let mut findings = Vec::new();
    for path in paths.into_iter().flatten() {
        if !path.bytes().starts_with(b"/") {
            continue;
        }
        let missing = record.rights.0 & !automaton.rights(path.bytes());
        for (bit, right) in [
            (READ, Right::Read),
            (WRITE, Right::Write),
            (EXEC, Right::Exec),
        ] {
            if missing & bit == 0 {
                continue;
            }
            let found = explainer.explain_in(program, path.bytes(), right);
            let reason = match &found.rule {
                Some(rule) => format!("deny rule `{}` ({})", rule.text, rule.origin),
                None => format!("no rule allows to {right} it"),
            };
            let is_secret = known.secrets.rights(path.bytes()) & READ != 0;
            findings.push(Finding {
                reason,
                secret: is_secret.then(|| known.secret(path.bytes())),
                allow: found.suggestion.map(|suggestion| suggestion.profile),
                ..about(right.name(), record, &escape(path.bytes()))
            });
        }
    }
    findings
}

fn about(kind: &str, record: &Record, subject: &str) -> Finding {
    Finding {
        kind: kind.to_owned(),
        what: record.what.clone(),
        subject: subject.to_owned(),
        programs: record.program.iter().map(ToString::to_string).collect(),
        count: record.count,
        ..Finding::default()
    }
}
