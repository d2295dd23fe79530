//! Which rule decides about a peer or a socket, and why.

use std::net::IpAddr;

use ringfence_abi::network::{ALLOW, DENY, ICMP, ICMP6, TCP, UDP};
use serde::Serialize;

use super::super::explain::{Deciding, Explainer, Suggestion};
use super::super::section::SectionNetwork;
use super::BoundNetwork;
use crate::policy::{Mode, NetworkQuestion};
use crate::profile::{NetworkRight, pattern};

/// Why a peer or a socket may or may not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkExplanation {
    /// The peer or socket, as a rule would write it.
    pub address: String,
    /// What was asked for.
    pub right: NetworkRight,
    /// The answer, whatever the section's mode makes of it.
    pub allowed: bool,
    /// What the section does with a denial.
    pub mode: Mode,
    /// The path of the program inside which this is asked, as the profile spells it; `None` outside of every program.
    pub program: Option<String>,
    /// The rule that decides, if one does.
    pub rule: Option<Deciding>,
    /// What else helps to understand it.
    pub hint: Option<String>,
    /// What to paste to allow it, if it is denied and that would help.
    pub suggestion: Option<Suggestion>,
}

impl Explainer {
    /// The rules about the network that hold in `section`.
    pub fn network_rules_of<'a>(
        &'a self,
        section: &'a SectionNetwork,
    ) -> impl Iterator<Item = &'a BoundNetwork> {
        section.rules.iter().map(|&rule| &self.network[rule])
    }

    /// Whether the network of the program of this number is restricted, 0 being outside of every program.
    #[must_use]
    pub fn restricts_network(&self, program: u8) -> bool {
        self.section(program).network.mode != Mode::Off
    }

    /// Whether a rule about an address or a host lets sockets be made inside the program of this number, 0 being outside of
    /// every program.
    #[must_use]
    pub fn opens_sockets(&self, program: u8) -> bool {
        let mut rules = self.network_rules_of(&self.section(program).network);
        rules.any(|bound| bound.rule.opens_sockets())
    }

    /// The answer to `question` inside the program of this number, 0 being outside of every program: what the automaton
    /// has to answer.
    #[must_use]
    pub fn network_answer(&self, program: u8, question: &NetworkQuestion<'_>) -> u8 {
        let section = &self.section(program).network;
        if self.deciding(section, question, true).is_some() {
            return DENY;
        }
        match self.deciding(section, question, false) {
            Some(_) => ALLOW,
            None => 0,
        }
    }

    /// Which rule decides about `question` inside the program of this number; 0 is outside of every program.
    #[must_use]
    pub fn explain_network(
        &self,
        program: u8,
        question: &NetworkQuestion<'_>,
    ) -> NetworkExplanation {
        let section = self.section(program);
        let denying = self.deciding(&section.network, question, true);
        let allowing = self.deciding(&section.network, question, false);
        let allowed = denying.is_none() && allowing.is_some();
        let hint = match denying {
            Some(bound) => Some(format!(
                "a deny rule beats every allow rule; change it at {}",
                bound.rule.origin
            )),
            None if allowed => None,
            None => self.nearly_reached(&section.network, question),
        };
        let right = right(question);
        let address = address(question);
        let suggestion = (!allowed && denying.is_none() && can_be_said(question))
            .then(|| Suggestion::network(right, &address, self.takes_flags(section)));
        NetworkExplanation {
            address,
            right,
            allowed,
            mode: section.network.mode,
            program: self.path_of(section),
            rule: denying.or(allowing).map(|bound| said(bound, question)),
            hint,
            suggestion,
        }
    }

    /// The first rule that denies, or else the first that allows.
    fn deciding<'a>(
        &'a self,
        section: &'a SectionNetwork,
        question: &NetworkQuestion<'_>,
        denies: bool,
    ) -> Option<&'a BoundNetwork> {
        let mut rules = self.network_rules_of(section);
        rules.find(|bound| {
            (bound.rule.right == NetworkRight::Deny) == denies && bound.covers(question)
        })
    }

    /// What a rule that does not cover what was asked would have to be like.
    fn nearly_reached(
        &self,
        section: &SectionNetwork,
        question: &NetworkQuestion<'_>,
    ) -> Option<String> {
        let (name, protocol, port) = match *question {
            NetworkQuestion::Name {
                name,
                protocol,
                port,
            } => (Some(name), protocol, port),
            NetworkQuestion::Connect { protocol, port, .. } => (None, protocol, port),
            _ => return None,
        };
        let allows = |bound: &&BoundNetwork| bound.rule.right == NetworkRight::Connect;
        for bound in self.network_rules_of(section).filter(allows) {
            let super::Meaning::Peer(peer) = &bound.meaning else {
                continue;
            };
            let written = format!("rule `{}` ({})", bound.rule.shown(), bound.rule.origin);
            let same_host = match *question {
                NetworkQuestion::Connect { address, .. } => peer.host.covers_address(address),
                _ => name.is_some_and(|name| peer.host.covers_name(name)),
            };
            if same_host && peer.ports.contains(port) {
                return Some(format!("{written} is about another protocol"));
            }
            if same_host {
                return Some(format!("{written} is about other ports"));
            }
            // `*.example.com` is one label; its reader may have meant any number.
            if let (crate::profile::Host::Name(pattern), Some(name)) = (&peer.host, name)
                && peer.covers_port(NetworkRight::Connect, protocol, port)
                && pattern.labels.first().is_some_and(|first| first == "*")
                && pattern.any_depth().covers(name)
            {
                return Some(format!(
                    "{written} covers one label; `{}` covers any number, and the name itself",
                    pattern.any_depth().text()
                ));
            }
        }
        None
    }
}

fn said(bound: &BoundNetwork, question: &NetworkQuestion<'_>) -> Deciding {
    let texts = bound.texts();
    let covers = match (&bound.meaning, question) {
        (super::Meaning::Socket(socket), NetworkQuestion::Socket(path)) => socket
            .covers
            .iter()
            .find(|cover| cover.covers(path))
            .map(|cover| cover.glob.text()),
        (super::Meaning::Abstract(names), NetworkQuestion::Abstract(asked)) => names
            .iter()
            .find(|name| name.covers(asked))
            .map(|name| name.text.clone()),
        _ => texts.into_iter().next(),
    };
    Deciding {
        right: bound.rule.right.name(),
        text: bound.rule.shown(),
        covers: covers.unwrap_or_default(),
        origin: bound.rule.origin.to_string(),
        built_in: false,
        because: bound.rule.because.clone(),
        expected: bound.rule.expected,
    }
}

const fn right(question: &NetworkQuestion<'_>) -> NetworkRight {
    match question {
        NetworkQuestion::Connect { .. } | NetworkQuestion::Name { .. } => NetworkRight::Connect,
        NetworkQuestion::Listen { .. } => NetworkRight::Listen,
        NetworkQuestion::Socket(_) | NetworkQuestion::Abstract(_) => NetworkRight::Unix,
    }
}

/// Whether a rule can allow it: there are protocols that no rule speaks of.
const fn can_be_said(question: &NetworkQuestion<'_>) -> bool {
    match question {
        NetworkQuestion::Connect { protocol, .. }
        | NetworkQuestion::Listen { protocol, .. }
        | NetworkQuestion::Name { protocol, .. } => {
            matches!(*protocol, TCP | UDP | ICMP | ICMP6)
        }
        NetworkQuestion::Socket(_) | NetworkQuestion::Abstract(_) => true,
    }
}

/// What is asked about as a rule would write it.
fn address(question: &NetworkQuestion<'_>) -> String {
    let with_port = |host: String, protocol: u8, port: u16| match protocol {
        TCP => format!("{host}:{port}"),
        UDP => format!("udp://{host}:{port}"),
        ICMP | ICMP6 => format!("icmp://{host}"),
        other => format!("{host}:{port} by protocol {other}"),
    };
    let host = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    match *question {
        NetworkQuestion::Connect {
            address,
            protocol,
            port,
        }
        | NetworkQuestion::Listen {
            address,
            protocol,
            port,
        } => with_port(host(address), protocol, port),
        NetworkQuestion::Name {
            name,
            protocol,
            port,
        } => with_port(name.to_owned(), protocol, port),
        NetworkQuestion::Socket(path) => pattern::escape(path),
        NetworkQuestion::Abstract(name) => format!("@{}", pattern::escape(name)),
    }
}

impl Suggestion {
    /// What allows `address` alone; `by_flag` if the command line can say so.
    fn network(right: NetworkRight, address: &str, by_flag: bool) -> Self {
        let quoted = shlex::try_quote(address).map_or_else(|_| address.to_owned(), Into::into);
        Self {
            profile: format!("{right} = [{}]", toml::Value::String(address.to_owned())),
            flag: by_flag.then(|| format!("{} {quoted}", right.flag())),
        }
    }
}
