//! TCP ports by Landlock, where no program on a cgroup judges addresses: without root, or without a cgroup.
//!
//! Landlock judges the port of a connection and of a binding, of TCP alone, and no address. It sees neither a connection
//! that is opened by sending (TCP Fast Open) nor a socket that listens without having been bound, for which the kernel
//! chooses a port (security/landlock/net.c, 6.18, has hooks for bind and connect only). What it does not see, the filter
//! closes, or the standing says.

use landlock::AccessNet;

use crate::policy::{Demand, Mode, Policy, PortView, Protection};

use super::super::probe::Probe;

/// The first ABI that judges ports (6.7).
const ABI_PORTS: u32 = 4;

/// What Landlock and the filter are to do.
#[derive(Debug)]
pub(in crate::confine) struct Ports {
    /// What the policy says of ports.
    pub(in crate::confine) view: PortView,
    /// Whether names may be looked up by the policy.
    pub(in crate::confine) names: bool,
    /// Whether sockets of datagrams are made, whose peers nobody judges.
    pub(in crate::confine) datagrams: bool,
    /// Whether sockets listen.
    pub(in crate::confine) listen: bool,
    /// Rights that Landlock judges, and the ports that have them.
    pub(super) judged: Vec<(AccessNet, Vec<u16>)>,
}

impl Ports {
    /// `None` if Landlock has no part in it.
    pub(super) fn of(policy: &Policy, probe: &Probe) -> Option<Self> {
        let network = &policy.network;
        let is_judged = network.mode == Mode::Enforce && network.reaches;
        if !is_judged || probe.cgroup_programs || probe.landlock_abi < ABI_PORTS || !probe.seccomp {
            return None;
        }
        let view = network.ports();
        // What is wanted is then worth more than a fence without a hole.
        let tolerant = policy.degradation.demand(Protection::Network) != Demand::Required;
        let mut judged = Vec::new();
        if !view.connect.is_every() {
            judged.push((AccessNet::ConnectTcp, view.connect.ports.clone()));
        }
        if !view.listen.is_every() {
            // Binding port 0 reaches nobody and is reached by nobody: programs do it before they connect.
            let mut ports = view.listen.ports.clone();
            ports.extend((!view.listen.contains(0)).then_some(0));
            judged.push((AccessNet::BindTcp, ports));
        }
        Some(Self {
            names: network.names,
            datagrams: tolerant && (network.names || view.datagrams || view.echo),
            listen: tolerant || !view.listen.ports.is_empty(),
            view,
            judged,
        })
    }

    /// How many rules Landlock gets.
    pub(in crate::confine) fn len(&self) -> usize {
        self.judged.iter().map(|(_, ports)| ports.len()).sum()
    }
}
