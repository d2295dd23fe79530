//! All of a policy but its automata: what is quickly read off a profile, with the key of what is not. Small enough to be kept for each
//! profile, directory and command, so that who knows that nothing has changed need not read and bind the rules.

use ringfence_abi::surface::Surfaces;
use serde::{Deserialize, Serialize};

use super::kept::{self, Part};
use super::section::SectionNetwork;
use super::{Explainer, Section};
use crate::policy::{
    Automaton, Degradation, FilePolicy, Key, Limits, Memory, Mode, NetworkPolicy, Policy,
    ProgramPolicy, Sni, Syscalls,
};
use crate::profile::{Effective, SyscallChoice, kernel, syscall};

/// A policy without its automata.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outline {
    /// What names the automata.
    parts: Key,
    profile: String,
    capabilities: Vec<String>,
    kernel: u32,
    syscalls: SyscallChoice,
    privilege_gain: bool,
    limits: Limits,
    degradation: Degradation,
    /// The profile at large first and then the programs by their number.
    sections: Vec<SectionOutline>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SectionOutline {
    path: String,
    mode: Mode,
    kernel: u32,
    network: NetworkOutline,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkOutline {
    mode: Mode,
    reaches: bool,
    names: bool,
    sni: Sni,
}

impl Outline {
    /// That of `effective`, whose rules `explainer` has.
    pub(super) fn of(effective: &Effective, explainer: &Explainer, parts: Key) -> Self {
        let section = |section: &Section| SectionOutline {
            path: explainer.path_of(section).unwrap_or_default(),
            mode: section.mode,
            kernel: section.kernel.0,
            network: NetworkOutline::of(explainer, &section.network),
        };
        Self {
            parts,
            profile: effective.name.clone(),
            capabilities: effective.capabilities.clone(),
            kernel: kernel::opened(&effective.kernel).0,
            syscalls: effective.syscalls.clone(),
            privilege_gain: effective.privilege_gain,
            limits: effective.limits,
            degradation: effective.degradation.clone(),
            sections: explainer.sections.iter().map(section).collect(),
        }
    }

    /// In bytes; `None` if that cannot be, in which case it is not kept.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// What [`Self::encode`] has made of one; `None` if these bytes are nothing of that kind.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let outline: Self = serde_json::from_slice(bytes).ok()?;
        (!outline.sections.is_empty()).then_some(outline)
    }

    /// The policy, if `memory` holds its automata.
    #[must_use]
    pub fn recall(&self, memory: Memory<'_>) -> Option<Policy> {
        let parts = (memory.recall)(&self.parts)?;
        let parts = kept::decode(&parts, self.sections.len())?;
        Some(self.policy(parts))
    }

    /// The policy out of the parts of every section, of which there is one at least.
    pub(super) fn policy(&self, parts: Vec<Part>) -> Policy {
        let mut sections = self.sections.iter().zip(parts).map(|(section, part)| {
            let files = FilePolicy {
                mode: section.mode,
                automaton: part.files,
                shows_own_tasks: part.shows_own_tasks,
            };
            (section, files, section.network.policy(part.network))
        });
        let (files, network) = sections
            .next()
            .map(|(_, files, network)| (files, network))
            .unwrap_or_default();
        Policy {
            profile: self.profile.clone(),
            files,
            network,
            capabilities: self.capabilities.clone(),
            kernel: Surfaces(self.kernel),
            syscalls: match &self.syscalls {
                SyscallChoice::Default => Syscalls::Default,
                SyscallChoice::Listed(names) => Syscalls::Listed(syscall::expand(names)),
            },
            privilege_gain: self.privilege_gain,
            programs: sections
                .map(|(section, files, network)| ProgramPolicy {
                    path: section.path.clone(),
                    files,
                    network,
                    kernel: Surfaces(section.kernel),
                })
                .collect(),
            limits: self.limits,
            degradation: self.degradation.clone(),
        }
    }
}

impl NetworkOutline {
    pub(super) fn of(explainer: &Explainer, section: &SectionNetwork) -> Self {
        let mut rules = explainer.network_rules_of(section);
        let mut named = explainer.network_rules_of(section);
        Self {
            mode: section.mode,
            reaches: rules.any(|bound| bound.rule.opens_sockets()),
            names: named.any(|bound| bound.rule.opens_names()),
            sni: section.sni,
        }
    }

    pub(super) fn policy(&self, automaton: Automaton) -> NetworkPolicy {
        if self.mode == Mode::Off {
            return NetworkPolicy::off();
        }
        NetworkPolicy {
            mode: self.mode,
            automaton,
            reaches: self.reaches,
            names: self.names,
            sni: self.sni,
        }
    }
}
