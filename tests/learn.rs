//! Learned profiles: what is written is read again, and merging does not ask for the order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ringfence::learn::{Evidence, Learned, Question, Run, read, render};
use ringfence::profile::{self, CommandLine, NetworkRight, Right};

fn evidence() -> impl Strategy<Value = Evidence> {
    let runs = proptest::collection::btree_map("[abc]", 1u64..9, 1..3);
    let programs = proptest::collection::btree_set("[a-c]{1,2}", 0..3);
    (runs, programs).prop_map(|(runs, programs)| Evidence { runs, programs })
}

/// Few names, so that two profiles have some in common.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        "/[a-b]/[a-b]",
        Just("${CWD}/**".to_owned()),
        Just(r"/a\[1\]/*".to_owned()),
        Just("/quote\"d".to_owned()),
    ]
}

fn right() -> impl Strategy<Value = Right> {
    prop_oneof![Just(Right::Read), Just(Right::Write), Just(Right::Exec)]
}

/// Rules about the network.
fn peers() -> impl Strategy<Value = BTreeMap<(NetworkRight, String), Evidence>> {
    let peer = prop_oneof![
        (Just(NetworkRight::Connect), Just("a.test:443".to_owned())),
        (
            Just(NetworkRight::Connect),
            Just("udp://[::1]:0".to_owned())
        ),
        (Just(NetworkRight::Listen), Just("127.0.0.1:0".to_owned())),
        (Just(NetworkRight::Unix), Just("@name".to_owned())),
    ];
    proptest::collection::btree_map(peer, evidence(), 0..3)
}

fn learned() -> impl Strategy<Value = Learned> {
    let runs = proptest::collection::btree_map(
        "[abc]",
        (
            "[a-z ]{1,5}x",
            proptest::option::of(1u64..9),
            proptest::option::of(1u64..9),
        )
            .prop_map(|(command, memory, tasks)| Run {
                command,
                memory,
                tasks,
                sampled: tasks == Some(1),
            }),
        1..3,
    );
    let rules = proptest::collection::btree_map((right(), path()), evidence(), 1..6);
    let question = || {
        ("[a-z]{1,4}", evidence()).prop_map(|(because, evidence)| Question { because, evidence })
    };
    let questions = proptest::collection::btree_map((right(), path()), question(), 0..3);
    let kernel_questions = proptest::collection::btree_map(
        prop_oneof![Just("io-uring".to_owned()), Just("userns".to_owned())],
        question(),
        0..3,
    );
    let extends = proptest::collection::btree_set(
        prop_oneof![Just("base".to_owned()), Just("git".to_owned())],
        0..3,
    );
    let words = |known: [&'static str; 2]| {
        let word = prop_oneof![Just(known[0].to_owned()), Just(known[1].to_owned())];
        proptest::collection::btree_map(word, evidence(), 0..3)
    };
    let calls = proptest::option::of(proptest::collection::btree_set(
        prop_oneof![Just("read".to_owned()), Just("openat".to_owned())],
        1..3,
    ));
    (
        runs,
        rules,
        (questions, kernel_questions),
        extends,
        (words(["chown", "setuid"]), words(["userns", "mount"])),
        (proptest::option::of(evidence()), calls, peers()),
    )
        .prop_map(
            |(
                runs,
                rules,
                (mut questions, mut kernel_questions),
                extends,
                (capabilities, kernel),
                (network, calls, peers),
            )| {
                questions.retain(|key, _| !rules.contains_key(key));
                kernel_questions.retain(|key, _| !kernel.contains_key(key));
                // One address among the peers, of which it may be said that it has no name.
                let address = (NetworkRight::Connect, "udp://[::1]:0".to_owned());
                let nameless = peers.contains_key(&address) && runs.len() == 1;
                Learned {
                    runs,
                    extends,
                    rules,
                    questions,
                    network,
                    peers,
                    nameless: nameless.then_some(address).into_iter().collect(),
                    capabilities,
                    kernel,
                    kernel_questions,
                    system_calls: calls,
                    ..Learned::default()
                }
            },
        )
}

fn merged(one: &Learned, other: &Learned) -> Learned {
    one.clone()
        .merge(other.clone())
        .expect("nothing was written by hand")
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(learned in learned()) {
        let text = render(&learned);
        prop_assert_eq!(read(&text).unwrap(), learned);
    }

    #[test]
    fn what_is_written_is_a_profile(learned in learned()) {
        let text = render(&learned);
        let loaded = profile::from_text("learned", text.as_bytes(), false, CommandLine::default());
        prop_assert!(loaded.is_ok(), "{}\n{}", loaded.unwrap_err(), text);
    }

    #[test]
    fn merging_does_not_ask_who_comes_first(one in learned(), other in learned()) {
        prop_assert_eq!(merged(&one, &other), merged(&other, &one));
    }

    #[test]
    fn merging_does_not_ask_for_brackets(one in learned(), two in learned(), three in learned()) {
        let left = merged(&merged(&one, &two), &three);
        prop_assert_eq!(left, merged(&one, &merged(&two, &three)));
    }

    #[test]
    fn merging_with_itself_changes_nothing(one in learned(), other in learned()) {
        prop_assert_eq!(&merged(&one, &one), &one);
        let both = merged(&one, &other);
        prop_assert_eq!(&merged(&both, &other), &both);
    }
}

#[test]
fn what_was_written_by_hand_stays() {
    let text = "version = 1\nname = \"mine\"\nextends = [\"base\"]\n[files]\nread = [\"/a\"]\n\
                deny = [{ path = \"/b\", because = \"secret\", expected = true }]\n[limits]\nmemory = \"1GiB\"\n\
                [[program]]\npath = \"/usr/bin/git\"\nnetwork.mode = \"off\"\n";
    let learned = read(text).unwrap();
    assert_eq!(learned.rules.len(), 2);
    let written = render(&learned);
    assert_eq!(read(&written).unwrap(), learned);
    let original = profile::from_text("x", text.as_bytes(), false, CommandLine::default()).unwrap();
    let again = profile::from_text("x", written.as_bytes(), false, CommandLine::default()).unwrap();
    assert_eq!(again.name, "mine");
    assert_eq!(again.limits, original.limits);
    assert_eq!(again.programs.len(), 1);
    let deny = again
        .rules
        .iter()
        .find(|rule| rule.right == Right::Deny)
        .unwrap();
    assert!(deny.expected && deny.because.as_deref() == Some("secret"));
}

#[test]
fn single_values_that_differ_are_refused() {
    let one = read("version = 1\n[limits]\nmemory = \"1GiB\"\n").unwrap();
    let other = read("version = 1\n[limits]\nmemory = \"2GiB\"\n").unwrap();
    let conflict = one.merge(other).unwrap_err();
    assert!(conflict.to_string().contains("limits.memory"));
}

#[test]
fn evidence_that_was_broken_is_refused_and_no_evidence_is_fine() {
    assert!(read("version = 1\n[files]\nread = [\n#: once\n\"/a\"]\n").is_err());
    let learned = read("version = 1\n[files]\nread = [\n# a person's words\n\"/a\"]\n").unwrap();
    let evidence = &learned.rules[&(Right::Read, "/a".to_owned())];
    assert_eq!(evidence, &Evidence::default());
    assert_eq!(evidence.runs, BTreeMap::new());
    assert_eq!(evidence.programs, BTreeSet::new());
}
