//! Containers: the distribution's runtimes and engines with the fence put in, against what they do without it.

mod ahead;
mod attacks;
mod bundle;
mod checkpoint;
mod contest;
mod cri;
mod engines;
mod fallback;
mod image;
mod images;
mod labels;
mod learning;
mod limits;
mod many;
mod names;
mod recorded;
mod rootless;
mod runtimes;

use crate::kit::{Need, Suite};
pub(crate) use bundle::Bundle;

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    runtimes::register(suite);
    engines::register(suite);
    fallback::register(suite);
    labels::register(suite);
    learning::register(suite);
    limits::register(suite);
    names::register(suite);
    recorded::register(suite);
    ahead::register(suite);
    attacks::register(suite);
    checkpoint::register(suite);
    contest::register(suite);
    cri::register(suite);
    images::register(suite);
    many::register(suite);
    rootless::register(suite);
}

/// Containers behind the fence, by whichever engine this kernel takes.
const FENCED: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("crun"),
    Need::Program("busybox"),
];

/// Containers behind hooks.
const HOOKED: &[Need] = &[
    Need::Root,
    Need::BpfLsm,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("crun"),
    Need::Program("busybox"),
];

/// Containers where no hooks judge.
const UNHOOKED: &[Need] = &[
    Need::Root,
    Need::NoBpfLsm,
    Need::Landlock,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("crun"),
    Need::Program("busybox"),
];
