//! The network as the engines get it.

use super::{Automaton, Mode};

/// Which peers are reached, which addresses are bound, which Unix sockets are opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// What a denial does.
    pub mode: Mode,
    /// Peer to answer: asked as [`ringfence_abi::network`] says.
    pub automaton: Automaton,
    /// Whether some rule is about an address or a host: without one, no socket but Unix sockets is made.
    pub reaches: bool,
    /// Whether some rule is about a host name: then the fence has a resolver of its own.
    pub names: bool,
    /// Whether the name that a TLS client asks for is compared with the rule.
    pub sni: Sni,
}

/// Whether the name that a TLS client asks for (server name indication, RFC 6066) is compared with the rules about
/// names, so that an address that many names share does not open all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sni {
    /// A connection to a name begins with a TLS greeting that says an allowed name, or is ended.
    Required,
    /// A TLS greeting that says a name has to say an allowed one.
    #[default]
    IfPresent,
    /// It is not looked at.
    Off,
}

impl NetworkPolicy {
    /// No network: only what a Unix socket reaches.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The section is off: sockets are not restricted.
    #[must_use]
    pub fn off() -> Self {
        Self {
            mode: Mode::Off,
            ..Self::default()
        }
    }

    /// Whether sockets are not restricted.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.mode == Mode::Off
    }
}
