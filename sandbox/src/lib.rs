//! ringfence puts a command behind a least-privilege fence.
//!
//! The rooms, each of which uses only rooms before it:
//!
//! | room | what it is |
//! |---|---|
//! | [`policy`] | the compiled form, and what of it is really enforced |
//! | [`profile`] | what a person writes |
//! | [`event`] | one thing that a task did or tried, with its verdict |
//! | [`trace`] | what a run did, each act once |
//! | [`compile`] | profile to policy; which rule decides |
//! | [`learn`] | trace to profile |
//! | [`report`] | findings in the formats that people and machines read |
//! | [`cache`] | what was made before and can be made again |
//! | [`kernel`] | the BPF LSM engine: load, pin, enrol, read events |
//! | [`record`] | a stream of acts becomes a trace |
//! | [`confine`] | the launched process: cgroup, user, capabilities, seccomp, Landlock, terminal |
//! | [`network`] | the fence's resolver: names to addresses, and which of them are open |
//! | [`telemetry`] | what leaves a fence for those who look on: sockets of followers, metrics |
//! | [`oci`] | containers: a runtime's command line, bundles, hooks |
//! | `registry` | profiles in registries of container images (cargo feature `registry`) |
//! | [`command`] | what the command line's verbs do |
//! | [`cli`] | the command line |

pub mod cache;
pub mod cli;
pub mod command;
pub mod compile;
pub mod confine;
pub mod event;
pub mod kernel;
pub mod learn;
pub mod network;
pub mod oci;
pub mod policy;
pub mod profile;
pub mod record;
#[cfg(feature = "registry")]
pub mod registry;
pub mod report;
pub mod telemetry;
pub mod trace;

// Test helpers are shared with integration tests, which know this crate by its name.
#[cfg(test)]
extern crate self as ringfence;
