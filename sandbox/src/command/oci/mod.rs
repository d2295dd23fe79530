//! `ringfence oci`: the same fence for containers.
//!
//! ```text
//! engine ──> ringfence oci runtime ──(hooks into the bundle)──> runc, crun, youki ──> ringfence oci hook ──> a process of its own
//!            becomes the runtime                                 creates, calls        waits for its answer    owns the fence
//! ```
//!
//! The hook runs when the container's first process stands in its cgroup and nothing of the container has been executed. From
//! its answer on, whatever executes a program in that cgroup is fenced: that process, and what `exec` adds.

mod choice;
mod enclosure;
mod engine;
mod hook;
mod install;
mod learning;
mod log;
mod monitor;
mod names;
mod prepare;
mod ready;
mod runtime;
mod standing;
mod witness;

pub use hook::hook;
pub use install::{install, uninstall};
pub use runtime::{RuntimeOptions, bundle, runtime};
pub(super) use witness::{About, Stays, Witness, running};
