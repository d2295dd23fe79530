//! Symbolic links in the literal beginning of a rule: rules are matched against the path that the kernel resolved, and
//! `/bin/sh` is never one where `/bin` is a link.

use std::borrow::Cow;

use super::glob::Glob;

/// Most links that one path may lead over (`MAXSYMLINKS`, include/linux/namei.h).
const MOST_LINKS: usize = 40;

/// What a path names, links not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Nothing, or nothing that can be seen.
    Missing,
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(Vec<u8>),
    /// Anything else.
    Other,
}

/// What looks at a path, links not followed: the file system, or a test's.
pub type Look<'a> = &'a dyn Fn(&[u8]) -> Entry;

/// A link that was met, by its own resolved path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it is.
    pub path: Vec<u8>,
    /// What it says.
    pub target: Vec<u8>,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    /// Components of the path behind all links.
    pub(super) names: Vec<Cow<'a, [u8]>>,
    /// The links, in order.
    pub(super) links: Vec<Link>,
    /// Whether it is a directory.
    pub(super) is_directory: bool,
    /// It leads over a link that leads each process elsewhere, or over too many.
    pub(super) is_endless: bool,
}

/// Whether rules follow a link at `path`: where one in `/proc` leads is each process's own affair, and changes nothing.
#[must_use]
pub fn is_followed(path: &[u8]) -> bool {
    !path.starts_with(b"/proc/")
}

/// Where `path` leads: what the kernel makes of it, as far as `look` can tell.
#[must_use]
pub fn follow(path: &[u8], look: Look<'_>) -> Vec<u8> {
    let names = path.split(|&byte| byte == b'/').map(Cow::Borrowed);
    let resolved = resolve_names(names.rev().collect(), look);
    if resolved.is_endless {
        return path.to_vec();
    }
    let mut followed = Vec::new();
    for name in &resolved.names {
        push(&mut followed, name);
    }
    if followed.is_empty() {
        b"/".to_vec()
    } else {
        followed
    }
}

/// Follows the links in the literal beginning of `glob`.
pub(super) fn resolve<'a>(glob: &'a Glob, look: Look<'_>) -> Resolved<'a> {
    let names = glob.literal_components().into_iter().rev();
    resolve_names(names.map(Cow::Borrowed).collect(), look)
}

/// Follows the links in the path whose components `rest` has, the first one last.
fn resolve_names<'a>(mut rest: Vec<Cow<'a, [u8]>>, look: Look<'_>) -> Resolved<'a> {
    let mut resolved = Resolved {
        names: Vec::new(),
        links: Vec::new(),
        is_directory: true,
        is_endless: false,
    };
    let mut is_gone = false;
    // What the names come to.
    let mut path = Vec::new();
    while let Some(name) = rest.pop() {
        match &*name {
            b"" | b"." => continue,
            b".." => {
                pop(&mut resolved.names, &mut path);
                continue;
            }
            _ => {
                push(&mut path, &name);
                resolved.names.push(name);
            }
        }
        if is_gone {
            continue;
        }
        match look(&path) {
            Entry::Directory => resolved.is_directory = true,
            Entry::Other => resolved.is_directory = false,
            Entry::Missing => {
                resolved.is_directory = false;
                is_gone = true;
            }
            Entry::Link(target) => {
                let is_last = !is_followed(&path) || resolved.links.len() == MOST_LINKS;
                let link = Link {
                    path: path.clone(),
                    target,
                };
                if is_last {
                    resolved.links.push(link);
                    resolved.is_endless = true;
                    return resolved;
                }
                pop(&mut resolved.names, &mut path);
                if link.target.starts_with(b"/") {
                    resolved.names.clear();
                    path.clear();
                }
                let parts = link.target.split(|&byte| byte == b'/').rev();
                rest.extend(parts.map(|part| Cow::Owned(part.to_vec())));
                resolved.links.push(link);
            }
        }
    }
    resolved
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    path.push(b'/');
    path.extend_from_slice(name);
}

fn pop(names: &mut Vec<Cow<'_, [u8]>>, path: &mut Vec<u8>) {
    if let Some(name) = names.pop() {
        path.truncate(path.len() - name.len() - 1);
    }
}
