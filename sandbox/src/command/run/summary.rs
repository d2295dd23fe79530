//! What a run says in the end, and what it would say before a start (`--dry-run`).

use std::{fmt::Write as _, io::Write};

use ringfence_abi::rights;

use super::{Record, denial::Denial, engine::Enforcer};
use crate::{
    command::Failure,
    confine::Plan,
    policy::{Grade, Standing, number_of},
};

/// Kinds of denials that the summary spells out; `ringfence why` has all.
const KINDS: usize = 25;

/// The summary; empty if there is nothing to say. When quiet, only what would otherwise go unnoticed is said. `offer` is asked for a
/// sentence on what would allow the denials that are told.
pub(super) fn text(
    record: &Record,
    quiet: bool,
    offer: impl FnOnce(&[&Denial]) -> Option<String>,
) -> String {
    let mut text = String::new();
    let failed = record.exit.is_some_and(|code| code != 0);
    // What only something else denied is news where the command came to grief.
    let unexpected: Vec<_> = record
        .denials
        .iter()
        .filter(|denial| {
            denial.is_news() || (failed && !denial.expected && denial.allowed_by_profile)
        })
        .collect();
    if !quiet && !unexpected.is_empty() {
        heading(&mut text, record, &unexpected);
        for denial in unexpected.iter().take(KINDS) {
            text.push_str(&paragraph(denial));
        }
        if unexpected.len() > KINDS {
            push(
                &mut text,
                format_args!(
                    "  and {} more: ringfence why\n",
                    number_of(unexpected.len() - KINDS, "kind", "kinds")
                ),
            );
        }
        if let Some(sentence) = offer(&unexpected) {
            push(&mut text, format_args!("ringfence: {sentence}\n"));
        }
    }
    unnoticed(&mut text, record);
    text
}

fn heading(text: &mut String, record: &Record, unexpected: &[&Denial]) {
    let (mut denied, mut audited) = (0, 0);
    for denial in unexpected {
        *(if denial.denied {
            &mut denied
        } else {
            &mut audited
        }) += denial.count;
    }
    let what = match (denied, audited) {
        (0, audited) => format!("{audited} would be denied"),
        (denied, 0) => format!("{denied} denied"),
        (denied, audited) => format!("{denied} denied, {audited} would be"),
    };
    push(
        text,
        format_args!(
            "ringfence: {what}, {} (profile {}, engine {})\n",
            number_of(unexpected.len(), "kind", "kinds"),
            record.profile,
            record.engine
        ),
    );
}

/// What must not go unsaid.
fn unnoticed(text: &mut String, record: &Record) {
    let failed = record.exit.is_some_and(|code| code != 0);
    if let Some(reason) = &record.blind
        && failed
    {
        push(
            text,
            format_args!(
                "ringfence: the command failed; whether the fence denied something cannot be seen here ({reason}); --dry-run tells \
                 what would be enforced\n"
            ),
        );
    }
    if record.malformed > 0 {
        push(
            text,
            format_args!(
                "ringfence: {} made no sense, and cannot be told\n",
                number_of(record.malformed, "event", "events")
            ),
        );
    }
    if record.lost > 0 {
        push(
            text,
            format_args!(
                "ringfence: {} more found no room to be told\n",
                number_of(record.lost, "denial", "denials")
            ),
        );
    }
    if record.lost_queries > 0 {
        push(
            text,
            format_args!(
                "ringfence: {} for names found no room to be told\n",
                number_of(record.lost_queries, "query more", "queries more")
            ),
        );
    }
    if record.further > 0 {
        push(
            text,
            format_args!(
                "ringfence: {} more of further kinds\n",
                number_of(record.further, "denial", "denials")
            ),
        );
    }
    if record.errors > 0 {
        push(
            text,
            format_args!(
                "ringfence: the fence itself has failed {}, and denied\n",
                number_of(record.errors, "time", "times")
            ),
        );
    }
    if record.dropped > 0 {
        push(
            text,
            format_args!(
                "ringfence: held back, coming or going: {} that no rule allows\n",
                number_of(record.dropped, "packet", "packets")
            ),
        );
    }
    if record.missed > 0 {
        push(
            text,
            format_args!(
                "ringfence: the kernel has left out {} of the fence's programs since they were loaded: what happened then \
                 was not judged; do not rely on this engine on this kernel\n",
                number_of(record.missed, "run", "runs")
            ),
        );
    }
    if record.leftover > 0 {
        push(
            text,
            format_args!(
                "ringfence: ended {} that the command had left behind\n",
                number_of(record.leftover, "process", "processes")
            ),
        );
    }
    if record.timed_out {
        text.push_str("ringfence: the time limit was reached, and the command ended\n");
    }
}

/// One kind of denial, spelled out.
pub fn paragraph(denial: &Denial) -> String {
    let mut text = String::new();
    let times = if denial.count == 1 {
        String::new()
    } else {
        format!("  ({} times)", denial.count)
    };
    push(
        &mut text,
        format_args!("  {}{}{times}\n", denial.operation, object(denial)),
    );
    if !denial.programs.is_empty() {
        push(
            &mut text,
            format_args!("    by       {}\n", denial.programs.join(" < ")),
        );
    }
    if let Some(program) = &denial.program {
        push(
            &mut text,
            format_args!("    in       program {}\n", printable(program)),
        );
    }
    push(&mut text, format_args!("    because  {}\n", denial.reason));
    if let Some(because) = &denial.because {
        push(&mut text, format_args!("             {because}\n"));
    }
    if let Some(hint) = &denial.hint {
        push(&mut text, format_args!("    hint     {hint}\n"));
    }
    for (position, line) in denial.profile_lines.iter().enumerate() {
        // Inside some programs there is no flag that would allow it.
        let flag = denial.flags.get(position);
        let flag = flag
            .map(|flag| format!("   or   {flag}"))
            .unwrap_or_default();
        push(&mut text, format_args!("    allow    {line}{flag}\n"));
    }
    text
}

/// What a denial is about, with a space before it; control characters are escaped, for a path may hold a newline or
/// a terminal's command.
pub(super) fn object(denial: &Denial) -> String {
    let mut text = String::new();
    if !denial.path.is_empty() {
        push(&mut text, format_args!(" {}", printable(&denial.path)));
    }
    if let Some(other) = &denial.other {
        push(&mut text, format_args!(" -> {}", printable(other)));
    }
    text
}

/// Without control characters, which may steer a terminal.
pub(in crate::command) fn printable(path: &str) -> String {
    path.chars()
        .flat_map(|character| {
            let plain = !character.is_control();
            let escaped = character.escape_default().filter(move |_| !plain);
            plain.then_some(character).into_iter().chain(escaped)
        })
        .collect()
}

/// The names of rights.
pub(super) fn right_names(bits: u8) -> Vec<&'static str> {
    [
        (rights::READ, "read"),
        (rights::WRITE, "write"),
        (rights::EXEC, "exec"),
    ]
    .into_iter()
    .filter_map(|(bit, name)| (bits & bit != 0).then_some(name))
    .collect()
}

/// What is not exactly as the profile says, a sentence each.
pub(super) fn degraded(standings: &[Standing]) -> Vec<String> {
    standings
        .iter()
        .filter(|standing| standing.grade != Grade::Exact)
        .map(|standing| {
            format!(
                "{} is {}: {}",
                standing.protection,
                standing.grade,
                standing.why()
            )
        })
        .collect()
}

/// What would be done and what would be enforced.
pub(super) fn dry_run(
    plan: &Plan,
    enforcer: &Enforcer,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut text = String::new();
    push(&mut text, format_args!("engine: {}\n", enforcer.name()));
    if let Some(reason) = enforcer.reason() {
        push(&mut text, format_args!("  not bpf-lsm: {}\n", reason.text));
    }
    for standing in plan.standings() {
        let backends: Vec<_> = standing
            .backends
            .iter()
            .map(|backend| backend.name())
            .collect();
        push(
            &mut text,
            format_args!(
                "  {:<16} {:<9} {}\n",
                standing.protection.name(),
                standing.grade.name(),
                backends.join(", ")
            ),
        );
        for reason in &standing.reasons {
            push(&mut text, format_args!("      {reason}\n"));
        }
    }
    push(&mut text, format_args!("steps:\n{plan}"));
    out.write_all(text.as_bytes())
        .map_err(|source| Failure::File {
            action: "write to",
            path: "/dev/stderr".into(),
            source,
        })
}

/// Appends to a string, which takes everything.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_told_as_many() {
        let mut record = Record::default();
        (record.lost, record.dropped, record.leftover) = (1, 1, 1);
        let one = text(&record, false, |_| None);
        assert!(
            !["denials", "packets", "processes"]
                .iter()
                .any(|many| one.contains(many))
        );
        record.dropped = 2;
        assert!(text(&record, false, |_| None).contains("2 packets"));
    }
}
