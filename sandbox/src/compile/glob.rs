//! A rule's pattern with its variables filled in, as a list of path components: what is resolved, compiled and shown.

use std::borrow::Cow;

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Look, Repetition};
use ringfence_abi::limits::PATH_BYTES;

use crate::profile::pattern::{self, ByteSet, Pattern, Token};
use crate::profile::{Error, Fault, Origin, Rule, Variables};

/// One pattern. Paths are those of the kernel: absolute, no empty component, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    pub(super) components: Vec<Component>,
    /// Everything below is meant, too.
    pub(super) subtree: bool,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Component {
    /// One name.
    Name(Vec<Piece>),
    /// Any number of names: `**`.
    Any,
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    AnyBytes,
    AnyByte,
    Class(ByteSet),
}

impl Component {
    /// The name, if the component is one literal name.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::Name(pieces) => match &pieces[..] {
                [Piece::Bytes(bytes)] => Some(bytes),
                _ => None,
            },
            Self::Any => None,
        }
    }
}

impl Glob {
    /// `pattern` of `rule` with the values of `variables`.
    pub(super) fn new(
        rule: &Rule,
        pattern: &Pattern,
        variables: &Variables,
    ) -> Result<Self, Error> {
        let mut builder = Builder::default();
        for (index, token) in pattern.tokens.iter().enumerate() {
            match token {
                Token::Bytes(bytes) => builder.bytes(bytes),
                Token::Variable(name) => {
                    let value = value(rule, name, variables)?;
                    let follows_slash = matches!(pattern.tokens.get(index + 1),
                        Some(Token::Bytes(bytes)) if bytes.starts_with(b"/"));
                    builder.bytes(match value {
                        // The root directory as `${CWD}` in `${CWD}/x`.
                        [head @ .., b'/'] if follows_slash => head,
                        value => value,
                    });
                }
                Token::AnyBytes => builder.piece(Piece::AnyBytes),
                Token::AnyByte => builder.piece(Piece::AnyByte),
                Token::Class(set) => builder.piece(Piece::Class(*set)),
                Token::AnyComponents => builder.any(),
            }
        }
        // A slash alone is the root directory itself.
        let root_alone = pattern.tokens.len() == 1 && builder.components.is_empty();
        let mut glob = builder.finish();
        glob.subtree &= !root_alone || pattern.tokens[0] == Token::AnyComponents;
        glob.check(rule, pattern, variables)?;
        Ok(glob)
    }

    /// The path whose components are literal up to the first special character.
    pub(super) fn literal_components(&self) -> Vec<&[u8]> {
        self.components
            .iter()
            .map_while(Component::literal)
            .collect()
    }

    /// Whether no special character is in it, the subtree apart.
    pub(super) fn is_literal(&self) -> bool {
        self.components
            .iter()
            .all(|component| component.literal().is_some())
    }

    /// The same with the leading `replaced` components replaced by the names `by`.
    pub(super) fn with_prefix(&self, replaced: usize, by: &[Cow<'_, [u8]>]) -> Self {
        let names = by
            .iter()
            .map(|name| Component::Name(vec![Piece::Bytes(name.to_vec())]));
        Self {
            components: names
                .chain(self.components[replaced..].iter().cloned())
                .collect(),
            subtree: self.subtree,
        }
    }

    /// Wildcards in it.
    pub(super) fn wildcards(&self) -> usize {
        let of = |component: &Component| match component {
            Component::Any => 1,
            Component::Name(pieces) => pieces
                .iter()
                .filter(|piece| matches!(piece, Piece::AnyBytes | Piece::AnyByte))
                .count(),
        };
        self.components.iter().map(of).sum()
    }

    /// As a profile writes it, variables filled in.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for component in &self.components {
            text.push('/');
            match component {
                Component::Any => text.push_str("**"),
                Component::Name(pieces) => pieces.iter().for_each(|piece| match piece {
                    Piece::Bytes(bytes) => text.push_str(&pattern::escape(bytes)),
                    Piece::AnyBytes => text.push('*'),
                    Piece::AnyByte => text.push('?'),
                    Piece::Class(set) => class_text(*set, &mut text),
                }),
            }
        }
        if self.subtree {
            text.push_str("/**");
        } else if text.is_empty() {
            text.push('/');
        }
        text
    }

    /// What matches it and, if it is a subtree, everything below; from the path's begin to its end.
    pub(super) fn matcher(&self) -> Hir {
        let tail = if self.subtree { below() } else { Hir::empty() };
        Hir::concat(vec![self.head(), tail, Hir::look(Look::End)])
    }

    /// What matches it without what lies below.
    pub(super) fn head(&self) -> Hir {
        if self.components.is_empty() && !self.subtree {
            return Hir::literal(*b"/");
        }
        components_hir(&self.components)
    }

    fn check(&self, rule: &Rule, pattern: &Pattern, variables: &Variables) -> Result<(), Error> {
        if let Some(Token::Variable(name)) = pattern.tokens.first() {
            let value = value(rule, name, variables)?;
            if !value.starts_with(b"/") {
                let shown = String::from_utf8_lossy(value);
                let message =
                    format!("a rule must be an absolute path, and `${{{name}}}` is `{shown}`");
                return Err(rule.error(&message, Some("begin it with `/` or `${CWD}/`")));
            }
        }
        let mut length = 0;
        for component in &self.components {
            let Component::Name(pieces) = component else {
                continue;
            };
            length += 1;
            for piece in pieces {
                if let Piece::Bytes(bytes) = piece {
                    length += bytes.len();
                }
            }
            if matches!(component.literal(), Some(b"." | b"..")) {
                return Err(rule.error(
                    "`.` and `..` are in no path that the kernel resolved",
                    Some("write the path without them"),
                ));
            }
        }
        if length > PATH_BYTES {
            let message =
                format!("the rule needs paths of {length} bytes, the longest has {PATH_BYTES}");
            return Err(rule.error(&message, Some("write a shorter one with `**`")));
        }
        // The link itself may be read; nothing is ever found below it.
        let link_alone = self.components.len() == 2 && !self.subtree;
        if let [b"proc", name @ (b"self" | b"thread-self"), ..] = self.literal_components()[..]
            && !link_alone
        {
            let name = String::from_utf8_lossy(name);
            return Err(rule.error(
                &format!("`/proc/{name}` is a link that leads each process elsewhere"),
                Some("write `/proc/[0-9]*/...`, which is what the kernel resolves it to"),
            ));
        }
        Ok(())
    }
}

/// Splits bytes at slashes as they come.
#[derive(Default)]
struct Builder {
    components: Vec<Component>,
    name: Vec<Piece>,
    ends_with_slash: bool,
}

impl Builder {
    fn bytes(&mut self, bytes: &[u8]) {
        for (index, name) in bytes.split(|&byte| byte == b'/').enumerate() {
            if index > 0 {
                self.flush();
                self.ends_with_slash = true;
            }
            if name.is_empty() {
                continue;
            }
            self.ends_with_slash = false;
            match self.name.last_mut() {
                Some(Piece::Bytes(before)) => before.extend_from_slice(name),
                _ => self.name.push(Piece::Bytes(name.to_vec())),
            }
        }
    }

    fn piece(&mut self, piece: Piece) {
        self.ends_with_slash = false;
        // Two stars in a row come from braces, and mean one.
        if piece != Piece::AnyBytes || self.name.last() != Some(&Piece::AnyBytes) {
            self.name.push(piece);
        }
    }

    fn any(&mut self) {
        self.flush();
        self.ends_with_slash = false;
        if self.components.last() != Some(&Component::Any) {
            self.components.push(Component::Any);
        }
    }

    fn flush(&mut self) {
        if !self.name.is_empty() {
            self.components
                .push(Component::Name(std::mem::take(&mut self.name)));
        }
    }

    fn finish(mut self) -> Glob {
        self.flush();
        let mut subtree = self.ends_with_slash;
        if self.components.last() == Some(&Component::Any) {
            self.components.pop();
            subtree = true;
        }
        Glob {
            components: self.components,
            subtree,
        }
    }
}

pub(super) fn value<'a>(
    rule: &Rule,
    name: &str,
    variables: &'a Variables,
) -> Result<&'a [u8], Error> {
    let Some(value) = variables.get(name) else {
        let known = variables.names();
        return Err(match &rule.origin {
            Origin::Profile { place, .. } => {
                let message = format!("variable `${{{name}}}` is not set");
                let fault = Fault::new(place, message);
                Error::Variable(match variables.nearest(name) {
                    Some(near) => fault.help(format!("did you mean `${{{near}}}`? known: {known}")),
                    None => fault.help(format!("known: {known}")),
                })
            }
            Origin::CommandLine | Origin::BuiltIn(_) => Error::Unset {
                name: name.to_owned(),
                known,
            },
        });
    };
    if value.is_empty() || value.contains(&0) {
        let message = format!("variable `${{{name}}}` is empty or has a NUL byte");
        return Err(rule.error(&message, Some("set it, or write the path")));
    }
    Ok(value)
}

/// `components` as a regular expression over bytes.
pub(super) fn components_hir(components: &[Component]) -> Hir {
    let mut parts = Vec::new();
    for component in components {
        match component {
            Component::Any => parts.push(below()),
            Component::Name(pieces) => {
                parts.push(Hir::literal(*b"/"));
                name_hir(pieces, &mut parts);
            }
        }
    }
    Hir::concat(parts)
}

fn name_hir(pieces: &[Piece], parts: &mut Vec<Hir>) {
    // A name is never empty: alone, `*` is at least one byte.
    let fewest = u32::from(pieces == [Piece::AnyBytes]);
    for piece in pieces {
        parts.push(match piece {
            Piece::Bytes(bytes) => Hir::literal(bytes.clone()),
            Piece::AnyByte => class(&[(0, b'/' - 1), (b'/' + 1, 255)]),
            Piece::AnyBytes => repeat(class(&[(0, b'/' - 1), (b'/' + 1, 255)]), fewest, None),
            Piece::Class(set) => class(&set.ranges()),
        });
    }
}

/// Nothing, or a slash and anything.
pub(super) fn below() -> Hir {
    let anything = repeat(class(&[(0, 255)]), 0, None);
    let below = Hir::concat(vec![Hir::literal(*b"/"), anything]);
    repeat(below, 0, Some(1))
}

pub(super) fn class(ranges: &[(u8, u8)]) -> Hir {
    let ranges = ranges
        .iter()
        .map(|&(low, high)| ClassBytesRange::new(low, high));
    Hir::class(Class::Bytes(ClassBytes::new(ranges)))
}

pub(super) fn repeat(hir: Hir, min: u32, max: Option<u32>) -> Hir {
    Hir::repetition(Repetition {
        min,
        max,
        greedy: true,
        sub: Box::new(hir),
    })
}

pub(super) fn class_text(set: ByteSet, text: &mut String) {
    text.push('[');
    for (low, high) in set.ranges() {
        for byte in if low == high {
            vec![low]
        } else {
            vec![low, high]
        } {
            if byte == high && low != high {
                text.push('-');
            }
            if byte.is_ascii_alphanumeric() {
                text.push(char::from(byte));
            } else if byte.is_ascii_graphic() {
                text.push('\\');
                text.push(char::from(byte));
            } else if byte == 0 {
                // NUL is in no path, and cannot be written.
                text.push_str("\\x01");
            } else {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    text.push(']');
}
