//! Findings of `check` in the formats that people and machines read. Pure: text in, text out.

#![forbid(unsafe_code)]

mod finding;
mod formats;

pub use finding::{Finding, Findings};
pub use formats::{Format, write};
