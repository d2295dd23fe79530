//! Programs and files as trees.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_abi::rights::{EXEC, WRITE};
use serde::Serialize;

use super::printable;
use crate::trace::Record;

/// Kinds of acts, by the letter that the page's style knows: reading, writing, executing, and what has no path.
pub(super) const CLASSES: [&str; 4] = ["r", "w", "x", "n"];

/// A program, what it did, and whom it executed.
#[derive(Serialize)]
pub(super) struct Program {
    path: String,
    acts: usize,
    times: u64,
    open: bool,
    /// How many acts of each kind.
    counts: Vec<(&'static str, usize)>,
    did: Vec<Did>,
    children: Vec<Program>,
}

/// One kind of act.
#[derive(Serialize)]
struct Did {
    what: String,
    subject: String,
    class: &'static str,
    times: u64,
}

/// A file or directory.
#[derive(Serialize)]
pub(super) struct Place {
    name: String,
    path: String,
    rights: Vec<char>,
    times: u64,
    below: usize,
    open: bool,
    children: Vec<Place>,
}

/// Who acted, for people.
pub(super) fn program(record: &Record) -> String {
    let path = record.program.as_ref().map(ToString::to_string);
    path.map_or_else(|| "(unknown)".to_owned(), |path| printable(&path))
}

/// Every program once, below the first that executed it.
pub(super) fn programs(records: &[Record]) -> Vec<Program> {
    let mut acts: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    let mut children: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in records {
        acts.entry(program(record)).or_default().push(record);
    }
    for record in records.iter().filter(|record| record.what == "exec") {
        let executed = record
            .path
            .as_ref()
            .map(|path| printable(&path.to_string()));
        if let Some(executed) = executed.filter(|path| acts.contains_key(path)) {
            children
                .entry(program(record))
                .or_default()
                .insert(executed);
        }
    }
    let mut left: BTreeSet<String> = acts.keys().cloned().collect();
    let executed: BTreeSet<&String> = children
        .iter()
        .flat_map(|(by, all)| all.iter().filter(move |one| *one != by))
        .collect();
    let first: Vec<String> = left
        .iter()
        .filter(|one| !executed.contains(one))
        .cloned()
        .collect();
    let mut roots = Vec::new();
    for path in &first {
        roots.extend(grow(path, &acts, &children, &mut left));
    }
    // Those that executed each other.
    while let Some(path) = left.first().cloned() {
        roots.extend(grow(&path, &acts, &children, &mut left));
    }
    roots
}

fn grow(
    path: &str,
    acts: &BTreeMap<String, Vec<&Record>>,
    children: &BTreeMap<String, BTreeSet<String>>,
    left: &mut BTreeSet<String>,
) -> Option<Program> {
    if !left.remove(path) {
        return None;
    }
    let own = acts.get(path).map(Vec::as_slice).unwrap_or_default();
    let executed = children.get(path).into_iter().flatten();
    let of = |class: &&'static str| {
        own.iter()
            .filter(|record| self::class(record) == *class)
            .count()
    };
    let counts = CLASSES.iter().map(|class| (*class, of(class)));
    let mut did: Vec<_> = own.iter().map(|record| did(record)).collect();
    did.sort_by(|one, other| (one.class, &one.subject).cmp(&(other.class, &other.subject)));
    Some(Program {
        counts: counts.filter(|(_, count)| *count > 0).collect(),
        path: path.to_owned(),
        acts: own.len(),
        times: own.iter().map(|record| record.count).sum(),
        open: false,
        did,
        children: executed
            .filter_map(|one| grow(one, acts, children, left))
            .collect(),
    })
}

fn did(record: &Record) -> Did {
    let paths = [&record.path, &record.other].into_iter().flatten();
    let mut subject: Vec<_> = paths.map(|path| printable(&path.to_string())).collect();
    if let Some(peer) = &record.peer {
        let names = peer.names.iter().map(String::as_str);
        subject.extend(names.map(str::to_owned));
        subject.push(super::address(peer));
    }
    Did {
        what: record.what.clone(),
        subject: subject.join(", "),
        class: class(record),
        times: record.count,
    }
}

/// Which of [`CLASSES`] an act is of.
pub(super) fn class(record: &Record) -> &'static str {
    match record.rights.0 {
        rights if rights & WRITE != 0 => "w",
        rights if rights & EXEC != 0 => "x",
        0 => "n",
        _ => "r",
    }
}

/// Files by directory; a directory with nothing but another one in it stands in one line with that.
pub(super) fn files(records: &[Record]) -> Vec<Place> {
    let mut paths: BTreeMap<Vec<String>, (u8, u64)> = BTreeMap::new();
    for record in records {
        for path in [&record.path, &record.other].into_iter().flatten() {
            let text = printable(&path.to_string());
            if !text.starts_with('/') {
                continue;
            }
            let names = text.split('/').filter(|name| !name.is_empty());
            let known = paths.entry(names.map(str::to_owned).collect()).or_default();
            known.0 |= record.rights.0;
            known.1 += record.count;
        }
    }
    let all: Vec<_> = paths
        .iter()
        .map(|(names, &seen)| (names.as_slice(), seen))
        .collect();
    vec![place("/", "", 0, &all)]
}

/// The directory of the first `depth` names of all of `paths`, which are in order.
fn place(name: &str, path: &str, depth: usize, paths: &[(&[String], (u8, u64))]) -> Place {
    let (mut rights, mut times) = (0, 0);
    let mut rest = paths;
    if let Some(((names, seen), others)) = rest.split_first()
        && names.len() == depth
    {
        (rights, times) = *seen;
        rest = others;
    }
    let below = rest.len();
    let mut children = Vec::new();
    for inside in rest.chunk_by(|(one, _), (other, _)| one[depth] == other[depth]) {
        let name = &inside[0].0[depth];
        children.push(place(name, &format!("{path}/{name}"), depth + 1, inside));
    }
    if rights == 0 && depth > 0 && children.len() == 1 {
        let mut only = children.remove(0);
        only.name = format!("{name}/{}", only.name);
        return only;
    }
    Place {
        name: name.to_owned(),
        path: if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        },
        rights: [(1, 'r'), (2, 'w'), (4, 'x')]
            .into_iter()
            .filter_map(|(bit, letter)| (rights & bit != 0).then_some(letter))
            .collect(),
        times,
        below,
        open: depth == 0,
        children,
    }
}
