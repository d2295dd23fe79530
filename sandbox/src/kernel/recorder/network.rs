//! The recorder's programs on the recorded cgroup: what is reached and bound, and where name queries go.

use std::{fs::File, path::Path};

use aya::{
    maps,
    programs::{CgroupAttachMode, Program},
};
use ringfence_abi::network::Resolver;

use super::{PREFIX, Recorder, refused};
use crate::kernel::{Error, engine, fence::resolver_bytes};

impl Recorder {
    /// Records what the tasks of the cgroup at `directory` reach and bind, and sends their name queries to `resolver`. They
    /// are detached when the recorder goes.
    ///
    /// # Errors
    /// If the kernel does not take the programs.
    pub fn begin_network(&mut self, directory: &Path, resolver: &Resolver) -> Result<(), Error> {
        self.resolve_by(resolver)?;
        let cgroup = File::open(directory).map_err(|error| Error::state(directory, error))?;
        for (name, program) in self.object.programs_mut() {
            let Program::CgroupSockAddr(program) = program else {
                continue;
            };
            if !name.starts_with(PREFIX) {
                continue;
            }
            // A link stands beside others by itself, and takes no flag that says so (kernel/bpf/cgroup.c,
            // `cgroup_bpf_link_attach`).
            program
                .load()
                .and_then(|()| program.attach(&cgroup, CgroupAttachMode::Single))
                .map_err(|error| refused(name, engine::spell(&error)))?;
        }
        Ok(())
    }

    fn resolve_by(&mut self, resolver: &Resolver) -> Result<(), Error> {
        let failed =
            |reason: &dyn std::fmt::Display| Error::map("write", "RECORD_RESOLVER", reason);
        let map = self
            .object
            .map_mut("RECORD_RESOLVER")
            .ok_or_else(|| failed(&"the object does not define it"))?;
        let mut map = maps::Array::<_, [u8; size_of::<Resolver>()]>::try_from(map)
            .map_err(|error| failed(&error))?;
        map.set(0, resolver_bytes(resolver), 0)
            .map_err(|error| failed(&error))
    }
}
