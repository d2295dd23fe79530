//! Rules about the network to one automaton for each section, which answers [`crate::policy::NetworkQuestion`].

mod explain;
mod expression;

use std::sync::OnceLock;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};
use ringfence_abi::network::{ALLOW, DENY};

pub use explain::NetworkExplanation;

use super::bind::Bound;
use super::determinise::determinise_expressions;
use super::explain::Explainer;
use super::outline::NetworkOutline;
use super::{Error, given_up, glob, minimise, pack, too_large};
use crate::policy::{Automaton, Mode, NetworkPolicy, NetworkQuestion};
use crate::profile::pattern::{self, Pattern, Token};
use crate::profile::{About, NetworkRight, NetworkRule, Peer, Rule, Variables};

/// A rule about the network and all that it means here.
#[derive(Debug)]
pub struct BoundNetwork {
    /// The rule as it was written.
    pub rule: NetworkRule,
    /// What it means.
    pub meaning: Meaning,
}

/// What a rule about the network means, variables filled in.
#[derive(Debug)]
pub enum Meaning {
    /// Peers, or addresses of one's own.
    Peer(Peer),
    /// Unix sockets with a path, where links lead as well.
    Socket(Bound),
    /// Unix sockets with an abstract name.
    Abstract(Vec<AbstractName>),
}

/// A pattern of abstract names.
#[derive(Debug)]
pub struct AbstractName {
    /// As a profile writes it, variables filled in.
    text: String,
    expression: Hir,
    matcher: OnceLock<Option<Regex>>,
}

impl AbstractName {
    fn new(rule: &Rule, pattern: &Pattern, variables: &Variables) -> Result<Self, Error> {
        let mut text = "@".to_owned();
        let mut parts = Vec::new();
        for token in &pattern.tokens {
            match token {
                Token::Bytes(bytes) => literal(bytes, &mut text, &mut parts),
                Token::Variable(name) => {
                    let value = glob::value(rule, name, variables)?;
                    literal(value, &mut text, &mut parts);
                }
                Token::AnyBytes => {
                    text.push('*');
                    parts.push(glob::repeat(not_slash(), 0, None));
                }
                Token::AnyByte => {
                    text.push('?');
                    parts.push(not_slash());
                }
                Token::Class(set) => {
                    glob::class_text(*set, &mut text);
                    parts.push(glob::class(&set.ranges()));
                }
                Token::AnyComponents => {
                    text.push_str("**");
                    parts.push(glob::repeat(glob::class(&[(0, 255)]), 0, None));
                }
            }
        }
        Ok(Self {
            text,
            expression: Hir::concat(parts),
            matcher: OnceLock::new(),
        })
    }

    /// All that the automaton is made of: the text does not tell every expression from others.
    pub(super) fn spelled(&self) -> String {
        format!("{:?}", self.expression)
    }

    /// Whether `name` is covered: asked of the regular expression library, not of the automaton.
    fn covers(&self, name: &[u8]) -> bool {
        let matcher = self.matcher.get_or_init(|| {
            let whole = Hir::concat(vec![self.expression.clone(), Hir::look(Look::End)]);
            Regex::builder()
                .configure(Regex::config().utf8_empty(false))
                .build_from_hir(&whole)
                .ok()
        });
        // A pattern that the library refuses has been refused by the compiler before.
        matcher
            .as_ref()
            .is_some_and(|matcher| matcher.is_match(Input::new(name).anchored(Anchored::Yes)))
    }
}

fn literal(bytes: &[u8], text: &mut String, parts: &mut Vec<Hir>) {
    text.push_str(&pattern::escape(bytes));
    parts.push(Hir::literal(bytes.to_vec()));
}

fn not_slash() -> Hir {
    glob::class(&[(0, b'/' - 1), (b'/' + 1, 255)])
}

impl BoundNetwork {
    /// Whether it is about what is asked, be it to allow or to deny.
    #[must_use]
    pub fn covers(&self, question: &NetworkQuestion<'_>) -> bool {
        let right = self.rule.right;
        match (&self.meaning, *question) {
            (
                Meaning::Peer(peer),
                NetworkQuestion::Connect {
                    address,
                    protocol,
                    port,
                },
            ) => {
                right != NetworkRight::Listen
                    && peer.host.covers_address(address)
                    && peer.covers_port(right, protocol, port)
            }
            (
                Meaning::Peer(peer),
                NetworkQuestion::Listen {
                    address,
                    protocol,
                    port,
                },
            ) => {
                right != NetworkRight::Connect
                    && peer.host.covers_address(address)
                    && peer.covers_port(right, protocol, port)
            }
            (
                Meaning::Peer(peer),
                NetworkQuestion::Name {
                    name,
                    protocol,
                    port,
                },
            ) => {
                right != NetworkRight::Listen
                    && peer.host.covers_name(name)
                    && peer.covers_port(right, protocol, port)
            }
            (Meaning::Socket(bound), NetworkQuestion::Socket(path)) => bound.covers(path),
            (Meaning::Abstract(names), NetworkQuestion::Abstract(asked)) => {
                names.iter().any(|name| name.covers(asked))
            }
            _ => false,
        }
    }

    /// What it covers, as a profile writes it, variables filled in.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match &self.meaning {
            Meaning::Peer(_) => vec![self.rule.shown()],
            Meaning::Socket(bound) => bound.covers.iter().map(|cover| cover.glob.text()).collect(),
            Meaning::Abstract(names) => names.iter().map(|name| name.text.clone()).collect(),
        }
    }
}

/// Fills in what `rules` mean; `sockets` are the bound ones of those about paths, in order.
pub(super) fn bind(
    rules: &[&NetworkRule],
    sockets: Vec<Bound>,
    variables: &Variables,
) -> Result<Vec<BoundNetwork>, Error> {
    let mut sockets = sockets.into_iter();
    let mut bound = Vec::with_capacity(rules.len());
    for rule in rules {
        let meaning = match &rule.about {
            About::Peer(peer) => Meaning::Peer(peer.clone()),
            About::Socket(_) => match sockets.next() {
                Some(socket) => Meaning::Socket(socket),
                // Each of them was bound: see `super::explainer`.
                None => continue,
            },
            About::Abstract(names) => {
                let patterns = names.patterns.iter();
                let name = |pattern| AbstractName::new(names, pattern, variables);
                Meaning::Abstract(patterns.map(name).collect::<Result<_, _>>()?)
            }
        };
        bound.push(BoundNetwork {
            rule: (*rule).clone(),
            meaning,
        });
    }
    Ok(bound)
}

/// The network of every section, by number.
pub(super) fn policies(explainer: &Explainer) -> Result<Vec<NetworkPolicy>, Error> {
    let sections = explainer.sections.iter().map(|section| &section.network);
    sections
        .map(|section| {
            let rules: Vec<_> = explainer.network_rules_of(section).collect();
            let automaton = match section.mode {
                Mode::Off => Automaton::deny_all(),
                Mode::Enforce | Mode::Audit => automaton(&explainer.profile, &rules)?,
            };
            Ok(NetworkOutline::of(explainer, section).policy(automaton))
        })
        .collect()
}

fn automaton(profile: &str, rules: &[&BoundNetwork]) -> Result<Automaton, Error> {
    if rules.is_empty() {
        return Ok(Automaton::deny_all());
    }
    let given_up = |cause| given_up(profile, cause, || None);
    let mut automaton =
        determinise_expressions(expression::expressions(rules)).map_err(given_up)?;
    for state in &mut automaton.states {
        // Deny beats allow.
        if state.accept & DENY != 0 {
            state.accept = DENY;
        }
    }
    let automaton = minimise::minimise(&automaton).map_err(given_up)?;
    pack::pack(&automaton).map_err(|words| {
        let help = "use wildcards and networks for what belongs together";
        too_large(profile, words, help)
    })
}

/// Whether the network `one` has anything that `other` has not.
pub(super) fn gives(one: &NetworkPolicy, other: &NetworkPolicy) -> bool {
    let looser_names = one.names && one.sni > other.sni;
    if one.mode > other.mode || (other.mode == Mode::Enforce && looser_names) {
        return true;
    }
    // Where denials are not enforced, nothing can be added.
    other.mode == Mode::Enforce
        && one.automaton.network_difference(&other.automaton).more & ALLOW != 0
}
