//! What one profile file says, before it is joined with what it extends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rule::Rule;
use super::source::Place;
use crate::policy::{Demand, Limits, Mode, NetworkPolicy, Protection};

/// One file's words. `None` and empty mean that the file does not speak of it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) name: Arc<str>,
    pub(super) because: Option<String>,
    pub(super) extends: Vec<Extension>,
    pub(super) variables: Vec<OwnVariable>,
    pub(super) files_mode: Option<Mode>,
    pub(super) rules: Vec<Rule>,
    pub(super) network: Option<NetworkPolicy>,
    pub(super) capabilities: Option<Vec<&'static str>>,
    pub(super) limits: Limits,
    pub(super) demands: BTreeMap<Protection, Demand>,
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
            files_mode: None,
            rules: Vec::new(),
            network: None,
            capabilities: None,
            limits: Limits::default(),
            demands: BTreeMap::new(),
        }
    }

    /// Whether it grants, denies and demands nothing, so that it is most likely a mistake.
    pub(super) fn says_nothing(&self) -> bool {
        self.extends.is_empty()
            && self.files_mode.is_none()
            && self.rules.is_empty()
            && self.network.is_none()
            && self.capabilities.is_none()
            && self.limits == Limits::default()
            && self.demands.is_empty()
    }
}
