//! Which rule decides about a path, and why. Asks every rule by itself, with the regular expression library: slower than
//! the automaton and independent of it, so that tests compare both.

use ringfence_abi::rights;
use serde::Serialize;

use super::bind::Bound;
use crate::policy::Mode;
use crate::profile::{Effective, Right, pattern};

/// The rules of one run, to be asked.
#[derive(Debug)]
pub struct Explainer {
    /// Name of the profile.
    pub profile: String,
    /// What a denial does.
    pub mode: Mode,
    /// The rules with all that they cover.
    pub rules: Vec<Bound>,
}

/// Why a path may or may not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The path, bytes that are not UTF-8 replaced.
    pub path: String,
    /// What was asked for.
    pub right: Right,
    /// The answer, whatever the section's mode makes of it.
    pub allowed: bool,
    /// What the section does with a denial.
    pub mode: Mode,
    /// The rule that decides, if one does.
    pub rule: Option<Deciding>,
    /// What else helps to understand it.
    pub hint: Option<String>,
    /// What to paste to allow it, if it is denied and that would help.
    pub suggestion: Option<Suggestion>,
}

/// The rule that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deciding {
    /// What it grants or takes.
    pub right: Right,
    /// As it was written.
    pub text: String,
    /// What of it covers the path, variables filled in.
    pub covers: String,
    /// Where it was written.
    pub origin: String,
    /// Why, in its author's words.
    pub because: Option<String>,
    /// A denial by it is no news.
    pub expected: bool,
}

/// The least that allows one path, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// A line for the `[files]` section.
    pub profile: String,
    /// Arguments for the command line, quoted for a shell.
    pub flag: String,
}

impl Explainer {
    pub(super) fn new(effective: &Effective, rules: Vec<Bound>) -> Self {
        Self {
            profile: effective.name.clone(),
            mode: effective.files_mode,
            rules,
        }
    }

    /// The rights of `path`, an absolute path without a slash at its end: what the automaton has to answer.
    #[must_use]
    pub fn rights(&self, path: &[u8]) -> u8 {
        let mut granted = 0;
        for bound in &self.rules {
            // A rule about a right that is granted already changes nothing.
            let bits = bound.rule.right.bits();
            let is_deny = bound.rule.right == Right::Deny;
            if (!is_deny && granted & bits != 0) || !bound.covers(path) {
                continue;
            }
            if is_deny {
                return 0;
            }
            granted |= bits;
        }
        granted & rights::ALL
    }

    /// Which rule decides whether `path` may be used for `right`. For [`Right::Deny`] the answer is about no right at all:
    /// whether a deny rule covers it.
    #[must_use]
    pub fn explain(&self, path: &[u8], right: Right) -> Explanation {
        let denying = self.first(path, Right::Deny);
        let allowing = self.first(path, right).filter(|_| right != Right::Deny);
        let allowed = denying.is_none() && allowing.is_some();
        let hint = match &denying {
            Some(rule) => Some(format!(
                "a deny rule beats every allow rule; change it at {}",
                rule.origin
            )),
            None if allowed => None,
            None => self.nearly(path, right),
        };
        let suggestion = (!allowed && denying.is_none() && right != Right::Deny)
            .then(|| Suggestion::new(path, right));
        Explanation {
            path: String::from_utf8_lossy(path).into_owned(),
            right,
            allowed,
            mode: self.mode,
            rule: denying.or(allowing),
            hint,
            suggestion,
        }
    }

    /// The first rule of `right` that covers `path`.
    fn first(&self, path: &[u8], right: Right) -> Option<Deciding> {
        let mut of_right = self.rules.iter().filter(|bound| bound.rule.right == right);
        of_right.find_map(|bound| {
            let cover = bound.covers.iter().find(|cover| cover.covers(path))?;
            Some(Deciding {
                right,
                text: bound.rule.shown(),
                covers: cover.glob.text(),
                origin: bound.rule.origin.to_string(),
                because: bound.rule.because.clone(),
                expected: bound.rule.expected,
            })
        })
    }

    /// What a rule that does not cover `path` would have to be like.
    fn nearly(&self, path: &[u8], right: Right) -> Option<String> {
        let of_right = || self.rules.iter().filter(|bound| bound.rule.right == right);
        for bound in of_right() {
            for one in &bound.unfollowed {
                let inside = path.starts_with(&one.link.target);
                if inside {
                    return Some(format!(
                        "rule `{}` ({}) leads there over the link `{}`, which is not followed: {}",
                        bound.rule.shown(),
                        bound.rule.origin,
                        String::from_utf8_lossy(&one.link.path),
                        one.reason,
                    ));
                }
            }
            for cover in &bound.covers {
                if cover.glob.is_literal()
                    && !cover.glob.subtree
                    && is_below(path, &cover.glob.text())
                {
                    return Some(format!(
                        "rule `{0}` ({1}) covers the directory alone; `{0}/**` covers what is in it",
                        bound.rule.shown(),
                        bound.rule.origin,
                    ));
                }
            }
        }
        None
    }
}

fn is_below(path: &[u8], directory: &str) -> bool {
    pattern::escape(path)
        .strip_prefix(directory.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/'))
        && directory != "/"
}

impl Suggestion {
    /// What allows `path` alone to be used for `right`.
    #[must_use]
    pub fn new(path: &[u8], right: Right) -> Self {
        let text = pattern::escape(path);
        let quoted = shlex::try_quote(&text).map_or_else(|_| text.clone(), Into::into);
        Self {
            profile: format!("{right} = [{}]", toml::Value::String(text.clone())),
            flag: format!("--{right} {quoted}"),
        }
    }
}
