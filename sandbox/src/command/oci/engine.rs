//! Which engine stands behind a container's fence. It is chosen when the bundle is changed, for one of them needs more there.

use crate::{
    command::{Failure, run},
    confine::{Engine, Probe},
    kernel,
    oci::{Host, HostEngine},
};

/// BPF LSM where it can be had, unless the host says otherwise.
pub(super) fn choose(host: &Host) -> Result<Engine, Failure> {
    match host.engine {
        HostEngine::BpfLsm => Ok(Engine::BpfLsm),
        HostEngine::Fallback => Ok(Engine::Fallback),
        HostEngine::Auto if kernel::Host::probe().obstacle().is_some() => Ok(Engine::Fallback),
        HostEngine::Auto if kernel::Engine::is_warm() => Ok(Engine::BpfLsm),
        HostEngine::Auto => match run::open_engine(&Probe::without_namespaces()?) {
            Ok(_) => Ok(Engine::BpfLsm),
            Err(Failure::Kernel(_)) => Ok(Engine::Fallback),
            Err(failure) => Err(failure),
        },
    }
}
