//! The sections of a bench, of which its arguments choose.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::{number, rows};

/// Measures so many rounds, in a directory of its own.
pub(crate) type Section = fn(usize, &Path);

/// Measures those that `words` name, or all, each in a directory below `place`. `ROUNDS` says how often.
pub(crate) fn run(sections: &[(&str, Section)], words: &[OsString], place: &Path) {
    // Cargo hands `--bench` to every bench.
    let is_option = |word: &&OsString| word.to_string_lossy().starts_with('-');
    let named: Vec<_> = words.iter().filter(|word| !is_option(word)).collect();
    let is_wanted = |name: &str| named.is_empty() || named.iter().any(|word| *word == name);
    println!("{}", rows::place());
    for (name, measure) in sections.iter().filter(|(name, _)| is_wanted(name)) {
        let place = place.join(name);
        fs::create_dir(&place).expect("a directory");
        measure(number("ROUNDS", 15), &place);
    }
}
