//! What the learner has to know: what the shipped profiles allow here, and where secrets lie.

use std::ffi::OsString;

use crate::{
    command::{Failure, look::look},
    compile::{self, Explainer},
    policy::Automaton,
    profile::{self, CommandLine, Right, Variables, shipped},
};

/// The shipped profiles, compiled for one place.
pub struct Known {
    /// Their names, with what each allows; `base` first, for others extend it.
    pub shipped: Vec<(String, Automaton)>,
    /// Gives the right to read where a secret lies.
    pub secrets: Automaton,
    explainer: Explainer,
}

/// Compiles the shipped profiles. What the default profile denies by name is what counts as a secret: one list, in
/// profiles/untrusted.toml.
///
/// # Errors
/// If a profile does not compile here.
pub fn known(variables: &Variables) -> Result<Known, Failure> {
    let load = |name: &str| profile::load(&[OsString::from(name)], CommandLine::default());
    let mut known = Vec::new();
    for one in shipped::ALL {
        let (policy, _) = compile::compile(&load(one.name)?, variables, &look)?;
        known.push((one.name.to_owned(), policy.files.automaton));
    }
    known.sort_by_key(|(name, _)| (name != "base", name != "coreutils"));
    let mut secrets = load(shipped::DEFAULT)?;
    secrets.rules.retain(|rule| rule.right == Right::Deny);
    for rule in &mut secrets.rules {
        rule.right = Right::Read;
    }
    let (policy, explainer) = compile::compile(&secrets, variables, &look)?;
    Ok(Known {
        shipped: known,
        secrets: policy.files.automaton,
        explainer,
    })
}

impl Known {
    /// What kind of secret lies at `path`.
    #[must_use]
    pub fn secret(&self, path: &[u8]) -> String {
        let rule = self.explainer.explain(path, Right::Read).rule;
        rule.and_then(|rule| rule.because)
            .unwrap_or_else(|| "secret".to_owned())
    }
}
