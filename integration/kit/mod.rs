//! What the integration tests are written with: needs, floors, runs of the program, fences with a prober inside, and
//! folders to try things in.

mod byhand;
mod duration;
mod expectation;
mod fence;
mod folder;
mod need;
mod network;
mod patience;
mod prefixes;
mod run;
mod script;
mod standing;
mod suite;

pub(crate) use byhand::ByHand;
pub(crate) use fence::{DENIED, Fence, OK, PYTHON};
pub(crate) use folder::Folder;
pub(crate) use need::{Need, on_path};
pub(crate) use network::Network;
pub(crate) use prefixes::prefixes;
pub(crate) use run::{Finished, Ringfence, binary};
pub(crate) use script::{OWN_RUN, OWN_RUN_ON_HOSTS, PRELUDE, script, told_by};
pub(crate) use standing::Standing;
pub(crate) use suite::{Suite, Verdict, run};
