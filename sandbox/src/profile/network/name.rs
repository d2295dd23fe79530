//! Host names as rules write them: `example.com`, `*.example.com`, `**.example.com`.

use super::super::pattern::PatternFault;

/// Most bytes of a name without its final dot (RFC 1035, section 2.3.4: 255 with lengths and the root).
pub(super) const MOST_BYTES: usize = 253;
/// Most bytes of one label, as there.
const MOST_LABEL_BYTES: usize = 63;

/// A host name in which a `*` stands for any part of a label, and a leading `**` for any number of labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern {
    /// Whether any number of labels may stand before those that are listed, none included.
    pub any_labels: bool,
    /// Labels in lower case, the top-level domain last; a `*` in one stands for any bytes, alone for at least one.
    pub labels: Vec<String>,
}

impl NamePattern {
    /// The pattern `text`, which begins at byte `at` of the rule.
    pub(super) fn parse(text: &str, at: usize) -> Result<Self, PatternFault> {
        let whole = at..at + text.len();
        let fault = |message: &str, help: &str| PatternFault {
            at: whole.clone(),
            message: message.to_owned(),
            help: Some(help.to_owned()),
        };
        let mut labels = Vec::new();
        let mut any_labels = false;
        let name = text.strip_suffix('.').unwrap_or(text);
        for (index, written) in name.split('.').enumerate() {
            if written == "**" && index == 0 {
                any_labels = true;
                continue;
            }
            if written.contains("**") {
                return Err(fault(
                    "`**` stands for whole labels, and first",
                    "write `**.example.com`, or `*` for a part of one label",
                ));
            }
            labels
                .push(label(written).map_err(|message| {
                    fault(&message, "write a host name, as in `example.com`")
                })?);
        }
        if labels.last().is_none_or(|last| last.contains('*')) {
            return Err(fault(
                "the last label of a name has to be said",
                "write `*.example.com`, or `*` for every host",
            ));
        }
        if labels.iter().map(|label| label.len() + 1).sum::<usize>() > MOST_BYTES + 1 {
            let message = format!("the name has more than {MOST_BYTES} bytes");
            return Err(fault(&message, "no name in DNS is as long"));
        }
        Ok(Self { any_labels, labels })
    }

    /// Whether `name`, in lower case and without a final dot, is one of those that it stands for.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let names: Vec<_> = name.split('.').collect();
        let Some(before) = names.len().checked_sub(self.labels.len()) else {
            return false;
        };
        (before == 0 || self.any_labels)
            && names.iter().all(|label| !label.is_empty())
            && self
                .labels
                .iter()
                .zip(&names[before..])
                .all(|(pattern, label)| label_covers(pattern.as_bytes(), label.as_bytes()))
    }

    /// The same with any number of labels in place of the first.
    #[must_use]
    pub fn any_depth(&self) -> Self {
        Self {
            any_labels: true,
            labels: self.labels.iter().skip(1).cloned().collect(),
        }
    }

    /// As a rule writes it.
    #[must_use]
    pub fn text(&self) -> String {
        let before = if self.any_labels { "**." } else { "" };
        format!("{before}{}", self.labels.join("."))
    }
}

/// One label in lower case, letters beyond ASCII as DNS has them (RFC 5891).
fn label(written: &str) -> Result<String, String> {
    if written.is_empty() {
        return Err("a label of the name is empty".to_owned());
    }
    let lower = if written.is_ascii() {
        written.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(written)
            .map_err(|_| format!("`{written}` cannot be a label of a name"))?
    };
    // Services have underscores (RFC 8552), and hosts behind some names too.
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
    if let Some(wrong) = lower.bytes().find(|&byte| !right(byte)) {
        return Err(format!(
            "`{}` is in no host name",
            char::from(wrong).escape_default()
        ));
    }
    if lower.len() > MOST_LABEL_BYTES {
        return Err(format!(
            "a label of the name has more than {MOST_LABEL_BYTES} bytes"
        ));
    }
    Ok(lower)
}

/// Whether `label` is covered by `pattern`, in which `*` stands for any bytes.
fn label_covers(pattern: &[u8], label: &[u8]) -> bool {
    match pattern {
        [] => label.is_empty(),
        [b'*', rest @ ..] => (0..=label.len()).any(|skipped| label_covers(rest, &label[skipped..])),
        [byte, rest @ ..] => label.first() == Some(byte) && label_covers(rest, &label[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, name: &str) -> bool {
        NamePattern::parse(pattern, 0).unwrap().covers(name)
    }

    #[test]
    fn a_star_is_one_label_and_two_are_any_number() {
        assert!(covers("example.com", "example.com"));
        assert!(!covers("example.com", "www.example.com"));
        assert!(covers("*.example.com", "www.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(!covers("*.example.com", "a.www.example.com"));
        assert!(covers("**.example.com", "example.com"));
        assert!(covers("**.example.com", "a.b.c.example.com"));
        assert!(!covers("**.example.com", "notexample.com"));
        assert!(covers("s3.*.example.com", "s3.eu-1.example.com"));
        assert!(covers("api-*.example.com", "api-.example.com"));
        assert!(!covers("api-*.example.com", "api-x.y.example.com"));
        assert!(!covers("**.example.com", "a..example.com"));
    }

    #[test]
    fn a_name_is_read_as_dns_has_it() {
        let text = |text| NamePattern::parse(text, 0).unwrap().text();
        assert_eq!(text("EXAMPLE.com."), "example.com");
        assert_eq!(text("bücher.example"), "xn--bcher-kva.example");
        assert_eq!(text("_dmarc.Example.com"), "_dmarc.example.com");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let refused = |text: &str| NamePattern::parse(text, 0).unwrap_err().message;
        assert!(refused("a..b").contains("empty"));
        assert!(refused("a b.c").contains("is in no host name"));
        assert!(refused("a.**.c").contains("and first"));
        assert!(refused("example.*").contains("last label"));
        assert!(refused("**").contains("last label"));
        assert!(refused(&format!("{}.com", "a".repeat(64))).contains("63"));
        assert!(refused(&"a.".repeat(127)).contains("253"));
    }
}
