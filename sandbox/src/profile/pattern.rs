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

use std::ops::Range;

/// Most patterns that the braces of one rule may stand for.
pub const MOST_PATTERNS: usize = 1024;
/// Deepest braces in braces.
const MOST_DEPTH: usize = 16;

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

/// A set of bytes; never holds `/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ByteSet([u64; 4]);

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

impl ByteSet {
    /// Adds `low..=high`.
    fn insert(&mut self, low: u8, high: u8) {
        for byte in low..=high {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    fn invert(&mut self) {
        for word in &mut self.0 {
            *word = !*word;
        }
    }

    fn remove_slash(&mut self) {
        self.0[usize::from(b'/' >> 6)] &= !(1 << (b'/' & 63));
    }

    /// Whether `byte` is in it.
    #[must_use]
    pub const fn contains(self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] & (1 << (byte & 63)) != 0
    }

    /// The ranges of bytes in it, in order, none adjacent.
    #[must_use]
    pub fn ranges(self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for byte in (0..=255u8).filter(|&byte| self.contains(byte)) {
            match ranges.last_mut() {
                Some((_, high)) if *high + 1 == byte => *high = byte,
                _ => ranges.push((byte, byte)),
            }
        }
        ranges
    }
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

/// Reads a rule's text from left to right.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The patterns from here to the end, or to the `,` or `}` that ends an alternative at `depth`.
    fn alternatives(&mut self, depth: usize) -> Result<Vec<Pattern>, PatternFault> {
        let mut patterns = vec![Pattern { tokens: Vec::new() }];
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'{' => {
                    let choices = self.braces(depth)?;
                    patterns = self.product(&patterns, &choices)?;
                }
                b',' | b'}' if depth > 0 => break,
                b'}' => {
                    return Err(fault(
                        self.at..self.at + 1,
                        "`}` closes nothing",
                        "write `\\}` for the character itself",
                    ));
                }
                _ => {
                    let token = self.token()?;
                    for pattern in &mut patterns {
                        pattern.push(token.clone());
                    }
                }
            }
        }
        Ok(patterns)
    }

    /// The choices of one pair of braces.
    fn braces(&mut self, depth: usize) -> Result<Vec<Pattern>, PatternFault> {
        let open = self.at;
        if depth == MOST_DEPTH {
            return Err(fault(
                open..open + 1,
                &format!("braces are nested deeper than {MOST_DEPTH}"),
                "write separate rules",
            ));
        }
        let mut choices = Vec::new();
        loop {
            // Past the `{` or the `,`.
            self.at += 1;
            choices.extend(self.alternatives(depth + 1)?);
            match self.text.get(self.at) {
                Some(b',') => {}
                Some(_) => break,
                None => {
                    return Err(fault(
                        open..open + 1,
                        "`{` is not closed",
                        "close it with `}`, or write `\\{` for the character itself",
                    ));
                }
            }
        }
        self.at += 1;
        Ok(choices)
    }

    fn product(&self, heads: &[Pattern], tails: &[Pattern]) -> Result<Vec<Pattern>, PatternFault> {
        if heads.len() * tails.len() > MOST_PATTERNS {
            return Err(fault(
                0..self.text.len(),
                &format!("the braces stand for more than {MOST_PATTERNS} patterns"),
                "write `*` for some of them, or separate rules",
            ));
        }
        let mut product = Vec::with_capacity(heads.len() * tails.len());
        for head in heads {
            for tail in tails {
                let mut pattern = head.clone();
                for token in &tail.tokens {
                    pattern.push(token.clone());
                }
                product.push(pattern);
            }
        }
        Ok(product)
    }

    fn token(&mut self) -> Result<Token, PatternFault> {
        let start = self.at;
        let rest = &self.text[start..];
        match rest[0] {
            b'*' => self.stars(),
            b'?' => {
                self.at += 1;
                Ok(Token::AnyByte)
            }
            b'[' => self.class(),
            b'$' if rest.get(1) == Some(&b'{') => self.variable(),
            b'\\' => Ok(Token::Bytes(vec![self.escape()?])),
            _ => {
                let special = |&byte: &u8| b"*?[{},\\$".contains(&byte);
                let length = rest[1..].iter().position(special).unwrap_or(rest.len() - 1) + 1;
                self.at += length;
                Ok(Token::Bytes(rest[..length].to_vec()))
            }
        }
    }

    fn stars(&mut self) -> Result<Token, PatternFault> {
        let start = self.at;
        let count = self.text[start..]
            .iter()
            .take_while(|&&byte| byte == b'*')
            .count();
        self.at += count;
        match count {
            1 => Ok(Token::AnyBytes),
            2 => Ok(Token::AnyComponents),
            _ => Err(fault(
                start..self.at,
                "more than two `*` in a row",
                "write `*` within a name, `**` for any number of components",
            )),
        }
    }

    fn variable(&mut self) -> Result<Token, PatternFault> {
        let start = self.at;
        let name = &self.text[start + 2..];
        let length = name
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        if length == 0 || name.get(length) != Some(&b'}') {
            return Err(fault(
                start..start + 2 + length,
                "a variable is written `${NAME}`",
                "write `\\$` for the character itself",
            ));
        }
        self.at = start + 2 + length + 1;
        Ok(Token::Variable(
            String::from_utf8_lossy(&name[..length]).into_owned(),
        ))
    }

    /// The byte that a backslash and what follows stand for.
    fn escape(&mut self) -> Result<u8, PatternFault> {
        let start = self.at;
        let Some(&byte) = self.text.get(start + 1) else {
            return Err(fault(
                start..start + 1,
                "a backslash at the end escapes nothing",
                "write `\\\\` for the character itself",
            ));
        };
        self.at = start + 2;
        if byte != b'x' {
            return Ok(byte);
        }
        let digits = self.text.get(start + 2..start + 4);
        let value = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(0) => Err(fault(
                start..start + 4,
                "a NUL byte is in no path",
                "remove it",
            )),
            Some(value) => {
                self.at = start + 4;
                Ok(value)
            }
            None => Err(fault(
                start..start + 2,
                "`\\x` must be followed by two hexadecimal digits",
                "write `x` for the letter itself",
            )),
        }
    }

    fn class(&mut self) -> Result<Token, PatternFault> {
        let open = self.at;
        self.at += 1;
        let inverted = matches!(self.text.get(self.at), Some(b'!' | b'^'));
        self.at += usize::from(inverted);
        let mut set = ByteSet::default();
        let first = self.at;
        loop {
            match self.text.get(self.at) {
                None => {
                    return Err(fault(
                        open..open + 1,
                        "`[` is not closed",
                        "close it with `]`, or write `\\[` for the character itself",
                    ));
                }
                // As the first of a class, `]` stands for itself.
                Some(b']') if self.at > first => break,
                Some(_) => {}
            }
            let start = self.at;
            let low = self.class_byte()?;
            let dash = self.text.get(self.at) == Some(&b'-');
            let high = if dash && self.text.get(self.at + 1).is_some_and(|&byte| byte != b']') {
                self.at += 1;
                self.class_byte()?
            } else {
                low
            };
            if high < low {
                return Err(fault(
                    start..self.at,
                    "the range runs backwards",
                    "swap its ends",
                ));
            }
            set.insert(low, high);
        }
        self.at += 1;
        if inverted {
            set.invert();
        }
        set.remove_slash();
        if set == ByteSet::default() {
            return Err(fault(
                open..self.at,
                "the class matches nothing: `/` is in no name",
                "write the `/` outside of the class",
            ));
        }
        Ok(Token::Class(set))
    }

    fn class_byte(&mut self) -> Result<u8, PatternFault> {
        let start = self.at;
        let byte = self.text[start];
        if byte == b'\\' {
            return self.escape();
        }
        if !byte.is_ascii() {
            return Err(fault(
                start..start + 1,
                "a class is a set of bytes, and this character is several",
                "write the characters in braces, as in `{ä,ö}`",
            ));
        }
        self.at += 1;
        Ok(byte)
    }
}

impl Pattern {
    /// Appends `token`, joining literals.
    fn push(&mut self, token: Token) {
        match (self.tokens.last_mut(), token) {
            (Some(Token::Bytes(before)), Token::Bytes(bytes)) => before.extend(bytes),
            (_, token) => self.tokens.push(token),
        }
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
