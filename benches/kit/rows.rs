//! Rows of results: shown on standard output, and with `RESULTS=FILE` added to that file as lines of JSON for
//! `cargo xtask bench`.
//!
//! Rounds are paired: in each one every contestant runs once, in turn, and ratios are taken round by round, so that what
//! the machine does beside it falls on all alike. Medians are shown.

use std::fs::File;
use std::io::Write as _;
use std::{env, fs};

/// What was measured, in `unit`; lower is better.
#[derive(Clone, Copy)]
pub(crate) struct What<'a> {
    /// The section of the report that it belongs to.
    pub(crate) section: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its unit.
    pub(crate) unit: &'a str,
}

/// Where it is measured, and how both this program and ringfence were built.
pub(crate) fn place() -> String {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    format!(
        "Linux {}, {processors} processors ({}), {}",
        read("/proc/sys/kernel/osrelease").trim(),
        model.unwrap_or("unknown").trim_matches([' ', '\t', ':']),
        if cfg!(debug_assertions) {
            "dev build"
        } else {
            "release build"
        }
    )
}

/// Runs every contestant once a round, and tells of each: `measure` gives values, one for each of `whats`, or why there are none.
pub(crate) fn rounds_of<const N: usize>(
    whats: [What<'_>; N],
    names: &[&str],
    rounds: usize,
    mut measure: impl FnMut(usize) -> Result<[f64; N], String>,
) {
    let mut values = vec![Ok(Vec::new()); names.len()];
    // The first round may load programs and fill caches.
    for round in 0..=rounds {
        for (number, values) in values.iter_mut().enumerate() {
            let Ok(list) = values else { continue };
            match measure(number) {
                Ok(value) if round > 0 => list.push(value),
                Ok(_) => {}
                Err(reason) => *values = Err(reason),
            }
        }
    }
    for (index, what) in whats.into_iter().enumerate() {
        for (name, own) in names.iter().zip(&values) {
            let row = match (own, &values[0]) {
                (Ok(own), Ok(native)) => {
                    let here = own.iter().map(|values| values[index]);
                    let ratios = here
                        .clone()
                        .zip(native)
                        .map(|(one, native)| one / native[index]);
                    Ok((median(here.collect()), median(ratios.collect())))
                }
                (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
            };
            tell(what, name, &row);
        }
    }
}

/// One row: a value and its ratio to native (not a number where there is nothing to compare with), or why there is none.
pub(crate) fn tell(what: What<'_>, contestant: &str, row: &Result<(f64, f64), String>) {
    let What {
        section,
        name,
        unit,
    } = what;
    let place = place();
    let json = match row {
        Ok((value, ratio)) => {
            let ratio_text = if ratio.is_finite() {
                format!("{ratio:>9.2} x")
            } else {
                String::new()
            };
            println!("{name:<24} {contestant:<12} {value:>12.2} {unit:<4} {ratio_text}");
            serde_json::json!({
                "place": place, "section": section, "what": name, "unit": unit, "contestant": contestant,
                "value": value, "ratio": ratio,
            })
        }
        Err(reason) => {
            println!("{name:<24} {contestant:<12} none: {reason}");
            serde_json::json!({
                "place": place, "section": section, "what": name, "unit": unit, "contestant": contestant,
                "none": reason,
            })
        }
    };
    if let Some(path) = env::var_os("RESULTS") {
        let file = File::options().create(true).append(true).open(path);
        writeln!(file.expect("RESULTS can be written"), "{json}").expect("RESULTS can be written");
    }
}

/// The middle of them.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
