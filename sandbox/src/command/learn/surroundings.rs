//! What the learner has to know: what the shipped profiles allow here, and where secrets lie.

use std::{
    ffi::OsString,
    panic::resume_unwind,
    thread::{self, JoinHandle},
};

use crate::{
    command::{Failure, look::look},
    compile::{self, Explainer},
    confine,
    policy::Automaton,
    profile::{self, CommandLine, Effective, Right, Variables, shipped},
};

/// Shipped profiles that may be extended without being asked for ([`crate::learn::Level::Default`]); `base` first, for others
/// extend it.
const USUAL: [&str; 2] = ["base", "coreutils"];

/// The shipped profiles, compiled for one place as far as they are looked at.
pub struct Known {
    usual: Vec<(String, Automaton)>,
    variables: Variables,
    /// Gives the right to read where a secret lies.
    pub secrets: Automaton,
    explainer: Explainer,
}

/// Compiles the shipped profiles that are always looked at. What the default profile denies by name is what counts as a secret: one list, in
/// profiles/untrusted.toml.
///
/// # Errors
/// If a profile does not compile here.
pub fn known(variables: &Variables) -> Result<Known, Failure> {
    let usual = USUAL.map(|name| compiled(name, variables));
    let mut secrets = load(shipped::DEFAULT)?;
    secrets.rules.retain(|rule| rule.right == Right::Deny);
    for rule in &mut secrets.rules {
        rule.right = Right::Read;
    }
    let (policy, explainer) = compile::compile(&secrets, variables, &look)?;
    Ok(Known {
        usual: usual.into_iter().collect::<Result<_, _>>()?,
        variables: variables.clone(),
        secrets: policy.files.automaton,
        explainer,
    })
}

/// The same, found out meanwhile.
pub(super) struct Ahead(JoinHandle<Result<Known, Failure>>);

impl Ahead {
    pub(super) fn of(variables: &Variables) -> Self {
        let variables = variables.clone();
        Self(thread::spawn(move || known(&variables)))
    }

    /// From now on it is found out where a processor has nothing else to do: what is recorded has a right to its own time.
    pub(super) fn give_way(&self) {
        // Where it does not, it only takes some.
        confine::give_way(&self.0, true).ok();
    }

    pub(super) fn get(self) -> Result<Known, Failure> {
        // One that has ended cannot be told any more.
        confine::give_way(&self.0, false).ok();
        self.0.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

fn load(name: &str) -> Result<Effective, Failure> {
    let names = [OsString::from(name)];
    Ok(profile::load(&names, CommandLine::default())?)
}

fn compiled(name: &str, variables: &Variables) -> Result<(String, Automaton), Failure> {
    let (policy, _) = compile::compile(&load(name)?, variables, &look)?;
    Ok((name.to_owned(), policy.files.automaton))
}

impl Known {
    /// The shipped profiles that are always looked at, then those that `are_wanted` besides: names, with what each allows.
    ///
    /// # Errors
    /// If a profile does not compile here.
    pub fn shipped(
        &self,
        are_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Automaton)>, Failure> {
        let mut all = self.usual.clone();
        let others = shipped::ALL.iter().map(|one| one.name);
        for name in others.filter(|name| !USUAL.contains(name) && are_wanted(name)) {
            all.push(compiled(name, &self.variables)?);
        }
        Ok(all)
    }

    /// What kind of secret lies at `path`.
    #[must_use]
    pub fn secret(&self, path: &[u8]) -> String {
        let rule = self.explainer.explain(path, Right::Read).rule;
        rule.and_then(|rule| rule.because)
            .unwrap_or_else(|| "secret".to_owned())
    }
}
