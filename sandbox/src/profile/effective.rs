//! Profiles joined: what holds for one run. Lists add up, and every rule knows where it came from; of single values the
//! later one holds: a profile's own before those that it extends, the command line before all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{
    Amount, Document, FilesMode, FilesSection, LimitsSection, NetworkMode, NetworkSection,
    ProcessSection, RuleEntry, RuleTable,
};
use super::error::Error;
use super::layer::{Layer, OwnVariable};
use super::pattern::{Pattern, Token};
use super::rule::{Right, Rule};
use super::source::Fault;
use super::variables::Variables;
use crate::policy::{Degradation, Demand, Limits, Mode, NetworkPolicy, Protection};

/// What the command line says beside profiles.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// Rules, see [`Rule::from_command_line`] and [`Rule::built_in`].
    pub rules: Vec<Rule>,
    /// Mode of the file section.
    pub files_mode: Option<Mode>,
    /// The network.
    pub network: Option<NetworkPolicy>,
    /// Capabilities that are kept beside those of the profiles, as [`super::capability::named`] returns them.
    pub capabilities: Vec<&'static str>,
    /// Limits; `None` leaves the profiles'.
    pub limits: Limits,
    /// What may degrade.
    pub demands: BTreeMap<Protection, Demand>,
}

/// The profile of one run.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Its name: those of the profiles that were asked for, joined by `+`.
    pub name: String,
    /// What it is for.
    pub because: Option<String>,
    /// Every profile that is in it, in the order in which they were joined.
    pub lineage: Vec<String>,
    /// Mode of the file section.
    pub files_mode: Mode,
    /// Every rule, in order.
    pub rules: Vec<Rule>,
    /// The network.
    pub network: NetworkPolicy,
    /// Capabilities that are kept: sorted, in lower case without `cap_`.
    pub capabilities: Vec<String>,
    /// Limits.
    pub limits: Limits,
    /// What may degrade.
    pub degradation: Degradation,
    /// The profiles' own variables; of equal names the last holds.
    pub own_variables: Vec<OwnVariable>,
}

impl Effective {
    /// Joins `layers`, of which the ones at `asked` were named by the user.
    pub(super) fn join(layers: &[Layer], asked: &[Arc<str>], command_line: CommandLine) -> Self {
        let mut effective = Self {
            name: asked.join("+"),
            because: None,
            lineage: Vec::new(),
            files_mode: Mode::Enforce,
            rules: Vec::new(),
            network: NetworkPolicy::None,
            capabilities: Vec::new(),
            limits: Limits::default(),
            degradation: Degradation::default(),
            own_variables: Vec::new(),
        };
        for layer in layers {
            effective.add(layer);
        }
        effective.because = layers.last().and_then(|layer| layer.because.clone());
        effective.command_line(command_line);
        effective.capabilities.sort();
        effective.capabilities.dedup();
        effective
    }

    fn add(&mut self, layer: &Layer) {
        self.lineage.push(layer.name.to_string());
        self.files_mode = layer.files_mode.unwrap_or(self.files_mode);
        self.rules.extend_from_slice(&layer.rules);
        self.network = layer.network.unwrap_or(self.network);
        let kept = layer.capabilities.iter().flatten();
        self.capabilities.extend(kept.map(|&name| name.to_owned()));
        override_limits(&mut self.limits, &layer.limits);
        self.degradation.demands.extend(&layer.demands);
        self.own_variables.extend_from_slice(&layer.variables);
    }

    fn command_line(&mut self, command_line: CommandLine) {
        self.rules.extend(command_line.rules);
        self.files_mode = command_line.files_mode.unwrap_or(self.files_mode);
        self.network = command_line.network.unwrap_or(self.network);
        let kept = command_line.capabilities.into_iter();
        self.capabilities.extend(kept.map(str::to_owned));
        override_limits(&mut self.limits, &command_line.limits);
        self.degradation.demands.extend(command_line.demands);
    }

    /// `given` and the profiles' own variables with their values.
    ///
    /// # Errors
    ///
    /// [`Error::Variable`] if a value uses a variable that is not set, or itself.
    pub fn variables(&self, given: &Variables) -> Result<Variables, Error> {
        let own: BTreeMap<_, _> = self
            .own_variables
            .iter()
            .map(|variable| (variable.name.as_str(), variable))
            .collect();
        let mut all = given.clone();
        for variable in own.values() {
            let value = expand(variable, &own, given, &mut Vec::new())?;
            all.set(&variable.name, &value);
        }
        Ok(all)
    }

    /// The same as a profile file, rules as `rules` are written.
    #[must_use]
    pub fn to_document(&self) -> Document {
        let rules = |right: Right| -> Vec<RuleEntry> {
            let of_right = self.rules.iter().filter(|rule| rule.right == right);
            of_right.map(rule_entry).collect()
        };
        Document {
            version: 1,
            name: Some(self.name.clone()),
            because: self.because.clone(),
            extends: Vec::new(),
            variables: self
                .own_variables
                .iter()
                .map(|variable| (variable.name.clone(), variable.value.clone()))
                .collect(),
            files: Some(FilesSection {
                mode: Some(match self.files_mode {
                    Mode::Enforce => FilesMode::Enforce,
                    Mode::Audit => FilesMode::Audit,
                    Mode::Off => FilesMode::Off,
                }),
                read: rules(Right::Read),
                write: rules(Right::Write),
                exec: rules(Right::Exec),
                deny: rules(Right::Deny),
            }),
            network: Some(NetworkSection {
                mode: match self.network {
                    NetworkPolicy::None => NetworkMode::Enforce,
                    NetworkPolicy::Open => NetworkMode::Off,
                },
            }),
            process: Some(ProcessSection {
                capabilities: self.capabilities.clone(),
            }),
            limits: limits_section(&self.limits),
            protection: self
                .degradation
                .demands
                .iter()
                .map(|(protection, demand)| {
                    (protection.name().to_owned(), demand.name().to_owned())
                })
                .collect(),
        }
    }
}

fn override_limits(limits: &mut Limits, by: &Limits) {
    limits.memory = by.memory.or(limits.memory);
    limits.pids = by.pids.or(limits.pids);
    limits.wall_seconds = by.wall_seconds.or(limits.wall_seconds);
    limits.cpu_percent = by.cpu_percent.or(limits.cpu_percent);
    limits.open_files = by.open_files.or(limits.open_files);
    limits.file_size = by.file_size.or(limits.file_size);
}

fn rule_entry(rule: &Rule) -> RuleEntry {
    let path = writable(&rule.text);
    if rule.because.is_none() && !rule.expected {
        return RuleEntry::Text(path);
    }
    RuleEntry::Table(RuleTable {
        path,
        because: rule.because.clone(),
        expected: rule.expected,
    })
}

/// A rule's text as a profile can hold it: bytes that are not UTF-8 become `\xe9`, which means the same.
fn writable(text: &[u8]) -> String {
    let mut written = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        written.push_str(chunk.valid());
        for byte in chunk.invalid() {
            written.push_str(&format!("\\x{byte:02x}"));
        }
    }
    written
}

fn limits_section(limits: &Limits) -> Option<LimitsSection> {
    if *limits == Limits::default() {
        return None;
    }
    let bytes = |amount: Option<u64>| amount.map(|amount| Amount::Text(format!("{amount}B")));
    Some(LimitsSection {
        memory: bytes(limits.memory),
        pids: limits.pids,
        time: limits.wall_seconds.map(|seconds| format!("{seconds}s")),
        cpu: limits
            .cpu_percent
            .map(|percent| Amount::Text(format!("{percent}%"))),
        open_files: limits.open_files,
        file_size: bytes(limits.file_size),
    })
}

/// The value of `variable`. A name that is being expanded already means the value given from outside, so that
/// `CACHE = "${CACHE}/mine"` can be written.
fn expand<'a>(
    variable: &'a OwnVariable,
    own: &BTreeMap<&str, &'a OwnVariable>,
    given: &Variables,
    open: &mut Vec<&'a str>,
) -> Result<Vec<u8>, Error> {
    open.push(&variable.name);
    let mut value = Vec::new();
    for token in references(&variable.value) {
        let name = match token {
            Token::Variable(name) => name,
            Token::Bytes(bytes) => {
                value.extend(bytes);
                continue;
            }
            // `references` returns no other.
            Token::AnyBytes | Token::AnyByte | Token::Class(_) | Token::AnyComponents => continue,
        };
        let is_open = open.contains(&name.as_str());
        match own.get(name.as_str()).filter(|_| !is_open) {
            Some(inner) => value.extend(expand(inner, own, given, open)?),
            None => value.extend(given.get(&name).ok_or_else(|| {
                let message = if is_open {
                    format!("variable `${{{name}}}` stands for itself")
                } else {
                    format!("variable `${{{name}}}` is not set")
                };
                Error::Variable(
                    Fault::new(&variable.place, message).help(format!("known: {}", given.names())),
                )
            })?),
        }
    }
    open.pop();
    Ok(value)
}

/// A value's parts: text, which is literal, and `${NAME}`.
fn references(value: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        tokens.push(Token::Bytes(rest.as_bytes()[..start].to_vec()));
        let reference = rest[start..]
            .find('}')
            .map(|end| &rest[start..=start + end]);
        let parsed = reference.and_then(|text| Pattern::parse(text.as_bytes()).ok());
        match (reference, parsed) {
            (Some(text), Some(patterns)) => {
                tokens.extend(patterns.into_iter().flat_map(|pattern| pattern.tokens));
                rest = &rest[start + text.len()..];
            }
            _ => {
                tokens.push(Token::Bytes(b"${".to_vec()));
                rest = &rest[start + 2..];
            }
        }
    }
    tokens.push(Token::Bytes(rest.as_bytes().to_vec()));
    tokens
}
