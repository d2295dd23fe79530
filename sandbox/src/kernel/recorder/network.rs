//! The recorder's programs on the cgroup of what is recorded: what is reached and bound, and where name queries go.

use std::{fs::File, path::Path};

use aya::programs::{CgroupAttachMode, CgroupSockAddr, CgroupSockAddrAttachType as Kind};
use ringfence_abi::network::Resolver;

use super::{Recorder, refused};
use crate::kernel::{Error, engine, fence::resolver_bytes};

const PROGRAMS: [(&str, Kind); 10] = [
    ("record_connect4", Kind::Connect4),
    ("record_connect6", Kind::Connect6),
    ("record_sendmsg4", Kind::UDPSendMsg4),
    ("record_sendmsg6", Kind::UDPSendMsg6),
    ("record_recvmsg4", Kind::UDPRecvMsg4),
    ("record_recvmsg6", Kind::UDPRecvMsg6),
    ("record_getpeername4", Kind::GetPeerName4),
    ("record_getpeername6", Kind::GetPeerName6),
    ("record_bind4", Kind::Bind4),
    ("record_bind6", Kind::Bind6),
];

impl Recorder {
    /// Sends the name queries of what will be recorded to `resolver`, where it is known whose they are.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn resolve_by(&mut self, resolver: &Resolver) -> Result<(), Error> {
        let bytes = resolver_bytes(resolver);
        for (word, chunk) in self.entry[1..4].iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
        }
        self.write_entry()
    }

    /// Records what recorded tasks that stand in the cgroup at `directory` reach and bind. The programs are detached when the
    /// recorder goes.
    ///
    /// # Errors
    /// If the kernel does not take the programs.
    pub fn begin_network(&mut self, directory: &Path) -> Result<(), Error> {
        let cgroup = File::open(directory).map_err(|error| Error::state(directory, error))?;
        for (name, kind) in PROGRAMS {
            let path = self.place.pins.program(name);
            let mut program = CgroupSockAddr::from_pin(&path, kind)
                .map_err(|error| Error::pin(&path, engine::spell(&error)))?;
            // A link stands beside others by itself, and takes no flag that says so (kernel/bpf/cgroup.c,
            // `cgroup_bpf_link_attach`).
            program
                .attach(&cgroup, CgroupAttachMode::Single)
                .map_err(|error| refused(name, engine::spell(&error)))?;
            self.on_cgroups.push(program);
        }
        Ok(())
    }
}
