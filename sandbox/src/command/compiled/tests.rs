use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;

use tempfile::TempDir;

use super::*;
use crate::profile::{Right, Rule};

const OWN: &str = "version = 1\nextends = [\"./other.toml\", \"base\"]\n[files]\nread = [\"/data/**\", \"${HOME}/x\"]\n";
const OTHER: &str = "version = 1\n[files]\nwrite = [\"/out/**\"]\n";

#[derive(Default)]
struct Kept(RefCell<HashMap<Key, Vec<u8>>>);

impl Kept {
    fn lend<T>(&self, to: impl FnOnce(Memory<'_>) -> T) -> T {
        to(Memory {
            recall: &|key| self.0.borrow().get(key).cloned(),
            keep: &|key, value| {
                self.0.borrow_mut().insert(*key, value.to_vec());
            },
        })
    }

    /// What was kept for this world, and the rules behind it.
    fn recall(&self, world: &World) -> Option<(Policy, Source)> {
        let source = world.source();
        let look = |path: &[u8]| world.look(path);
        let policy = self.lend(|memory| source.recall(&look, memory))?;
        Some((policy, source))
    }

    fn compile(&self, world: &World) -> Policy {
        let look = |path: &[u8]| world.look(path);
        self.lend(|memory| world.source().compile(&look, memory))
            .unwrap()
    }
}

/// A directory with two profiles, and what else there is.
struct World {
    directory: TempDir,
    paths: HashMap<Vec<u8>, Entry>,
    home: &'static str,
    flags: &'static [(Right, &'static str)],
    more: &'static [&'static str],
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("own.toml"), OWN).unwrap();
        fs::write(directory.path().join("other.toml"), OTHER).unwrap();
        let paths = [
            ("/data", Entry::Link(b"store".to_vec())),
            ("/store", Entry::Directory),
            ("/proc", Entry::Directory),
            ("/proc/self", Entry::Link(b"1".to_vec())),
            ("/flag", Entry::Other),
        ];
        let paths = paths.map(|(path, entry)| (path.as_bytes().to_vec(), entry));
        Self {
            directory,
            paths: paths.into(),
            home: "/home/u",
            flags: &[(Right::Read, "/flag")],
            more: &[],
        }
    }

    fn set(&mut self, path: &str, entry: Entry) {
        self.paths.insert(path.as_bytes().to_vec(), entry);
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn source(&self) -> Source {
        let flag = |(right, path): &(Right, &str)| {
            Rule::from_command_line(*right, OsStr::new(path), Path::new("/")).unwrap()
        };
        let own = self.directory.path().join("own.toml").into_os_string();
        let wanted = Wanted {
            profiles: [own]
                .into_iter()
                .chain(self.more.iter().map(OsString::from))
                .collect(),
            command_line: CommandLine {
                rules: self.flags.iter().map(flag).collect(),
                ..CommandLine::default()
            },
            variables: Variables::new().with("HOME", self.home).with("UID", "7"),
        };
        Source::new(wanted)
    }

    fn look(&self, path: &[u8]) -> Entry {
        self.paths.get(path).cloned().unwrap_or(Entry::Missing)
    }
}

fn rights(policy: &Policy) -> Vec<u8> {
    let paths: [&[u8]; 7] = [
        b"/data/a",
        b"/store/a",
        b"/elsewhere/a",
        b"/home/u/x",
        b"/home/v/x",
        b"/out/a",
        b"/flag",
    ];
    let rights = |path: &[u8]| policy.files.automaton.rights(path);
    paths.into_iter().map(rights).collect()
}

#[test]
fn what_is_as_it_was_is_not_read_as_rules_again() {
    let (world, kept) = (World::new(), Kept::default());
    assert!(kept.recall(&world).is_none());
    let compiled = kept.compile(&world);
    let (recalled, source) = kept.recall(&world).unwrap();
    assert_eq!(format!("{recalled:?}"), format!("{compiled:?}"));
    assert!(source.effective.get().is_none() && source.explainer.get().is_none());
}

#[test]
fn whoever_asks_is_told_by_the_rules_that_were_compiled() {
    let (world, kept) = (World::new(), Kept::default());
    kept.compile(&world);
    let (_, source) = kept.recall(&world).unwrap();
    // Gone and changed by the time somebody asks.
    fs::remove_file(world.directory.path().join("own.toml")).unwrap();
    world.write("other.toml", "version = 1\n[files]\nwrite = []\n");
    let explainer = source.explainer().unwrap();
    let paths: [&[u8]; 3] = [b"/store/a", b"/out/a", b"/etc/shadow"];
    let told = paths.map(|path| explainer.explain(path, Right::Write));
    assert_eq!(told.each_ref().map(|one| one.allowed), [false, true, false]);
    let rule = told[1].rule.as_ref().unwrap();
    assert!(rule.origin.ends_with("other.toml:3:10"), "{}", rule.origin);
}

#[test]
fn whatever_it_depends_on_is_noticed() {
    type Change = (&'static str, fn(&mut World));
    let changes: [Change; 14] = [
        ("the profile's text", |world| {
            world.write("own.toml", &OWN.replace("/data/**", "/data/*"));
        }),
        ("a comment in it, by which places move", |world| {
            world.write("own.toml", &format!("# mine\n{OWN}"));
        }),
        ("what it extends", |world| {
            world.write("other.toml", &OTHER.replace("/out", "/elsewhere"));
        }),
        ("what it extends is gone", |world| {
            fs::remove_file(world.directory.path().join("other.toml")).unwrap();
        }),
        ("what it extends is the same in another place", |world| {
            let directory = world.directory.path();
            fs::rename(directory.join("other.toml"), directory.join("third.toml")).unwrap();
            std::os::unix::fs::symlink("third.toml", directory.join("other.toml")).unwrap();
        }),
        ("another profile beside it", |world| world.more = &["git"]),
        ("a flag", |world| world.flags = &[(Right::Write, "/flag")]),
        ("a flag that is gone", |world| world.flags = &[]),
        ("a flag's file, which is a directory now", |world| {
            world.set("/flag", Entry::Directory);
        }),
        ("a variable", |world| world.home = "/home/v"),
        ("where a link leads", |world| {
            world.set("/data", Entry::Link(b"elsewhere".to_vec()));
        }),
        ("a link that is a directory now", |world| {
            world.set("/data", Entry::Directory);
        }),
        ("what is behind a link", |world| {
            world.set("/store", Entry::Link(b"elsewhere".to_vec()));
        }),
        ("what was not there", |world| {
            world.set("/out", Entry::Link(b"elsewhere".to_vec()));
        }),
    ];
    for (what, change) in changes {
        let (mut world, kept) = (World::new(), Kept::default());
        kept.compile(&world);
        assert!(kept.recall(&world).is_some(), "{what}");
        change(&mut world);
        assert!(kept.recall(&world).is_none(), "{what}");
    }
}

#[test]
fn a_change_and_its_way_back_are_two_worlds() {
    let (mut world, kept) = (World::new(), Kept::default());
    let before = rights(&kept.compile(&world));
    world.set("/data", Entry::Link(b"elsewhere".to_vec()));
    let after = rights(&kept.compile(&world));
    assert_ne!(before, after);
    assert_eq!(rights(&kept.recall(&world).unwrap().0), after);
    world.set("/data", Entry::Link(b"store".to_vec()));
    // The list of what was looked at is that of the other world, in which nothing is known of `/store`.
    let known = kept.recall(&world).map(|(policy, _)| policy);
    let now = known.unwrap_or_else(|| kept.compile(&world));
    assert_eq!(rights(&now), before);
}

#[test]
fn where_a_link_in_proc_leads_does_not_matter() {
    let (mut world, kept) = (World::new(), Kept::default());
    let compiled = kept.compile(&world);
    world.set("/proc/self", Entry::Link(b"2".to_vec()));
    let (recalled, _) = kept.recall(&world).unwrap();
    assert_eq!(format!("{recalled:?}"), format!("{compiled:?}"));
    world.set("/proc/self", Entry::Directory);
    assert!(kept.recall(&world).is_none());
}

#[test]
fn what_was_not_kept_like_this_is_not_taken() {
    let (world, kept) = (World::new(), Kept::default());
    kept.compile(&world);
    let whole = kept.0.borrow().clone();
    for key in whole.keys() {
        for damaged in [&b""[..], b"e/data", b"x/data\0", b"{}", b"\0"] {
            kept.0.borrow_mut().clone_from(&whole);
            kept.0.borrow_mut().insert(*key, damaged.to_vec());
            assert!(kept.recall(&world).is_none(), "{damaged:?}");
        }
        kept.0.borrow_mut().clone_from(&whole);
        kept.0.borrow_mut().remove(key);
        assert!(kept.recall(&world).is_none());
    }
}
