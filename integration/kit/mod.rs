//! What the integration tests are written with: needs, floors, runs of the program, and folders to try things in.

mod expectation;
mod folder;
mod need;
mod run;
mod suite;

pub(crate) use need::Need;
pub(crate) use run::Ringfence;
pub(crate) use suite::{Suite, Verdict, run};
#[expect(
    unused_imports,
    reason = "subjects to come name the type of a run and make folders"
)]
pub(crate) use {folder::Folder, run::Finished};
