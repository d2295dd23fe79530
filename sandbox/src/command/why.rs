//! `ringfence why`: the denials of the last run, explained.

use std::io::Write;

use super::{
    Failure,
    run::{last_run, paragraph},
};
use crate::policy::number_of;

/// Writes the explanations of the caller's last run to `out`; with a `filter`, of the denials whose path contains it.
///
/// # Errors
/// If there is no last run, or `out` cannot be written.
pub fn why(filter: Option<&str>, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut record = last_run()?;
    if let Some(filter) = filter {
        record.denials.retain(|denial| {
            denial.path.contains(filter)
                || denial
                    .other
                    .as_ref()
                    .is_some_and(|other| other.contains(filter))
        });
    }
    let text = if json {
        let mut text = serde_json::to_string_pretty(&record)
            .map_err(|error| Failure::Argument(format!("cannot write JSON: {error}")))?;
        text.push('\n');
        text
    } else {
        let mut lines = vec![
            format!("command   {}", record.command.join(" ")),
            format!("profile   {}", record.profile),
            format!("engine    {}", record.engine),
        ];
        if let Some(reason) = &record.engine_reason {
            lines.push(format!("          not bpf-lsm: {reason}"));
        }
        lines.extend(
            record
                .degraded
                .iter()
                .map(|line| format!("          {line}")),
        );
        if let Some(exit) = record.exit {
            lines.push(format!("exit code {exit}"));
        }
        lines.push(match (record.denials.len(), &record.blind) {
            (0, Some(reason)) => format!("denials   cannot be seen here: {reason}"),
            (0, None) => "denials   none".to_owned(),
            (kinds, _) => format!("denials   {}", number_of(kinds, "kind", "kinds")),
        });
        let mut text = lines.join("\n") + "\n";
        for denial in &record.denials {
            text.push_str(&paragraph(denial));
        }
        if record.lost > 0 {
            text.push_str(&format!(
                "  {} more found no room to be told\n",
                record.lost
            ));
        }
        text
    };
    out.write_all(text.as_bytes())
        .map_err(|source| Failure::File {
            action: "write to",
            path: "/dev/stdout".into(),
            source,
        })
}
