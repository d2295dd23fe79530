//! Paths as names behind a variable, and whose directories they are.

use std::{borrow::Borrow, collections::BTreeMap};

use crate::{profile::pattern::escape, trace::Text};

/// The values of the variables that paths are written with, the longest first.
pub(super) struct Places {
    values: Vec<(&'static str, Vec<u8>)>,
    /// The working directory, if it is a place of its own.
    pub(super) workspace: Option<Vec<u8>>,
    home: Option<Vec<u8>>,
}

/// A path: `${VARIABLE}` or nothing, then names as a profile writes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Names(pub(super) Vec<String>);

/// Ordered as the list of its names is.
impl Borrow<[String]> for Names {
    fn borrow(&self) -> &[String] {
        &self.0
    }
}

/// Which variables are used, and among equal values which first.
const VARIABLES: [&str; 5] = ["TMP", "HOME", "CWD", "CACHE", "CONFIG"];

/// Of the hidden directories in a home directory those in which things of many programs lie, and the one that says who may come in.
const EVERYBODYS: [&[u8]; 4] = [b".cache", b".config", b".local", b".ssh"];

impl Places {
    pub(super) fn new(variables: &BTreeMap<String, Text>) -> Self {
        let value = |name: &str| {
            let value = variables.get(name)?.bytes();
            let value = value.strip_suffix(b"/").unwrap_or(value);
            (value.len() > 1 && value.starts_with(b"/")).then(|| value.to_vec())
        };
        let mut values: Vec<_> = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, value(name)?)))
            .collect();
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let home = value("HOME");
        // A home directory is nobody's workspace: what is in it is not all of one project.
        let workspace = value("CWD")
            .filter(|directory| home.as_ref().is_none_or(|home| !is_below(home, directory)));
        Self {
            values,
            workspace,
            home,
        }
    }

    /// The path in names, before anything is generalised.
    pub(super) fn names(&self, path: &[u8]) -> Names {
        let found = self.values.iter().find(|(_, value)| is_below(path, value));
        let (first, rest) = match found {
            Some((name, value)) => (format!("${{{name}}}"), &path[value.len()..]),
            None => (String::new(), path),
        };
        let names = rest
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty());
        Names(std::iter::once(first).chain(names.map(escape)).collect())
    }

    /// Whether a pattern may stand for all of a directory's entries: not where everybody's things lie side by side.
    pub(super) fn is_one_things(&self, path: &[u8]) -> bool {
        let depth = path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
            .count();
        let in_home = self.home.as_ref().filter(|home| is_below(path, home));
        let is_workspace = self.is_in_workspace(path);
        let holds_home = self.home.as_ref().is_some_and(|home| is_below(home, path));
        let is_kernels = [&b"/proc"[..], b"/dev", b"/sys"]
            .iter()
            .any(|top| is_below(path, top));
        if is_workspace {
            return true;
        }
        if holds_home || (is_kernels && depth < 4) || is_shared(path) {
            return false;
        }
        match in_home {
            // `~/.cache/x` is one program's, and so is `~/.gnupg`; `~/.cache` is not.
            Some(home) => {
                let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
                let is_own = name.starts_with(b".") && !EVERYBODYS.contains(&name);
                let home = home
                    .split(|&byte| byte == b'/')
                    .filter(|name| !name.is_empty());
                let below = depth - home.count();
                below >= 2 || (below == 1 && is_own)
            }
            None => depth >= 2,
        }
    }

    /// Whether a path is the working directory or below, and that is a place of its own.
    pub(super) fn is_in_workspace(&self, path: &[u8]) -> bool {
        self.workspace
            .as_ref()
            .is_some_and(|workspace| is_below(path, workspace))
    }
}

/// Directories of the system in which things of many programs lie side by side.
fn is_shared(path: &[u8]) -> bool {
    let mut names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty());
    let (top, second, third) = (names.next(), names.next(), names.next());
    let shared: [&[u8]; 6] = [b"bin", b"sbin", b"lib", b"lib64", b"libexec", b"games"];
    let holds_programs = path
        .rsplit(|&byte| byte == b'/')
        .next()
        .is_some_and(|last| shared.contains(&last));
    match (top, second, third) {
        (Some(b"usr"), Some(b"local"), Some(_)) => names.next().is_none(),
        (Some(b"usr" | b"var"), _, None) | (_, None, _) => true,
        _ => holds_programs,
    }
}

/// Whether `path` is `directory` or below.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl Names {
    /// As a profile writes it.
    pub(super) fn text(&self) -> String {
        if self.0.len() == 1 && self.0[0].is_empty() {
            return "/".to_owned();
        }
        self.0.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(cwd: &str, home: &str) -> Places {
        let variables = [("CWD", cwd), ("HOME", home), ("TMP", "/tmp/ringfence-x")];
        Places::new(
            &variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        )
    }

    #[test]
    fn the_nearest_variable_is_used() {
        let places = places("/home/u/work", "/home/u");
        let text = |path: &str| places.names(path.as_bytes()).text();
        assert_eq!(text("/home/u/work/a"), "${CWD}/a");
        assert_eq!(text("/home/u/worker"), "${HOME}/worker");
        assert_eq!(text("/tmp/ringfence-x"), "${TMP}");
        assert_eq!(text("/usr/a[1]"), r"/usr/a\[1\]");
        assert_eq!(text("/"), "/");
    }

    #[test]
    fn a_home_directory_is_no_workspace() {
        assert!(places("/home/u", "/home/u").workspace.is_none());
        assert!(places("/", "/home/u").workspace.is_none());
        assert!(places("/home/u/work", "/home/u").workspace.is_some());
    }

    #[test]
    fn where_everybodys_things_lie_is_not_one_things() {
        let places = places("/home/u/work", "/home/u");
        let is = |path: &str| places.is_one_things(path.as_bytes());
        for shared in [
            "/",
            "/etc",
            "/home",
            "/home/u",
            "/home/u/.config",
            "/home/u/.ssh",
            "/home/u/notes",
            "/tmp",
            "/proc/1",
            "/dev/x",
        ] {
            assert!(!is(shared), "{shared}");
        }
        for own in [
            "/home/u/work",
            "/home/u/.cache/pip",
            "/home/u/.gnupg",
            "/usr/share/git",
            "/etc/ssl",
        ] {
            assert!(is(own), "{own}");
        }
    }
}
