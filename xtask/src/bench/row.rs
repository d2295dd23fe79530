//! A row of results, as the benches write it: one object of JSON a line.

use anyhow::{Context, Result};
use serde_json::Value;

/// One contestant at one thing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Where it was measured, and what kind of build.
    pub(crate) place: String,
    /// Section of the report.
    pub(crate) section: String,
    /// What was measured.
    pub(crate) what: String,
    /// Unit of the value.
    pub(crate) unit: String,
    /// By whom.
    pub(crate) contestant: String,
    /// The median value and the median ratio to native, or why there is none.
    pub(crate) found: Result<Found, String>,
}

/// What was measured; lower is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    /// In the row's unit.
    pub(crate) value: f64,
    /// To native, where that is something to compare with.
    pub(crate) ratio: Option<f64>,
}

/// Reads all rows.
pub(crate) fn read(text: &str) -> Result<Vec<Row>> {
    text.lines().map(one).collect()
}

fn one(line: &str) -> Result<Row> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("no row: {line}"))?;
    let word = |name: &str| {
        let word = value[name].as_str().map(str::to_owned);
        word.with_context(|| format!("a row without `{name}`: {line}"))
    };
    let found = match value["value"].as_f64() {
        Some(number) => Ok(Found {
            value: number,
            ratio: value["ratio"].as_f64(),
        }),
        None => Err(word("none")?),
    };
    Ok(Row {
        place: word("place")?,
        section: word("section")?,
        what: word("what")?,
        unit: word("unit")?,
        contestant: word("contestant")?,
        found,
    })
}

/// Each of `all` once, in the order of their first appearance.
pub(crate) fn distinct<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_value_says_why() {
        let text = r#"{"place":"here","section":"s","what":"w","unit":"ns","contestant":"c","none":"it is closed"}"#;
        let rows = read(text).unwrap();
        assert_eq!(rows[0].found, Err("it is closed".to_owned()));
        assert!(read(&text.replace("none", "other")).is_err());
    }
}
