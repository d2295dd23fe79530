//! The names of system calls and of their groups, as `[process] syscalls` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

const TABLE: &str = include_str!("syscalls.txt");
/// Stands before the names that are in no group.
const NO_GROUP: &str = "(none)";

/// Members by group; a member that begins with `@` is a group again.
static GROUPS: LazyLock<BTreeMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut group = NO_GROUP;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        if !line.starts_with(' ') {
            group = words.next().unwrap_or(NO_GROUP);
        }
        groups.entry(group).or_default().extend(words);
    }
    groups
});

/// Whether `name` is one of a call or of a group (`@...`).
///
/// # Errors
///
/// The nearest name of the same kind, if one is near.
pub fn check(name: &str) -> Result<(), Option<&'static str>> {
    let is_group = name.starts_with('@');
    let mut known: BTreeSet<&str> = if is_group {
        groups().collect()
    } else {
        GROUPS.values().flatten().copied().collect()
    };
    known.retain(|known| known.starts_with('@') == is_group);
    if known.contains(name) {
        Ok(())
    } else {
        Err(super::nearest(name, known.into_iter()))
    }
}

/// What `name` would be the name of.
#[must_use]
pub fn kind(name: &str) -> &'static str {
    if name.starts_with('@') {
        "group of system calls"
    } else {
        "system call"
    }
}

/// The groups, by name.
pub fn groups() -> impl Iterator<Item = &'static str> {
    GROUPS.keys().copied().filter(|name| *name != NO_GROUP)
}

/// Every call that can be listed.
#[must_use]
pub fn every() -> Vec<&'static str> {
    let calls: BTreeSet<_> = GROUPS.values().flatten().copied().collect();
    let calls = calls.into_iter();
    calls.filter(|name| !name.starts_with('@')).collect()
}

/// The calls that `names` stand for, groups spelled out, sorted. What [`check`] does not know is left out.
#[must_use]
pub fn expand(names: &[String]) -> Vec<&'static str> {
    let mut calls = BTreeSet::new();
    let known: BTreeSet<&'static str> = GROUPS.values().flatten().copied().collect();
    for name in names {
        match GROUPS.get_key_value(name.as_str()) {
            Some((group, _)) => add(group, &mut calls),
            None => calls.extend(known.get(name.as_str())),
        }
    }
    calls.into_iter().collect()
}

/// Groups lie in each other without circles: a test sees to that.
fn add(group: &str, calls: &mut BTreeSet<&'static str>) {
    for &member in GROUPS.get(group).into_iter().flatten() {
        if member.starts_with('@') {
            add(member, calls);
        } else {
            calls.insert(member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        expand(&names)
    }

    #[test]
    fn groups_lie_in_each_other() {
        let calls = expanded(&["@system-service"]);
        for call in ["read", "openat", "execve", "futex", "sendfile", "mremap"] {
            assert!(calls.contains(&call), "{call}");
        }
        for call in ["mount", "bpf", "reboot", "ptrace"] {
            assert!(!calls.contains(&call), "{call}");
        }
        assert!(calls.is_sorted() && calls.iter().all(|call| !call.starts_with('@')));
    }

    #[test]
    fn every_group_has_members_that_are_known_and_none_is_in_itself() {
        assert_eq!(groups().count(), 28);
        for group in groups() {
            let mut inside = BTreeSet::from([group]);
            let mut open = vec![group];
            while let Some(outer) = open.pop() {
                let members = &GROUPS[outer];
                assert!(!members.is_empty(), "{outer}");
                for &member in members.iter().filter(|member| member.starts_with('@')) {
                    assert_ne!(member, group, "{group} is in itself");
                    assert!(GROUPS.contains_key(member), "{member}");
                    if inside.insert(member) {
                        open.push(member);
                    }
                }
            }
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_of_its_kind() {
        assert_eq!(check("openat"), Ok(()));
        assert_eq!(check("@network-io"), Ok(()));
        assert_eq!(check("opnat"), Err(Some("openat")));
        assert_eq!(check("@network"), Err(Some("@network-io")));
        assert_eq!(check("(none)"), Err(None));
        assert_eq!(check("everything at all"), Err(None));
    }
}
