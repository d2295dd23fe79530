//! Containers: the distribution's runtimes and engines with the fence put in, against what they do without it.

mod bundle;
mod engines;
mod runtimes;

use crate::kit::{Need, Suite};
pub(crate) use bundle::Bundle;

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    runtimes::register(suite);
    engines::register(suite);
}

/// Containers behind the fence.
const FENCED: &[Need] = &[
    Need::Root,
    Need::BpfLsm,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("crun"),
    Need::Program("busybox"),
];
