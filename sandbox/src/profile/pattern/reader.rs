//! From a rule's text to its patterns.

use super::{ByteSet, MOST_PATTERNS, Pattern, PatternFault, Token, fault};

/// Deepest braces in braces.
const MOST_DEPTH: usize = 16;

/// Reads a rule's text from left to right.
pub(super) struct Reader<'a> {
    /// The whole of it.
    pub(super) text: &'a [u8],
    /// The byte that is read next.
    pub(super) at: usize,
}

impl Reader<'_> {
    /// The patterns from here to the end, or to the `,` or `}` that ends an alternative at `depth`.
    pub(super) fn alternatives(&mut self, depth: usize) -> Result<Vec<Pattern>, PatternFault> {
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
