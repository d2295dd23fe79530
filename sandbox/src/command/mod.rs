//! What the verbs of the command line do.

pub mod look;
pub mod profile;
