//! What one profile file says, before it is joined with what it extends.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::kernel::Opening;
use super::network::NetworkRule;
use super::rule::Rule;
use super::source::Place;
use crate::policy::{Demand, Limits, Mode, Protection, Sni};

/// One file's words. `None` and empty mean that the file does not speak of it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) name: Arc<str>,
    pub(super) because: Option<String>,
    pub(super) extends: Vec<Extension>,
    pub(super) variables: Vec<OwnVariable>,
    pub(super) sections: Sections,
    pub(super) process: Process,
    pub(super) limits: Limits,
    pub(super) demands: BTreeMap<Protection, Demand>,
    /// Places of the sections that hold for the whole run and cannot change at exec, by name.
    pub(super) whole_run: Vec<(&'static str, Place)>,
}

/// The sections that the whole profile and each of its programs can have.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    /// Mode of the file section.
    pub files_mode: Option<Mode>,
    /// Rules about files.
    pub rules: Vec<Rule>,
    /// Mode of the network section.
    pub network_mode: Option<Mode>,
    /// Rules about the network.
    pub network: Vec<NetworkRule>,
    /// Whether the names that TLS clients ask for are looked at.
    pub sni: Option<Sni>,
    /// Surfaces of the kernel that are opened.
    pub kernel: Vec<Opening>,
    /// Programs with rights of their own; of two that cover the same path the first holds.
    pub programs: Vec<Program>,
}

/// A `[[program]]` section: rights of one program and all that it starts.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path, as a rule of [`super::Right::Exec`].
    pub path: Rule,
    /// What it is for, in the words of who wrote it.
    pub because: Option<String>,
    /// Whether it has the rights of what surrounds it as well.
    pub inherit: bool,
    /// Profiles that it adds to; empty once they are read.
    pub(super) extends: Vec<Extension>,
    /// Its own sections, with those of the profiles that it extends.
    pub sections: Sections,
}

/// What the process may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) capabilities: Option<Vec<&'static str>>,
    pub(super) syscalls: Option<SyscallChoice>,
    pub(super) privilege_gain: Option<bool>,
}

/// Which system calls there are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SyscallChoice {
    /// All but those that a fence closes.
    Default,
    /// Of those only the ones with these names, or in these groups (`@...`), as they were written.
    Listed(Vec<String>),
}

/// A profile that another one extends, and where it says so.
#[derive(Clone, Debug)]
pub(super) struct Extension {
    pub(super) reference: String,
    pub(super) place: Place,
}

/// A variable of a profile's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnVariable {
    /// Its name.
    pub name: String,
    /// Its value as written: may use other variables.
    pub value: String,
    /// Where the value is written.
    pub place: Place,
}

impl Layer {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            because: None,
            extends: Vec::new(),
            variables: Vec::new(),
            sections: Sections::default(),
            process: Process::default(),
            limits: Limits::default(),
            demands: BTreeMap::new(),
            whole_run: Vec::new(),
        }
    }

    /// Whether it grants, denies and demands nothing, so that it is most likely a mistake.
    pub(super) fn says_nothing(&self) -> bool {
        self.extends.is_empty() && self.sections.say_nothing() && self.whole_run.is_empty()
    }
}

impl Sections {
    /// Adds what `own` says: lists add up, of single values `own` holds, and its programs come first.
    pub(super) fn add(&mut self, own: &Self) {
        self.files_mode = own.files_mode.or(self.files_mode);
        self.rules.extend_from_slice(&own.rules);
        self.network_mode = own.network_mode.or(self.network_mode);
        self.network.extend_from_slice(&own.network);
        self.sni = own.sni.or(self.sni);
        self.kernel.extend_from_slice(&own.kernel);
        let extended = std::mem::replace(&mut self.programs, own.programs.clone());
        self.programs.extend(extended);
    }

    fn say_nothing(&self) -> bool {
        self.files_mode.is_none()
            && self.rules.is_empty()
            && self.network_mode.is_none()
            && self.network.is_empty()
            && self.sni.is_none()
            && self.kernel.is_empty()
            && self.programs.is_empty()
    }
}

impl SyscallChoice {
    /// This choice, and then `own`: lists add up, `"default"` holds alone.
    pub(super) fn and(self, own: &Self) -> Self {
        match (self, own) {
            (Self::Listed(mut names), Self::Listed(own)) => {
                names.extend_from_slice(own);
                names.sort();
                names.dedup();
                Self::Listed(names)
            }
            (_, own) => own.clone(),
        }
    }
}
