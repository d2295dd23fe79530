//! Findings of `check` in the formats that people and machines read, and a run as a page. Pure: text in, text out.

#![forbid(unsafe_code)]

mod finding;
mod formats;
mod page;

pub use finding::{Finding, Findings, printable};
pub use formats::{Format, write};
pub use page::{Judged, page};
