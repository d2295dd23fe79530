//! Results as tables of docs/performance.md, between two lines that stay.

use anyhow::{Context, Result};

use super::row::{Row, distinct};

const BEGIN: &str = "<!-- results: written by `cargo xtask bench --record` -->";
const END: &str = "<!-- end of results -->";

/// The page with these results in place of the sections of the same names; other sections stay.
pub(crate) fn with_results(page: &str, rows: &[Row], circumstances: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("no line `{BEGIN}`"))?;
    let (old, after) = rest
        .split_once(END)
        .with_context(|| format!("no line `{END}`"))?;
    let names = distinct(rows.iter().map(|row| row.section.as_str()));
    let is_new = |section: &&str| {
        names
            .iter()
            .any(|name| section.starts_with(&format!("{name}\n")))
    };
    let mut sections: Vec<String> = old
        .split("\n### ")
        .skip(1)
        .filter(|section| !is_new(section))
        .map(|section| format!("### {}\n", section.trim_end()))
        .collect();
    sections.extend(names.iter().map(|name| section(name, rows, circumstances)));
    let sections = sections.join("\n");
    Ok(format!("{before}{BEGIN}\n\n{sections}\n{END}{after}"))
}

/// A table: a line for each thing, a column for each contestant.
fn section(name: &str, rows: &[Row], circumstances: &str) -> String {
    let own: Vec<_> = rows.iter().filter(|row| row.section == name).collect();
    let contestants = distinct(own.iter().map(|row| row.contestant.as_str()));
    let places = distinct(own.iter().map(|row| row.place.as_str())).join("; ");
    let mut text = format!(
        "### {name}\n\n{places}, {circumstances}.\n\n| | {} |\n",
        contestants.join(" | ")
    );
    text.push_str(&format!("|---|{}\n", "---|".repeat(contestants.len())));
    for what in distinct(own.iter().map(|row| row.what.as_str())) {
        let cell = |contestant: &&str| {
            let mut own = own.iter();
            own.find(|row| row.what == what && row.contestant == *contestant)
                .map_or("".to_owned(), |row| cell(row))
        };
        let cells: Vec<_> = contestants.iter().map(cell).collect();
        text.push_str(&format!("| {what} | {} |\n", cells.join(" | ")));
    }
    let reasons = own.iter().filter_map(|row| {
        let reason = row.found.as_ref().err()?;
        Some(format!(
            "{}, {}: {}",
            row.what,
            row.contestant,
            reason.replace('|', "/")
        ))
    });
    let reasons: Vec<_> = reasons.collect();
    if !reasons.is_empty() {
        text.push_str(&format!("\nWithout a number: {}.\n", reasons.join("; ")));
    }
    text
}

fn cell(row: &Row) -> String {
    match &row.found {
        Ok(found) => {
            let value = rounded(found.value);
            let ratio = found.ratio.filter(|_| row.contestant != "native");
            let ratio = ratio.map(|ratio| format!(" ({} x)", rounded(ratio)));
            format!("{value} {}{}", row.unit, ratio.unwrap_or_default())
        }
        Err(_) => "none".to_owned(),
    }
}

/// Three digits, or as many as the whole number has.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        10.0..100.0 => 1,
        0.0..10.0 => 2,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::super::row::read;
    use super::*;

    fn rows(section: &str) -> Vec<Row> {
        let line = |contestant: &str, rest: &str| {
            format!(
                r#"{{"place":"a machine","section":"{section}","what":"open","unit":"ns","contestant":"{contestant}",{rest}}}"#
            )
        };
        let native = line("native", r#""value":100.0,"ratio":1.0"#);
        let ringfence = line("ringfence", r#""value":150.4,"ratio":1.5"#);
        let strace = line("strace", r#""none":"not allowed""#);
        read(&[native, ringfence, strace].join("\n")).unwrap()
    }

    #[test]
    fn a_section_takes_the_place_of_its_older_self_and_of_no_other() {
        let page = format!("before\n{BEGIN}\n{END}\nafter\n");
        let once = with_results(&page, &rows("first"), "here").unwrap();
        let both = with_results(&once, &rows("second"), "there").unwrap();
        let again = with_results(&both, &rows("second"), "later").unwrap();
        assert!(
            again.starts_with("before\n") && again.ends_with("\nafter\n"),
            "{again}"
        );
        assert_eq!(again.matches("### first").count(), 1, "{again}");
        assert_eq!(again.matches("### second").count(), 1, "{again}");
        assert!(again.contains("here") && again.contains("later") && !again.contains("there"));
    }

    #[test]
    fn a_cell_has_the_value_and_its_ratio_or_the_reason_below() {
        let page = format!("{BEGIN}\n{END}\n");
        let page = with_results(&page, &rows("first"), "here").unwrap();
        assert!(
            page.contains("| open | 100 ns | 150 ns (1.50 x) | none |"),
            "{page}"
        );
        assert!(
            page.contains("Without a number: open, strace: not allowed."),
            "{page}"
        );
    }

    #[test]
    fn a_page_without_a_place_for_results_is_refused() {
        assert!(with_results("nothing", &rows("first"), "here").is_err());
    }
}
