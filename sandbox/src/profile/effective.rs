//! Profiles joined: what holds for one run. Lists add up, and every rule knows where it came from; of single values the
//! later one holds: a profile's own before those that it extends, the command line before all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Error;
use super::kernel::Opening;
use super::layer::{Layer, OwnVariable, Program, Sections, SyscallChoice};
use super::network::NetworkRule;
use super::pattern::{Pattern, Token};
use super::rule::Rule;
use super::source::Fault;
use super::variables::Variables;
use crate::policy::{Degradation, Demand, Limits, Mode, Protection, Sni};

/// What the command line says beside profiles.
#[derive(Clone, Debug, Default, Hash)]
pub struct CommandLine {
    /// Rules, see [`Rule::from_command_line`] and [`Rule::built_in`].
    pub rules: Vec<Rule>,
    /// Mode of the file section.
    pub files_mode: Option<Mode>,
    /// The network as a whole.
    pub network: Option<NetworkChoice>,
    /// Mode of the network section, unless `network` says it.
    pub network_mode: Option<Mode>,
    /// Rules about the network, see [`NetworkRule::from_command_line`].
    pub network_rules: Vec<NetworkRule>,
    /// Whether the names that TLS clients ask for are looked at.
    pub sni: Option<Sni>,
    /// Capabilities that are kept beside those of the profiles, as [`super::capability::named`] returns them.
    pub capabilities: Vec<&'static str>,
    /// Surfaces of the kernel that are opened beside those of the profiles.
    pub kernel: Vec<Opening>,
    /// Which system calls there are; `None` leaves the profiles' choice.
    pub syscalls: Option<SyscallChoice>,
    /// Whether privileges may be gained; `false` leaves the profiles' choice.
    pub privilege_gain: bool,
    /// Limits; `None` leaves the profiles'.
    pub limits: Limits,
    /// What may degrade.
    pub demands: BTreeMap<Protection, Demand>,
}

/// What the command line can say of the network as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkChoice {
    /// None, whatever profiles allow: Unix sockets and denials stay as they are.
    None,
    /// Not restricted.
    Open,
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
    /// Mode of the network section.
    pub network_mode: Mode,
    /// Every rule about the network, in order.
    pub network: Vec<NetworkRule>,
    /// Whether the names that TLS clients ask for are looked at.
    pub sni: Sni,
    /// Capabilities that are kept: sorted, in lower case without `cap_`.
    pub capabilities: Vec<String>,
    /// Surfaces of the kernel that are opened.
    pub kernel: Vec<Opening>,
    /// Which system calls there are.
    pub syscalls: SyscallChoice,
    /// Whether set-user-id programs and file capabilities give their privileges.
    pub privilege_gain: bool,
    /// Programs with rights of their own.
    pub programs: Vec<Program>,
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
        let mut sections = Sections::default();
        for layer in layers {
            sections.add(&layer.sections);
        }
        let mut effective = Self {
            name: asked.join("+"),
            because: layers.last().and_then(|layer| layer.because.clone()),
            lineage: Vec::new(),
            files_mode: sections.files_mode.unwrap_or_default(),
            rules: sections.rules,
            network_mode: sections.network_mode.unwrap_or_default(),
            network: sections.network,
            sni: sections.sni.unwrap_or_default(),
            capabilities: Vec::new(),
            kernel: sections.kernel,
            syscalls: SyscallChoice::Default,
            privilege_gain: false,
            programs: sections.programs,
            limits: Limits::default(),
            degradation: Degradation::default(),
            own_variables: Vec::new(),
        };
        for layer in layers {
            effective.add_whole_run(layer);
        }
        effective.command_line(command_line);
        effective.capabilities.sort();
        effective.capabilities.dedup();
        effective
    }

    /// Adds what programs have no own of.
    fn add_whole_run(&mut self, layer: &Layer) {
        self.lineage.push(layer.name.to_string());
        let process = &layer.process;
        let kept = process.capabilities.iter().flatten();
        self.capabilities.extend(kept.map(|&name| name.to_owned()));
        if let Some(own) = &process.syscalls {
            self.syscalls = self.syscalls.clone().and(own);
        }
        self.privilege_gain = process.privilege_gain.unwrap_or(self.privilege_gain);
        override_limits(&mut self.limits, &layer.limits);
        self.degradation.demands.extend(&layer.demands);
        self.own_variables.extend_from_slice(&layer.variables);
    }

    fn command_line(&mut self, command_line: CommandLine) {
        self.rules.extend(command_line.rules);
        if let Some(mode) = command_line.files_mode {
            self.files_mode = mode;
            // The command line speaks of the whole run.
            each_program(&mut self.programs, &|sections| sections.files_mode = None);
        }
        match command_line.network {
            Some(NetworkChoice::None) => self.close_network(),
            Some(NetworkChoice::Open) => self.network_mode = Mode::Off,
            None => {}
        }
        if let Some(mode) = command_line.network_mode
            && command_line.network.is_none()
        {
            self.network_mode = mode;
            each_program(&mut self.programs, &|sections| sections.network_mode = None);
        }
        self.network.extend(command_line.network_rules);
        if let Some(sni) = command_line.sni {
            self.sni = sni;
            each_program(&mut self.programs, &|sections| sections.sni = None);
        }
        let kept = command_line.capabilities.into_iter();
        self.capabilities.extend(kept.map(str::to_owned));
        self.kernel.extend(command_line.kernel);
        if let Some(own) = &command_line.syscalls {
            self.syscalls = self.syscalls.clone().and(own);
        }
        self.privilege_gain |= command_line.privilege_gain;
        override_limits(&mut self.limits, &command_line.limits);
        self.degradation.demands.extend(command_line.demands);
    }

    /// Takes away what opens a way to peers, in every program.
    fn close_network(&mut self) {
        let keep = |rule: &NetworkRule| !rule.opens_sockets();
        self.network_mode = Mode::Enforce;
        self.network.retain(keep);
        each_program(&mut self.programs, &|sections| {
            sections.network_mode = None;
            sections.network.retain(keep);
        });
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
}

/// Changes the sections of every program: what one does not say it has of what surrounds it.
fn each_program(programs: &mut [Program], change: &dyn Fn(&mut Sections)) {
    for program in programs {
        change(&mut program.sections);
        each_program(&mut program.sections.programs, change);
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
