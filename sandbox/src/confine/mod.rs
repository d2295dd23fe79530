//! The launched process: cgroup, user, capabilities, seccomp, Landlock, mounts, terminal; and the fallback engine.
//!
//! ```text
//! Probe::new() ─┐
//! Policy ───────┼─> Plan::new ──> standings(), Display ──> launch() ──> Launched ──> release() ──> Running ──> wait() ──> Exit
//! Request ──────┘   everything     what is enforced          stands in its cgroup,   became the
//!                   prepared       and what not              waits; enrol it now     command
//! ```
//!
//! Each state is a type, and dropping one ends what it holds: a process that was launched and not released is killed,
//! a running fence is emptied. Nothing between fork and exec allocates (steps are prepared to the last byte).
//!
//! What this room must not do: read profiles, know BPF, print.

mod act;
mod branch;
mod capabilities;
mod cgroup;
mod connector;
mod container;
mod error;
mod fallback;
mod give_way;
mod launch;
mod leftovers;
mod mountinfo;
mod one_way;
mod onlooker;
mod plan;
mod probe;
mod program;
mod programs;
mod recorded;
mod running;
mod sampler;
mod seccomp;
mod signals;
mod standings;
mod step;
mod stop;
mod syscalls;
mod temporary;
mod terminal;
mod tracer;
mod user;

pub use branch::{Between, Branch, branch, branch_off};
pub use cgroup::{Cgroup, CgroupPlace, own_cgroup};
pub use connector::{ClosedTotals, Connector, Notifications};
pub use container::{
    Around, Container, Gate, LAUNCHER, LAUNCHER_PLACE, Namespace, PLAN, in_network_of,
};
pub use error::Error;
pub use fallback::{Act, Kept, NOT_STOPPED as NOT_STOPPED_BY_FALLBACK};
pub use give_way::give_way;
pub use launch::Launched;
pub use one_way::in_the_way;
pub use onlooker::{Onlooker, Process, Watched, cgroups_of};
pub use plan::{Plan, Request};
pub use probe::{Namespaces, Probe, Trial};
pub use program::resolve as find_program;
pub use recorded::{
    capability_names, held_capabilities, surface_names, surfaces_of, surfaces_of_namespaces,
    system_call_name,
};
pub use running::{Exit, Peak, Running, TIMED_OUT};
pub use stop::{Foreign, Stopped};
pub use temporary::Temporary;
pub use tracer::{Notice, Traced, trace};
pub use user::{Caller, User};

pub use syscalls::{always_open, closed_calls};

use crate::policy::{Policy, Standing};

/// What judges files and other tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// BPF programs on LSM hooks, loaded by the kernel room; this room adds what belongs to the process itself.
    BpfLsm,
    /// Landlock, mounts and seccomp.
    Fallback,
}

/// What a launch of `policy` by `engine` would really enforce here, without launching; `user` is who it would run as,
/// the caller if `None`.
///
/// # Errors
/// If the fallback engine cannot hold the policy at all.
pub fn standings(
    policy: &Policy,
    engine: Engine,
    probe: &Probe,
    user: Option<&User>,
) -> Result<Vec<Standing>, Error> {
    let uid = user.map_or(probe.uid, |user| user.uid);
    let directory = std::path::Path::new("/");
    let derived = match engine {
        Engine::BpfLsm => None,
        Engine::Fallback => Some(fallback::derive(policy, probe, uid, directory)?),
    };
    Ok(standings::of(policy, engine, probe, derived.as_ref(), uid))
}
