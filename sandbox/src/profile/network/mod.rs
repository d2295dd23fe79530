//! One rule about the network: what it grants or takes, and the peers or sockets that it is about.

mod name;
mod peer;

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

pub use name::NamePattern;
pub use peer::{Host, Peer, Ports, Transport};

use super::error::Error;
use super::pattern::{Pattern, PatternFault};
use super::rule::{Origin, Right, Rule, placed};
use super::source::Place;

/// What a rule about the network grants, or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkRight {
    /// Reach a peer: connect to it, or send to it.
    Connect,
    /// Be reached at an address: bind it.
    Listen,
    /// Reach a Unix socket.
    Unix,
    /// Nothing at all, whatever else is allowed: not reached, not bound, and as a name not resolved.
    Deny,
}

/// One rule about the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkRule {
    /// What it grants or takes.
    pub right: NetworkRight,
    /// As it was written.
    pub text: Vec<u8>,
    /// What the text stands for.
    pub about: About,
    /// Why, in the words of who wrote it.
    pub because: Option<String>,
    /// A denial by this rule is no news: reports leave it out.
    pub expected: bool,
    /// Where it was written.
    pub origin: Origin,
}

/// What a rule about the network is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// Peers, or addresses of the fence's own.
    Peer(Peer),
    /// Unix sockets that have a path, which links lead to as they lead to files.
    Socket(Rule),
    /// Unix sockets that have an abstract name: patterns of what stands behind the `@`.
    Abstract(Rule),
}

impl NetworkRight {
    /// Every right, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Listen, Self::Unix, Self::Deny];

    /// The key of a profile's `[network]` section.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Unix => "unix",
            Self::Deny => "deny",
        }
    }

    /// The flag of the command line, where `--deny` is about files.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Connect => "--connect",
            Self::Listen => "--listen",
            Self::Unix => "--unix",
            Self::Deny => "--deny-network",
        }
    }
}

impl fmt::Display for NetworkRight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl NetworkRule {
    /// The rule `text` at `place` of `profile`.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] if the text is no peer, or no socket.
    pub fn in_profile(
        right: NetworkRight,
        text: &str,
        profile: &Arc<str>,
        place: &Place,
    ) -> Result<Self, Error> {
        let fault = |fault| Error::Rule(placed(text, fault, place));
        let origin = Origin::Profile {
            profile: Arc::clone(profile),
            place: place.clone(),
        };
        let about = match kind(right, text.as_bytes()) {
            Kind::Peer => About::Peer(Peer::parse(right, text).map_err(fault)?),
            Kind::Abstract => {
                let patterns = abstract_names(right, text.as_bytes()).map_err(fault)?;
                let rule = Rule::new(file_right(right), text.as_bytes(), patterns, origin.clone());
                About::Abstract(rule)
            }
            Kind::Socket => {
                About::Socket(Rule::in_profile(file_right(right), text, profile, place)?)
            }
        };
        Ok(Self::new(right, text.as_bytes(), about, origin))
    }

    /// The rule that an argument of the command line means. The relative path of a socket is taken from `cwd`.
    ///
    /// # Errors
    ///
    /// [`Error::CommandLineRule`] if the argument is no peer, or no socket.
    pub fn from_command_line(
        right: NetworkRight,
        argument: &OsStr,
        cwd: &Path,
    ) -> Result<Self, Error> {
        let text = argument.as_bytes();
        let fault = |fault: PatternFault| Error::CommandLineRule {
            rule: argument.to_string_lossy().into_owned(),
            message: fault.message,
            help: fault.help,
        };
        let about = match kind(right, text) {
            Kind::Peer => {
                About::Peer(Peer::parse(right, &argument.to_string_lossy()).map_err(fault)?)
            }
            Kind::Abstract => {
                let patterns = abstract_names(right, text).map_err(fault)?;
                About::Abstract(Rule::new(
                    file_right(right),
                    text,
                    patterns,
                    Origin::CommandLine,
                ))
            }
            Kind::Socket => {
                About::Socket(Rule::from_command_line(file_right(right), argument, cwd)?)
            }
        };
        let text = match &about {
            About::Socket(rule) => rule.text.clone(),
            About::Peer(_) | About::Abstract(_) => text.to_vec(),
        };
        Ok(Self::new(right, &text, about, Origin::CommandLine))
    }

    /// The text for people: bytes that are not UTF-8 replaced.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// Whether it opens the way to a peer or to an address of the fence's own, so that sockets other than Unix sockets are
    /// of use.
    #[must_use]
    pub fn opens_sockets(&self) -> bool {
        matches!(self.right, NetworkRight::Connect | NetworkRight::Listen)
    }

    /// Whether it lets names be resolved.
    #[must_use]
    pub fn opens_names(&self) -> bool {
        self.right == NetworkRight::Connect
            && matches!(&self.about, About::Peer(peer) if matches!(peer.host, Host::Any | Host::Name(_)))
    }

    fn new(right: NetworkRight, text: &[u8], about: About, origin: Origin) -> Self {
        Self {
            right,
            text: text.to_vec(),
            about,
            because: None,
            expected: false,
            origin,
        }
    }
}

enum Kind {
    Peer,
    Socket,
    Abstract,
}

/// What `text` is about in the list of `right`: a deny rule tells by how it begins.
fn kind(right: NetworkRight, text: &[u8]) -> Kind {
    let begins_a_path = [&b"/"[..], b"${", b"**/", b"{/", b"{${"]
        .iter()
        .any(|start| text.starts_with(start));
    match right {
        NetworkRight::Connect | NetworkRight::Listen => Kind::Peer,
        NetworkRight::Unix | NetworkRight::Deny if text.starts_with(b"@") => Kind::Abstract,
        NetworkRight::Unix => Kind::Socket,
        NetworkRight::Deny if begins_a_path => Kind::Socket,
        NetworkRight::Deny => Kind::Peer,
    }
}

/// What stands for `right` where links are followed: whoever may reach a socket cannot by that alone have planted a link to it.
const fn file_right(right: NetworkRight) -> Right {
    match right {
        NetworkRight::Deny => Right::Deny,
        _ => Right::Read,
    }
}

/// The patterns behind the `@` of `text`.
fn abstract_names(right: NetworkRight, text: &[u8]) -> Result<Vec<Pattern>, PatternFault> {
    // The name of nobody: there is no such socket to reach, but one that reaches nobody is made.
    if right == NetworkRight::Deny && text == b"@" {
        return Ok(vec![Pattern { tokens: Vec::new() }]);
    }
    let shifted = |mut fault: PatternFault| {
        fault.at = fault.at.start + 1..fault.at.end + 1;
        fault
    };
    Pattern::parse_name(&text[1..]).map_err(shifted)
}
