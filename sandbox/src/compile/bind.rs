//! Rules with their variables filled in and their links followed: what the automaton is built of, and what explanations
//! and `profile show` speak of.

use std::cell::RefCell;
use std::sync::OnceLock;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};
use rustc_hash::FxHashMap;

use super::glob::Glob;
use super::resolve::{Link, Look, resolve};
use crate::profile::{Error, Right, Rule, Variables};

/// A rule and all that it covers.
#[derive(Debug)]
pub struct Bound {
    /// The rule as it was written.
    pub rule: Rule,
    /// Its patterns: as written, and where links lead.
    pub covers: Vec<Cover>,
    /// Links that were not followed, and why.
    pub unfollowed: Vec<Unfollowed>,
}

/// One pattern that a rule covers.
#[derive(Debug)]
pub struct Cover {
    /// The pattern.
    pub glob: Glob,
    /// The links that led here; none for what was written.
    pub links: Vec<Link>,
    matcher: OnceLock<Option<Regex>>,
}

/// A link that a rule does not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfollowed {
    /// The link.
    pub link: Link,
    /// Why, as the end of a sentence.
    pub reason: &'static str,
}

/// Links are followed only where nobody who is fenced can have made them.
const WRITABLE: &str =
    "the profile lets programs write there, so that one of them may have made it";
/// A link in `/proc`, or a circle.
const ENDLESS: &str = "it leads each process elsewhere, or in a circle";

impl Cover {
    pub(super) fn new(glob: Glob, links: Vec<Link>) -> Self {
        Self {
            glob,
            links,
            matcher: OnceLock::new(),
        }
    }

    /// Whether `path` is covered: asked of the regular expression library, not of the automaton.
    #[must_use]
    pub fn covers(&self, path: &[u8]) -> bool {
        let mut rest = path;
        for name in self.glob.literal_components() {
            match rest
                .strip_prefix(b"/")
                .and_then(|rest| rest.strip_prefix(name))
            {
                Some(left) => rest = left,
                None => return false,
            }
        }
        let matcher = self.matcher.get_or_init(|| {
            Regex::builder()
                .configure(Regex::config().utf8_empty(false))
                .build_from_hir(&self.glob.matcher())
                .ok()
        });
        // A pattern that the library refuses has been refused by the compiler before.
        matcher
            .as_ref()
            .is_some_and(|matcher| matcher.is_match(Input::new(path).anchored(Anchored::Yes)))
    }
}

impl Bound {
    /// Whether one of its patterns covers `path`.
    #[must_use]
    pub fn covers(&self, path: &[u8]) -> bool {
        self.covers.iter().any(|cover| cover.covers(path))
    }
}

/// Fills in variables and follows links of every one of `rules`, which are all of a profile, its programs' among them.
///
/// An allow rule follows a link only if the profile's write rules do not reach the link itself: what was fenced before
/// may have planted it, whichever program that was. A deny rule always follows.
///
/// # Errors
///
/// Of a variable or rule that has no meaning here.
pub(super) fn bind<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    variables: &Variables,
    look: Look<'_>,
) -> Result<Vec<Bound>, Error> {
    // Rules share most of their directories, and see them all as they were at one time.
    let seen = RefCell::new(FxHashMap::default());
    let look = |path: &[u8]| {
        let known = seen.borrow().get(path).cloned();
        known.unwrap_or_else(|| {
            let entry = look(path);
            seen.borrow_mut().insert(path.to_vec(), entry.clone());
            entry
        })
    };
    let mut bound = rules
        .map(|rule| bind_rule(rule, variables, &look))
        .collect::<Result<Vec<_>, _>>()?;
    drop_planted(&mut bound);
    Ok(bound)
}

/// One rule, all links followed.
fn bind_rule(rule: &Rule, variables: &Variables, look: Look<'_>) -> Result<Bound, Error> {
    let mut bound = Bound {
        rule: rule.clone(),
        covers: Vec::with_capacity(1),
        unfollowed: Vec::new(),
    };
    for pattern in rule.patterns.iter() {
        let mut glob = Glob::new(rule, pattern, variables)?;
        let resolved = resolve(&glob, look);
        let is_subtree = rule.directory_is_subtree && glob.is_literal() && resolved.is_directory;
        if resolved.is_endless {
            let reason = ENDLESS;
            let links = resolved.links.into_iter();
            bound
                .unfollowed
                .extend(links.map(|link| Unfollowed { link, reason }));
        } else if !resolved.links.is_empty() {
            let replaced = glob.literal_components().len();
            let mut behind = glob.with_prefix(replaced, &resolved.names);
            behind.subtree |= is_subtree;
            bound.covers.push(Cover::new(behind, resolved.links));
        }
        glob.subtree |= is_subtree;
        bound.covers.push(Cover::new(glob, Vec::new()));
    }
    Ok(bound)
}

/// Takes back what allow rules cover behind links that a fenced program may have made.
fn drop_planted(bound: &mut [Bound]) {
    // Deny rules are not subtracted, and links count as followed: rather one link too few is followed.
    let planted: Vec<Vec<Vec<bool>>> = bound
        .iter()
        .map(|one| {
            let covers = one.covers.iter();
            covers.map(|cover| writable(&cover.links, bound)).collect()
        })
        .collect();
    for (one, planted) in bound.iter_mut().zip(planted) {
        if one.rule.right == Right::Deny {
            continue;
        }
        let mut kept = Vec::with_capacity(one.covers.len());
        for (cover, planted) in one.covers.drain(..).zip(planted) {
            if !planted.contains(&true) {
                kept.push(cover);
                continue;
            }
            let links = cover.links.into_iter().zip(planted);
            one.unfollowed
                .extend(
                    links
                        .filter(|(_, planted)| *planted)
                        .map(|(link, _)| Unfollowed {
                            link,
                            reason: WRITABLE,
                        }),
                );
        }
        one.covers = kept;
    }
}

/// For each of `links` whether a write rule covers it.
fn writable(links: &[Link], bound: &[Bound]) -> Vec<bool> {
    let covered = |link: &Link| {
        bound
            .iter()
            .filter(|one| one.rule.right == Right::Write)
            .any(|one| one.covers(&link.path))
    };
    links.iter().map(covered).collect()
}
