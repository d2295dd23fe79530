//! Where an answer goes: to a file that was named, or to standard output.

use std::{
    io::{self, Write},
    path::Path,
};

use super::Failure;

/// The file that was named; none for standard output, which is where an answer goes without one, and what `-` stands for.
#[must_use]
pub fn file(named: Option<&Path>) -> Option<&Path> {
    named.filter(|path| path.as_os_str() != "-")
}

/// Writes to standard output.
///
/// # Errors
/// If it takes not all of it.
pub fn print(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).map_err(unwritten)
}

/// Standard output did not take what was written to it.
#[must_use]
pub fn unwritten(source: io::Error) -> Failure {
    Failure::File {
        action: "write to",
        path: "standard output".into(),
        source,
    }
}
