//! What the benches share: contestants that run in turn, and rows of results.

pub(crate) mod contestant;
pub(crate) mod rows;
pub(crate) mod sections;

use std::env;

/// A number from the environment.
pub(crate) fn number(variable: &str, default: usize) -> usize {
    let given = env::var(variable).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// As [`rows::rounds_of`], where a run gives one value.
pub(crate) fn rounds(
    what: rows::What<'_>,
    names: &[&str],
    times: usize,
    mut measure: impl FnMut(usize) -> Result<f64, String>,
) {
    rows::rounds_of([what], names, times, |number| {
        measure(number).map(|value| [value])
    });
}
