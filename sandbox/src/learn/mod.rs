//! Learning: a trace becomes a profile, with the evidence for each rule.
//!
//! ```text
//! Trace --needs--> paths and rights --generalise, fold--> rules --render--> TOML with evidence as comments
//!                                                           ^                        |
//!                                                         merge <-------- read ------+
//! ```
//!
//! Pure: what the shipped profiles cover and where secrets lie comes in as automata ([`Surroundings`]).
//!
//! Generalised is what would be another path in the next run of the same command (docs/learn.md has all of it). What holds
//! a secret is neither allowed nor covered by a pattern: it becomes a question, for a person to answer.

#![forbid(unsafe_code)]

mod abstract_name;
mod evidence;
mod fold;
mod learned;
mod merge;
mod needs;
mod peers;
mod place;
mod ports;
mod read;
mod render;
mod volatile;

pub use evidence::Evidence;
pub use learned::{Learned, Question, Run};
pub use merge::Conflict;
pub use needs::{is_making, is_removing};
pub use read::{Unreadable, read};
pub use render::render;

use std::collections::{BTreeMap, BTreeSet};

use ringfence_abi::rights::{EXEC, READ, WRITE};

use crate::{
    policy::Automaton,
    profile::{NetworkRight, Right},
    trace::{Text, Trace},
};
use fold::{Folding, fold};
use needs::{Need, needs};
use place::Places;

/// How far a profile goes beyond what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Not at all, but for what cannot be the same again: process numbers, the private temporary directory.
    Tight,
    /// To what the next run of the same command will touch.
    #[default]
    Default,
    /// To whole trees, and to shipped profiles that cover some of it.
    Loose,
}

/// What the learner has to know of the world.
pub struct Surroundings<'a> {
    /// Shipped profiles that may be extended, with what each allows here.
    pub shipped: Vec<(String, Automaton)>,
    /// Those that are extended in any case.
    pub base: BTreeSet<String>,
    /// Gives the right to read to every path where a secret lies.
    pub secrets: Automaton,
    /// What kind of secret lies at a path.
    pub secret: &'a dyn Fn(&[u8]) -> String,
    /// Whether secrets are allowed like anything else.
    pub accept_secrets: bool,
    /// How far to go.
    pub level: Level,
}

/// How a trace names the recorder that stands at the hooks of a fence ([`crate::trace::Facts::recorder`]).
pub(crate) const BY_HOOKS: &str = "hooks";
/// And that by the system calls, which knows who did it by the number of the process.
const BY_CALLS: &str = "system-calls";
/// How many needs a shipped profile has to cover, beyond those that are extended already, to be extended itself.
const WORTH_EXTENDING: usize = 5;

/// The profile that `trace` needs.
#[must_use]
pub fn learn(trace: &Trace, surroundings: &Surroundings<'_>) -> Learned {
    let places = Places::new(&trace.facts.variables);
    let mut needs = needs(trace);
    if surroundings.level != Level::Tight {
        needs::written_below("CACHE", trace, &mut needs);
        if trace.facts.recorder != BY_HOOKS {
            needs::written_below("CWD", trace, &mut needs);
        }
    }
    let mut learned = Learned::of_run(trace);
    let extended = choose(&needs, surroundings);
    learned.extends = extended.iter().map(|(name, _)| name.clone()).collect();
    let mut open: BTreeMap<&[u8], Need> = BTreeMap::new();
    for (path, need) in &needs {
        let covered = extended.iter().fold(0, |covered, (_, automaton)| {
            covered | automaton.rights(path)
        });
        let mut left = need.clone();
        left.retain(!covered);
        if left.rights() == 0 {
            continue;
        }
        let is_secret = surroundings.secrets.rights(path) & READ != 0;
        if is_secret && !surroundings.accept_secrets {
            let because = (surroundings.secret)(path);
            learned.ask(&places, (path, &left), &because, surroundings.level);
        } else {
            open.insert(path, left);
        }
    }
    let holds_secret =
        |path: &[u8]| !surroundings.accept_secrets && surroundings.secrets.below(path) & READ != 0;
    let mut on_the_way = BTreeMap::new();
    // The hooks tell directories apart; a profile that says no more than what was seen does without where it can.
    if surroundings.level != Level::Tight || trace.facts.recorder != BY_HOOKS {
        on_the_way = needs::on_the_way(trace, needs.keys().map(Vec::as_slice));
        on_the_way.retain(|path, _| {
            let covered = extended
                .iter()
                .any(|(_, automaton)| automaton.rights(path) & READ != 0);
            !covered && surroundings.secrets.rights(path) & READ == 0
        });
    }
    let made = |path: &[u8]| needs.get(path).is_some_and(|need| need.made);
    let folding = Folding {
        places: &places,
        on_the_way: &on_the_way,
        level: surroundings.level,
        holds_secret: &holds_secret,
        made: &made,
    };
    for (bit, right) in [
        (READ, Right::Read),
        (WRITE, Right::Write),
        (EXEC, Right::Exec),
    ] {
        for (text, evidence) in fold(&open, bit, &folding) {
            learned.rules.insert((right, text), evidence);
        }
    }
    if surroundings.level != Level::Tight {
        read_what_is_written_and_found_again(&mut learned);
    }
    learned.add_rest(trace, surroundings.level);
    if learned.network.is_none() {
        reach(&mut learned, trace, surroundings, &folding);
    }
    learned
}

/// Says at which paths and by which abstract names Unix sockets are reached, and made. By the hooks a rule by which the file may be written does, and
/// a name of the run's own needs none; an engine without them has to know whether it is to look at connections at all.
fn reach(
    learned: &mut Learned,
    trace: &Trace,
    surroundings: &Surroundings<'_>,
    folding: &Folding<'_>,
) {
    let mut sockets = needs::sockets(trace);
    sockets.retain(|path, _| {
        surroundings.accept_secrets || surroundings.secrets.rights(path) & READ == 0
    });
    for (text, evidence) in fold(&sockets, WRITE, folding) {
        learned.peers.insert((NetworkRight::Unix, text), evidence);
    }
    for (name, (own, evidence)) in needs::abstract_names(trace) {
        let rule = abstract_name::rule(name, own, surroundings.level);
        let all = learned.peers.entry((NetworkRight::Unix, rule));
        all.or_default().add(&evidence);
    }
}

/// A directory below which everything may be written may be read where the next run looks for what this one has made in it:
///
/// - it is listed; an engine that gives the right to list for a whole tree has no other way to give it;
/// - what was made somewhere in it is read, as in a store whose directories are called by a hash, which has others the next time;
/// - it is a cache, or lies in the working directory.
fn read_what_is_written_and_found_again(learned: &mut Learned) {
    let rules = &learned.rules;
    let is_found = |directory: &str| {
        let inside = format!("{directory}/");
        let mut read = rules.keys().filter(|(right, _)| *right == Right::Read);
        read.any(|(_, text)| {
            text == directory || text.starts_with(&inside) && text.ends_with("/**")
        })
    };
    let is_kept = |directory: &str| {
        ["${CWD}/", "${CACHE}/"]
            .iter()
            .any(|place| format!("{directory}/").starts_with(place))
    };
    let trees: Vec<_> = rules
        .iter()
        .filter(|((right, _), _)| *right == Right::Write)
        .filter_map(|((_, text), evidence)| Some((text.strip_suffix("/**")?, evidence)))
        .filter(|(directory, _)| is_found(directory) || is_kept(directory))
        .map(|(directory, evidence)| (directory.to_owned(), evidence.clone()))
        .collect();
    for (directory, written) in trees {
        let inside = format!("{directory}/");
        let mut all = Evidence::default();
        learned.rules.retain(|(right, text), evidence| {
            let covered =
                *right == Right::Read && (*text == directory || text.starts_with(&inside));
            if covered {
                all.add(evidence);
            }
            !covered
        });
        if all.runs.is_empty() {
            all = written;
        }
        learned
            .rules
            .insert((Right::Read, format!("{directory}/**")), all);
    }
}

/// The shipped profiles to extend, with what they allow.
fn choose<'a>(
    needs: &BTreeMap<Vec<u8>, Need>,
    surroundings: &'a Surroundings<'_>,
) -> Vec<&'a (String, Automaton)> {
    let mut chosen = Vec::new();
    let mut covered: BTreeMap<&[u8], u8> = BTreeMap::new();
    for shipped in &surroundings.shipped {
        let (name, automaton) = shipped;
        let mut gained = 0;
        for (path, need) in needs {
            let before = covered.get(path.as_slice()).copied().unwrap_or(0);
            let more = automaton.rights(path) & need.rights() & !before;
            // `base` is for starting at all, the others for the programs that they name.
            if more & EXEC != 0 || (name == "base" && more != 0) {
                gained += 1;
            }
        }
        let worth = match (surroundings.level, name.as_str()) {
            (Level::Tight, _) | (_, "untrusted") => false,
            (_, "base") => gained > 0,
            // What only has tools in it gives little away; the others let the working directory be written.
            (Level::Default, "coreutils") | (Level::Loose, _) => gained >= WORTH_EXTENDING,
            (Level::Default, _) => false,
        };
        if worth || surroundings.base.contains(name) {
            for path in needs.keys() {
                *covered.entry(path).or_default() |= automaton.rights(path);
            }
            chosen.push(shipped);
        }
    }
    chosen
}

/// The last name of a program's path, for people.
fn short(program: &Text) -> String {
    let name = program.bytes().rsplit(|&byte| byte == b'/').next();
    String::from_utf8_lossy(name.unwrap_or_default())
        .chars()
        .filter(|character| !character.is_control() && !",;()".contains(*character))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Record, Rights};

    #[test]
    fn what_is_written_and_found_again_is_read() {
        let read = |rules: &[(Right, &str)]| {
            let mut learned = Learned::default();
            for (right, text) in rules {
                let mut evidence = Evidence::default();
                evidence.runs.insert("a1".to_owned(), 1);
                learned.rules.insert((*right, (*text).to_owned()), evidence);
            }
            read_what_is_written_and_found_again(&mut learned);
            assert!(
                learned
                    .rules
                    .values()
                    .all(|evidence| evidence.runs.len() == 1)
            );
            let rules = learned.rules.into_keys();
            rules
                .filter_map(|(right, text)| (right == Right::Read).then_some(text))
                .collect::<Vec<_>>()
        };
        let written = (Right::Write, "/store/**");
        let reads = |text| (Right::Read, text);
        let listed = [written, reads("/store"), reads("/store/x"), reads("/only")];
        assert_eq!(read(&listed), ["/only", "/store/**"]);
        let made = [written, reads("/store/3/b/**"), reads("/store/7")];
        assert_eq!(read(&made), ["/store/**"]);
        let others = [written, reads("/store/7"), reads("/stores/**")];
        assert_eq!(read(&others), ["/store/7", "/stores/**"]);
        for kept in ["${CWD}/**", "${CWD}/out/**", "${CACHE}/tool/**"] {
            assert_eq!(read(&[(Right::Write, kept)]), [kept]);
        }
        assert!(read(&[(Right::Write, "${CWD}/file")]).is_empty());
    }

    #[test]
    fn a_workspace_is_learned_alike_whether_its_files_were_there_or_not() {
        let learned = |what: &str, recorder: &str, level| {
            let mut trace = Trace::default();
            trace.facts.recorder = recorder.to_owned();
            let variables = &mut trace.facts.variables;
            variables.insert("CWD".to_owned(), "/w".into());
            trace.records = ["/w/out", "/var/log/x"]
                .map(|path| Record {
                    what: what.to_owned(),
                    path: Some(path.into()),
                    rights: Rights(WRITE),
                    count: 1,
                    ..Record::default()
                })
                .into();
            let surroundings = Surroundings {
                level,
                ..anything()
            };
            let rules = learn(&trace, &surroundings).rules.into_keys();
            rules
                .filter_map(|(right, text)| (right == Right::Write).then_some(text))
                .collect::<Vec<_>>()
        };
        let made = learned("create", "system-calls", Level::Default);
        let written = learned("open", "system-calls", Level::Default);
        assert!(made.contains(&"${CWD}/**".to_owned()), "{made:?}");
        assert_eq!(written, ["${CWD}/**", "/var/log/x"]);
        let alone = ["${CWD}/out", "/var/log/x"];
        assert_eq!(learned("open", BY_HOOKS, Level::Default), alone);
        assert_eq!(learned("open", "system-calls", Level::Tight), alone);
    }

    #[test]
    fn tasks_that_are_read_of_by_number_may_be_listed() {
        let learned = |by_number, recorder: &str| {
            let mut trace = Trace::default();
            trace.facts.recorder = recorder.to_owned();
            trace.records = vec![Record {
                what: "open".to_owned(),
                path: Some("/proc/12/maps".into()),
                rights: Rights(READ),
                by_number,
                count: 1,
                ..Record::default()
            }];
            let rules = learn(&trace, &anything()).rules.into_keys();
            rules.map(|(_, text)| text).collect::<Vec<_>>()
        };
        let alone = ["/proc/[0-9]*/maps"];
        assert_eq!(learned(true, BY_CALLS), ["/proc", alone[0]]);
        assert_eq!(learned(false, BY_CALLS), alone);
        assert_eq!(learned(true, BY_HOOKS), alone);
    }

    #[test]
    fn what_lies_below_a_drawn_name_is_found_again() {
        let made = |what: &str, path: &str| Record {
            what: what.to_owned(),
            path: Some(path.into()),
            rights: Rights(WRITE),
            count: 1,
            ..Record::default()
        };
        let trace = Trace {
            records: vec![
                made("mkdir", "/tmp/tmpk3x_8a2b"),
                made("create", "/tmp/tmpk3x_8a2b/file"),
                // Whose name nobody has drawn.
                made("create", "/srv/tmpk3x_8a2b/file"),
            ],
            ..Trace::default()
        };
        let rules = learn(&trace, &anything()).rules.into_keys();
        let rules: Vec<_> = rules
            .filter_map(|(right, text)| (right == Right::Write).then_some(text))
            .collect();
        assert_eq!(rules, ["/srv/tmpk3x_8a2b/**", "/tmp/tmp*/**"]);
    }

    fn acts<'a>(what: &'a str, rights: u8, paths: &'a [&str]) -> impl Iterator<Item = Record> + 'a {
        paths.iter().map(move |path| Record {
            what: what.to_owned(),
            path: Some((*path).into()),
            rights: Rights(rights),
            count: 1,
            ..Record::default()
        })
    }

    fn rules(records: Vec<Record>, recorder: &str, wanted: Right) -> Vec<String> {
        let mut trace = Trace {
            records,
            ..Trace::default()
        };
        trace.facts.recorder = recorder.to_owned();
        let variables = [("HOME", "/home/u"), ("CACHE", "/home/u/.cache")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.into()));
        trace.facts.variables = variables.into();
        let rules = learn(&trace, &anything()).rules.into_keys();
        rules
            .filter_map(|(right, text)| (right == wanted).then_some(text))
            .collect()
    }

    #[test]
    fn a_store_of_hashes_is_one_thing() {
        let paths = [
            "/home/u/.cache/cc/2/b/4fk4ebrdoot1jpb57b5hudeml3bo9v4M",
            "/home/u/.cache/cc/7/stats",
            "/srv/git/objects/ab/f3a9c01b7e5d2846f3a9c01b7e5d2846f3a9c0",
            "/usr/share/x/de/coreutils.mo",
            // Nobody's alone.
            "/etc/ab/f3a9c01b7e5d2846f3a9c01b7e5d2846f3a9c0",
        ];
        let read = rules(acts("open", READ, &paths).collect(), BY_CALLS, Right::Read);
        let expected = [
            "${CACHE}/cc/**",
            "/etc/ab/*",
            "/srv/git/objects/**",
            "/usr/share/x/de/coreutils.mo",
        ];
        assert_eq!(read, expected);
        let run = acts("exec", EXEC, &paths[..1]).collect();
        let exec = rules(run, BY_CALLS, Right::Exec);
        assert_eq!(exec, ["${CACHE}/cc/2/b/4fk4ebrdoot1jpb57b5hudeml3bo9v4M"]);
    }

    #[test]
    fn a_cache_that_was_there_is_learned_like_one_that_is_made() {
        let paths = [
            "/home/u/.cache/nim/a_d/a.c",
            "/home/u/.cache/one",
            "/var/log/x",
        ];
        for recorder in [BY_CALLS, BY_HOOKS] {
            let written = acts("open", WRITE, &paths).collect();
            let expected = ["${CACHE}/nim/a_d/**", "${CACHE}/one", "/var/log/x"];
            assert_eq!(rules(written, recorder, Right::Write), expected);
        }
    }

    #[test]
    fn where_everybodys_things_lie_a_drawn_name_keeps_what_is_its_programs() {
        let paths = ["/tmp/zshqBx3Fe", "/srv/zsh/zshqBx3Fe"];
        let made = acts("create", WRITE, &paths).collect();
        let expected = ["/srv/zsh/**", "/tmp/zsh*"];
        assert_eq!(rules(made, BY_CALLS, Right::Write), expected);
    }

    #[test]
    fn nothing_is_listed_on_the_way_from_what_cannot_be() {
        let read = |listed| {
            let mut records: Vec<_> = acts("open", READ, &["/usr/share/a/b/c"]).collect();
            records.extend(acts("readdir", READ, &[listed]));
            rules(records, BY_CALLS, Right::Read)
        };
        for top in ["/", "/usr"] {
            assert_eq!(read(top), [top, "/usr/share/a/b/c"]);
        }
        let below = [
            "/usr/share",
            "/usr/share/a",
            "/usr/share/a/b",
            "/usr/share/a/b/c",
        ];
        assert_eq!(read("/usr/share"), below);
    }

    fn anything() -> Surroundings<'static> {
        Surroundings {
            shipped: Vec::new(),
            base: BTreeSet::new(),
            secrets: Automaton::default(),
            secret: &|_| String::new(),
            accept_secrets: false,
            level: Level::Default,
        }
    }

    #[test]
    fn whom_unix_sockets_reach_is_said() {
        let reaches = |path: Option<&str>| Record {
            what: "connect-unix".to_owned(),
            path: path.map(Text::from),
            rights: Rights(WRITE),
            count: 1,
            ..Record::default()
        };
        let trace = Trace {
            records: vec![reaches(Some("/run/service.sock")), reaches(None)],
            ..Trace::default()
        };
        let learned = learn(&trace, &anything());
        let peers: Vec<_> = learned.peers.into_keys().collect();
        assert_eq!(
            peers,
            [(NetworkRight::Unix, "/run/service.sock".to_owned())]
        );
        let file = (Right::Write, "/run/service.sock".to_owned());
        assert!(learned.rules.contains_key(&file));
    }
}
