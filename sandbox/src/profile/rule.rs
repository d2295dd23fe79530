//! One rule: a right, the paths it is about, and where it was written.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::error::Error;
use super::pattern::{self, Pattern, PatternFault};
use super::source::{Fault, Place, character_boundary};

/// What a rule grants, or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Open for reading, list a directory. Execution and writing are rights of their own.
    Read,
    /// Open for writing, create, remove, rename, change mode, owner or times. Does not imply reading.
    Write,
    /// Execute, or map as executable code. Does not imply reading.
    Exec,
    /// Nothing at all, whatever else is allowed.
    Deny,
}

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In a profile.
    Profile {
        /// Name of the profile.
        profile: Arc<str>,
        /// The rule in its file.
        place: Place,
    },
    /// On the command line.
    CommandLine,
    /// By ringfence itself, for this reason.
    BuiltIn(String),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What it grants or takes.
    pub right: Right,
    /// The paths as they were written.
    pub text: Vec<u8>,
    /// What the text stands for. Every copy of the rule shares it.
    pub patterns: Arc<[Pattern]>,
    /// Whether a directory without special characters means everything below it, too: so on the command line.
    pub directory_is_subtree: bool,
    /// Why, in the words of who wrote it.
    pub because: Option<String>,
    /// A denial by this rule is no news: reports leave it out.
    pub expected: bool,
    /// Where it was written.
    pub origin: Origin,
}

impl Right {
    /// Every right, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Exec, Self::Deny];

    /// The key of a profile's `[files]` section and, with two dashes, the flag of the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
            Self::Deny => "deny",
        }
    }

    /// The bits of [`ringfence_abi::rights`] that it is about.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Read => ringfence_abi::rights::READ,
            Self::Write => ringfence_abi::rights::WRITE,
            Self::Exec => ringfence_abi::rights::EXEC,
            Self::Deny => ringfence_abi::rights::ALL,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile { place, .. } => place.fmt(formatter),
            Self::CommandLine => formatter.write_str("command line"),
            Self::BuiltIn(reason) => write!(formatter, "built-in: {reason}"),
        }
    }
}

impl Rule {
    /// The rule `text` at `place` of `profile`.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] if the text is no pattern.
    pub fn in_profile(
        right: Right,
        text: &str,
        profile: &Arc<str>,
        place: &Place,
    ) -> Result<Self, Error> {
        let patterns = Pattern::parse(text.as_bytes())
            .map_err(|fault| Error::Rule(placed(text, fault, place)))?;
        let origin = Origin::Profile {
            profile: Arc::clone(profile),
            place: place.clone(),
        };
        Ok(Self::new(right, text.as_bytes(), patterns, origin))
    }

    /// The rule that an argument of the command line means.
    ///
    /// A relative path is taken from `cwd`, an absolute path; `.` and leading `..` are resolved. A path without special characters
    /// that turns out to be a directory means everything below it, too. Bytes that are not UTF-8 are allowed.
    ///
    /// # Errors
    ///
    /// [`Error::CommandLineRule`] if the argument is no pattern.
    pub fn from_command_line(right: Right, argument: &OsStr, cwd: &Path) -> Result<Self, Error> {
        let text = argument.as_bytes();
        let absolute = [&b"/"[..], b"${", b"**", b"{/", b"{${"]
            .iter()
            .any(|start| text.starts_with(start));
        let text = if absolute || text.is_empty() {
            text.to_vec()
        } else {
            from_directory(cwd, text)
        };
        let patterns = Pattern::parse(&text).map_err(|fault| Error::CommandLineRule {
            rule: argument.to_string_lossy().into_owned(),
            message: fault.message,
            help: fault.help,
        })?;
        let mut rule = Self::new(right, &text, patterns, Origin::CommandLine);
        rule.directory_is_subtree = true;
        Ok(rule)
    }

    /// A rule of ringfence's own about `path` alone, for `reason`.
    #[must_use]
    pub fn built_in(right: Right, path: &[u8], reason: &str) -> Self {
        Self::new(
            right,
            pattern::escape(path).as_bytes(),
            vec![Pattern::literal(path)],
            Origin::BuiltIn(reason.to_owned()),
        )
    }

    /// A rule of ringfence's own about `path` and all that is below, for `reason`.
    ///
    /// # Errors
    ///
    /// [`Error::CommandLineRule`] if the path cannot be a pattern.
    pub fn built_in_below(right: Right, path: &[u8], reason: &str) -> Result<Self, Error> {
        let text = format!("{}{{,/**}}", pattern::escape(path));
        let patterns = Pattern::parse(text.as_bytes()).map_err(|fault| Error::CommandLineRule {
            rule: text.clone(),
            message: fault.message,
            help: fault.help,
        })?;
        let origin = Origin::BuiltIn(reason.to_owned());
        Ok(Self::new(right, text.as_bytes(), patterns, origin))
    }

    /// The text for people: bytes that are not UTF-8 replaced.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// An error about this rule, with its place if it has one.
    #[must_use]
    pub fn error(&self, message: &str, help: Option<&str>) -> Error {
        match &self.origin {
            Origin::Profile { place, .. } => Error::Rule(Fault {
                place: place.clone(),
                message: message.to_owned(),
                help: help.map(str::to_owned),
            }),
            Origin::CommandLine | Origin::BuiltIn(_) => Error::CommandLineRule {
                rule: self.shown(),
                message: message.to_owned(),
                help: help.map(str::to_owned),
            },
        }
    }

    pub(super) fn new(right: Right, text: &[u8], patterns: Vec<Pattern>, origin: Origin) -> Self {
        Self {
            right,
            text: text.to_vec(),
            patterns: patterns.into(),
            directory_is_subtree: false,
            because: None,
            expected: false,
            origin,
        }
    }
}

/// `fault` of `text`, which was written at `place` in quotes and perhaps with escapes.
pub(super) fn placed(text: &str, fault: PatternFault, place: &Place) -> Fault {
    // Without escapes the written text is the rule between two quotes, and the fault can be pointed at.
    let written = place.text();
    let plain = written.len() == text.len() + 2 && &written[1..=text.len()] == text;
    let place = if plain {
        place.part(fault.at.start + 1..fault.at.end + 1)
    } else {
        place.clone()
    };
    Fault {
        place,
        message: format!("rule `{}`: {}", shortened(text), fault.message),
        help: fault.help,
    }
}

/// `text`, if it is long only its beginning: an error is not the place for a megabyte.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 100;
    if text.len() <= SHOWN {
        return text.escape_debug().to_string();
    }
    let beginning = &text[..character_boundary(text, SHOWN)];
    format!("{}... ({} bytes)", beginning.escape_debug(), text.len())
}

/// The relative `text` from `cwd`, whose special characters stand for themselves.
fn from_directory(cwd: &Path, text: &[u8]) -> Vec<u8> {
    let mut directory = cwd;
    let mut rest = text;
    loop {
        let name_length = rest
            .iter()
            .position(|&byte| byte == b'/')
            .unwrap_or(rest.len());
        match &rest[..name_length] {
            b"." => {}
            // `cwd` comes from the kernel: no symbolic link is in it, so its parent is its text's.
            b".." => directory = directory.parent().unwrap_or(directory),
            _ => break,
        }
        let slash = usize::from(name_length < rest.len());
        rest = &rest[name_length + slash..];
        if rest.is_empty() {
            return pattern::escape(directory.as_os_str().as_bytes()).into_bytes();
        }
    }
    let mut absolute = pattern::escape(directory.as_os_str().as_bytes()).into_bytes();
    if !absolute.ends_with(b"/") {
        absolute.push(b'/');
    }
    absolute.extend_from_slice(rest);
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &[u8], cwd: &str) -> Vec<u8> {
        let rule =
            Rule::from_command_line(Right::Read, OsStr::from_bytes(argument), Path::new(cwd));
        rule.unwrap().text
    }

    #[test]
    fn a_relative_argument_is_taken_from_the_working_directory() {
        assert_eq!(read(b".", "/w"), b"/w");
        assert_eq!(read(b"./src/*.rs", "/w"), b"/w/src/*.rs");
        assert_eq!(read(b"../x", "/w/a"), b"/w/x");
        assert_eq!(read(b"../../../x", "/w/a"), b"/x");
        assert_eq!(read(b"x", "/"), b"/x");
        assert_eq!(read(b"/x", "/w"), b"/x");
    }

    #[test]
    fn special_characters_of_the_working_directory_stand_for_themselves() {
        assert_eq!(read(b"x", "/w[1]"), br"/w\[1\]/x");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        assert_eq!(read(b"/x\xff", "/"), b"/x\xff");
    }

    #[test]
    fn an_empty_argument_is_refused() {
        let rule = Rule::from_command_line(Right::Read, OsStr::new(""), Path::new("/"));
        assert!(rule.unwrap_err().to_string().contains("empty"));
    }
}
