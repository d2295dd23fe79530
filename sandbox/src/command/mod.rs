//! What the command line's verbs do: each takes what was asked, does it with the rooms below, and says what happened.

pub mod check;
mod compiled;
pub mod doctor;
pub mod events;
mod failure;
pub mod learn;
pub mod load;
pub mod look;
mod memory;
pub mod metrics;
pub mod oci;
pub mod output;
mod place;
pub mod profile;
pub mod ps;
pub mod reload;
pub mod report;
pub mod run;
pub mod stop;
mod told;
pub mod why;

pub use failure::Failure;
pub use place::Place;
