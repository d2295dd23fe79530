//! The grammar of a rule's path: bytes to tokens. Variables stay names; nothing is matched here.
//!
//! | written | means |
//! |---|---|
//! | `*` | any bytes but `/` |
//! | `?` | one byte but `/` |
//! | `[a-z]`, `[!a-z]` | one byte of the class, never `/` |
//! | `**` | any number of whole components |
//! | `{a,b}` | one pattern each |
//! | `${NAME}` | the variable's value, literally |
//! | `\*` | `*` itself, and so for every special character |
//! | `\xe9` | that byte, for paths that are not UTF-8 |
//!
//! A glob library is not used for this: rules are bytes, variables are literal, and an error has to know its place.
//! Matching is left to one, see [`crate::compile`].

mod byte_set;
mod reader;

use std::ops::Range;

use reader::Reader;

pub use byte_set::ByteSet;

/// Most patterns that the braces of one rule may stand for.
pub const MOST_PATTERNS: usize = 1024;

/// One pattern of a rule, without braces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Its parts in order; no two literals in a row.
    pub tokens: Vec<Token>,
}

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// These bytes, slashes included.
    Bytes(Vec<u8>),
    /// The value of a variable.
    Variable(String),
    /// `*`.
    AnyBytes,
    /// `?`.
    AnyByte,
    /// `[a-z]`.
    Class(ByteSet),
    /// `**`.
    AnyComponents,
}

/// What is wrong with a rule's text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternFault {
    /// Bytes of the rule.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl Pattern {
    /// The patterns that a rule's text stands for, more than one if it has braces.
    ///
    /// # Errors
    ///
    /// What cannot match as it is written, with its place in `text`.
    pub fn parse(text: &[u8]) -> Result<Vec<Self>, PatternFault> {
        if let Some(at) = text.iter().position(|&byte| byte == 0) {
            return Err(fault(at..at + 1, "a NUL byte is in no path", "remove it"));
        }
        if text.is_empty() {
            return Err(fault(0..0, "the rule is empty", "write an absolute path"));
        }
        let patterns = Self::parse_name(text)?;
        for pattern in &patterns {
            pattern.check(text)?;
        }
        Ok(patterns)
    }

    /// The patterns of a text that is no path, in which `**` stands for any bytes wherever it is.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn parse_name(text: &[u8]) -> Result<Vec<Self>, PatternFault> {
        if let Some(at) = text.iter().position(|&byte| byte == 0) {
            return Err(fault(at..at + 1, "a NUL byte is in no rule", "remove it"));
        }
        if text.is_empty() {
            return Err(fault(
                0..0,
                "the name is empty",
                "write a name, or `**` for any",
            ));
        }
        Reader { text, at: 0 }.alternatives(0)
    }

    /// A pattern that matches `path` alone.
    #[must_use]
    pub fn literal(path: &[u8]) -> Self {
        Self {
            tokens: vec![Token::Bytes(path.to_vec())],
        }
    }

    /// Whether every special character is used as it can match.
    fn check(&self, text: &[u8]) -> Result<(), PatternFault> {
        let whole = 0..text.len();
        let shown = String::from_utf8_lossy(text);
        match self.tokens.first() {
            Some(Token::Bytes(bytes)) if bytes.starts_with(b"/") => {}
            Some(Token::Variable(_) | Token::AnyComponents) => {}
            _ => {
                return Err(fault(
                    whole,
                    "a rule must be an absolute path",
                    &format!("write `${{CWD}}/{shown}`, or `**/{shown}` for any directory"),
                ));
            }
        }
        for (index, token) in self.tokens.iter().enumerate() {
            if *token != Token::AnyComponents {
                continue;
            }
            let before = index.checked_sub(1).map(|index| &self.tokens[index]);
            let after = self.tokens.get(index + 1);
            let opens = before
                .is_none_or(|token| matches!(token, Token::Bytes(bytes) if bytes.ends_with(b"/")));
            let closes = after.is_none_or(
                |token| matches!(token, Token::Bytes(bytes) if bytes.starts_with(b"/")),
            );
            if !opens || !closes {
                return Err(fault(
                    whole,
                    "`**` must be a whole component",
                    "write `/**/` or a trailing `/**`; `*` matches within one name",
                ));
            }
        }
        Ok(())
    }
}

fn fault(at: Range<usize>, message: &str, help: &str) -> PatternFault {
    PatternFault {
        at,
        message: message.to_owned(),
        help: Some(help.to_owned()),
    }
}

/// `path` written so that it matches itself alone, and so that it can be printed: control characters become `\x0a`.
#[must_use]
pub fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if "*?[]{},\\".contains(character) {
                text.push('\\');
                text.push(character);
            } else if character == '$' {
                text.push_str("\\$");
            } else if character.is_ascii_control() {
                text.push_str(&format!("\\x{:02x}", u32::from(character)));
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let mut patterns = Pattern::parse(text.as_bytes()).unwrap();
        assert_eq!(patterns.len(), 1, "{text}");
        patterns.remove(0).tokens
    }

    fn refused(text: &str) -> String {
        Pattern::parse(text.as_bytes()).unwrap_err().message
    }

    #[test]
    fn reads_every_special_character() {
        assert_eq!(
            tokens("/a*b?${HOME}"),
            [
                Token::Bytes(b"/a".to_vec()),
                Token::AnyBytes,
                Token::Bytes(b"b".to_vec()),
                Token::AnyByte,
                Token::Variable("HOME".to_owned()),
            ]
        );
    }

    #[test]
    fn braces_stand_for_one_pattern_each() {
        let patterns = Pattern::parse(b"/{a,b{c,d}}/x").unwrap();
        let texts: Vec<_> = patterns.iter().map(|pattern| &pattern.tokens).collect();
        assert_eq!(texts.len(), 3);
        assert_eq!(*texts[2], [Token::Bytes(b"/bd/x".to_vec())]);
    }

    #[test]
    fn an_escaped_character_stands_for_itself() {
        assert_eq!(tokens(r"/\*\[\xe9"), [Token::Bytes(b"/*[\xe9".to_vec())]);
        assert_eq!(
            tokens(&escape(b"/*[{},$\\\xff")),
            [Token::Bytes(b"/*[{},$\\\xff".to_vec())]
        );
    }

    #[test]
    fn a_class_never_holds_the_slash() {
        let [_, Token::Class(set)] = tokens("/[!a-c]")[..] else {
            panic!("not a class");
        };
        assert!(!set.contains(b'/') && !set.contains(b'b') && set.contains(b'd'));
        assert!(set.contains(b'\n') && set.contains(0xff));
    }

    #[test]
    fn refuses_what_cannot_match() {
        assert!(refused("x/y").contains("absolute"));
        assert!(refused("/a**").contains("whole component"));
        assert!(refused("${CWD}**").contains("whole component"));
        assert!(refused("/a***").contains("more than two"));
        assert!(refused("/{a").contains("not closed"));
        assert!(refused("/a}").contains("closes nothing"));
        assert!(refused("/[a").contains("not closed"));
        assert!(refused("/[z-a]").contains("backwards"));
        assert!(refused("/[ä]").contains("set of bytes"));
        assert!(refused("/a\\").contains("escapes nothing"));
        assert!(refused("/${HOME").contains("${NAME}"));
        assert!(refused("/\0").contains("NUL"));
        assert!(refused(&"/{a,b}".repeat(20)).contains("more than 1024"));
        assert!(refused(&"{".repeat(100_000)).contains("nested"));
    }

    #[test]
    fn allows_a_newline() {
        assert_eq!(tokens("/a\nb"), [Token::Bytes(b"/a\nb".to_vec())]);
    }
}
