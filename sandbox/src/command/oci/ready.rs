//! What can be known, read and opened for a container before there is one.

use std::fs;

use super::choice::{self, Choice};
use crate::{
    command::{Failure, memory::Remembered, run},
    confine::Probe,
    kernel,
    oci::{Bundle, Container, Host},
};

/// A fence that has everything but its container.
pub(super) struct Ready {
    pub(super) probe: Probe,
    pub(super) bundle: Bundle,
    pub(super) choice: Choice,
    pub(super) remembered: Remembered,
    /// What judges in the kernel, or watches; a container of the fallback engine can do without.
    pub(super) engine: Option<kernel::Engine>,
    /// Why nothing watches, if nothing does.
    pub(super) blind: Option<String>,
    /// Whether the bundle was changed for the fallback engine.
    pub(super) fallback: bool,
}

impl Ready {
    /// For the container of this bundle, whose profile was chosen.
    pub(super) fn of(bundle: Bundle, choice: Choice, fallback: bool) -> Result<Self, Failure> {
        // Its mounts are laid from outside.
        let mut probe = Probe::without_namespaces()?;
        // Not beside the rest: where another processor is busy, a thread begins later than all is done one after the other.
        let (engine, blind) = opened(fallback, &probe)?;
        probe.cgroup_programs = engine.as_ref().is_some_and(kernel::Engine::has_network);
        probe.unix_programs =
            Err("a container has no supervisor that connects in its place".to_owned());
        probe.way_to_hooks = run::way_to_hooks();
        Ok(Self {
            probe,
            bundle,
            choice,
            remembered: Remembered::open(),
            engine,
            blind,
            fallback,
        })
    }

    /// For a container that is there already.
    pub(super) fn late(
        container: &Container,
        given: Option<&str>,
        fallback: bool,
        host: &Host,
    ) -> Result<Self, Failure> {
        let bundle = Bundle::read(&container.bundle)?;
        let annotations = &container.annotations;
        let image = host.image_of(&container.bundle, annotations);
        let choice = choice::choose(host, annotations, &image, given)?;
        Self::of(bundle, choice, fallback)
    }

    /// Whether it is this container's: a runtime that says otherwise than its bundle is to be believed.
    pub(super) fn is_for(&self, container: &Container) -> bool {
        let same = |one, other| match (fs::canonicalize(one), fs::canonicalize(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        self.bundle.annotations() == container.annotations
            && same(self.bundle.directory(), &container.bundle)
    }
}

/// What judges or watches in the kernel; where a container can do without, perhaps nothing, and why.
fn opened(
    fallback: bool,
    probe: &Probe,
) -> Result<(Option<kernel::Engine>, Option<String>), Failure> {
    if !fallback {
        return Ok((Some(open(probe)?), None));
    }
    Ok(match kernel::Engine::open_watch() {
        Ok(engine) => (Some(engine), None),
        Err(error) => (None, Some(error.to_string())),
    })
}

/// BPF LSM, or why it is not enough to be called by a hook alone.
pub(super) fn open(probe: &Probe) -> Result<kernel::Engine, Failure> {
    run::open_engine(probe).map_err(|failure| match failure {
        Failure::Kernel(error) => Failure::Argument(format!(
            "{error}; without BPF LSM a container is fenced where `ringfence oci runtime` stands before its runtime, and not by \
             a hook alone"
        )),
        other => other,
    })
}
