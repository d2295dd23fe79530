//! What the command line's verbs do: each takes what was asked, does it with the rooms below, and says what happened.

mod failure;
mod look;
mod place;
pub mod profile;
pub mod run;

pub use failure::Failure;
pub use place::Place;
