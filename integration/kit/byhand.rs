//! A policy that a test makes by hand, in force in a cgroup of its own: nothing is asked but the kernel half.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Failed;
use ringfence::event::Event;
use ringfence::kernel::{Cgroup, Engine, Fence, Grants};
use ringfence::policy::Policy;
use ringfence_abi::network::Resolver;

use super::{Verdict, standing::entered};

/// The policy in force.
pub(crate) struct ByHand {
    group: Group,
    engine: Engine,
    fence: Fence,
}

impl ByHand {
    /// Puts it in force for whoever executes a program in the cgroup.
    pub(crate) fn new(policy: &Policy) -> Result<Self, Failed> {
        Self::of(policy, Engine::open)
    }

    /// Only what stands beside the fallback engine.
    pub(crate) fn beside_fallback(policy: &Policy) -> Result<Self, Failed> {
        Self::of(policy, |_| Engine::open_watch())
    }

    fn of(
        policy: &Policy,
        open: impl FnOnce(&Cgroup) -> Result<Engine, ringfence::kernel::Error>,
    ) -> Result<Self, Failed> {
        let group = Group::new()?;
        let id = fs::metadata(&group.0)?.ino();
        let cgroup = Cgroup {
            directory: group.0.clone(),
            id,
        };
        let mut engine = open(&cgroup)?;
        let fence = engine.install(policy, &cgroup)?;
        Ok(Self {
            group,
            engine,
            fence,
        })
    }

    /// A command that runs inside.
    pub(crate) fn entered(&self, program: &str) -> Command {
        entered(&self.group.0, program)
    }

    /// Sends name queries to this resolver.
    pub(crate) fn resolve_by(&mut self, resolver: Resolver) -> Verdict {
        Ok(self.fence.set_resolver(&mut self.engine, resolver)?)
    }

    /// Has Unix sockets judged on the cgroup.
    pub(crate) fn judge_unix(
        &mut self,
        supervisor: Option<u64>,
    ) -> Result<(), ringfence::kernel::Error> {
        self.fence.judge_unix(&mut self.engine, supervisor)
    }

    /// What grants addresses.
    pub(crate) fn grants(&self) -> Result<Grants, Failed> {
        Ok(self.fence.grants(&self.engine)?)
    }

    /// Takes it down, and returns the denials.
    pub(crate) fn end(self) -> Result<Vec<Event>, Failed> {
        let Self {
            group: _group,
            mut engine,
            mut fence,
        } = self;
        let mut stream = fence.events().ok_or("the fence has no events")?;
        let mut events = Vec::new();
        while let Some(event) = stream.next_event() {
            events
                .push(event.map_err(|bytes| format!("a record of {bytes} bytes makes no sense"))?);
        }
        let totals = fence.totals(&engine)?;
        fence.remove(&mut engine)?;
        if totals.missed != 0 || totals.errors != 0 {
            return Err(format!("the fence failed: {totals:?}").into());
        }
        Ok(events)
    }
}

/// A cgroup, removed with its handle.
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Self, Failed> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let above = super::standing::hierarchy()?;
        let path = Path::new(above).join(format!("by-hand-{}-{number}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
    }
}
