//! The automaton against the plain matchers, on random rules and paths.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use proptest::prelude::*;
use ringfence::compile::{Entry, Explainer, compile};
use ringfence::policy::Policy;
use ringfence::profile::{CommandLine, Right, Rule, Variables, from_text};
use ringfence_abi::rights;

/// Nothing is a link.
fn no_links(_: &[u8]) -> Entry {
    Entry::Missing
}

fn compiled(rules: &[(Right, String)]) -> (Policy, Explainer) {
    let rules = rules
        .iter()
        .map(|(right, text)| {
            Rule::from_command_line(*right, OsStr::new(text), Path::new("/")).unwrap()
        })
        .collect();
    let command_line = CommandLine {
        rules,
        ..CommandLine::default()
    };
    let base = b"version = 1\n[files]\nmode = \"enforce\"\n";
    let effective = from_text("test", base, false, command_line).unwrap();
    compile(&effective, &Variables::new(), &no_links).unwrap()
}

/// A third opinion: globset, with the rules of the language that it does not have.
struct Globset(Vec<(Right, GlobMatcher)>);

impl Globset {
    fn new(rules: &[(Right, String)]) -> Self {
        let mut matchers = Vec::new();
        for (right, text) in rules {
            let directory = text.strip_suffix("/**").or(text.strip_suffix('/'));
            let mut texts = vec![text.trim_end_matches('/').to_owned()];
            if let Some(directory) = directory {
                texts.push(format!("{directory}/**"));
                texts.push(directory.to_owned());
            }
            for text in texts.iter().filter(|text| !text.is_empty()) {
                let glob = GlobBuilder::new(text)
                    .literal_separator(true)
                    .backslash_escape(true)
                    .build()
                    .unwrap();
                matchers.push((*right, glob.compile_matcher()));
            }
        }
        Self(matchers)
    }

    fn rights(&self, path: &str) -> u8 {
        let mut granted = 0;
        for (right, matcher) in &self.0 {
            if matcher.is_match(path) {
                if *right == Right::Deny {
                    return 0;
                }
                granted |= right.bits();
            }
        }
        granted & rights::ALL
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,3}",
        2 => "[ab]{0,2}\\*[ab]{0,2}",
        1 => Just("*".to_owned()),
        1 => "[ab]?\\?[ab]?",
        1 => "\\[[!]?a\\][ab]?",
        1 => "\\{a,b\\*,ab\\}",
        1 => "\\.[ab]",
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    let component = prop_oneof![6 => name(), 1 => Just("**".to_owned())];
    (prop::collection::vec(component, 1..5), 0..4u8).prop_map(|(components, end)| {
        let mut text = String::new();
        for component in components {
            // globset takes `**/**` for something else than any number of components.
            if component == "**" && text.ends_with("**") {
                continue;
            }
            text.push('/');
            text.push_str(&component);
        }
        if end == 0 && !text.ends_with("**") {
            text.push_str("/**");
        } else if end == 1 && !text.ends_with("**") {
            text.push('/');
        }
        text
    })
}

fn right() -> impl Strategy<Value = Right> {
    prop_oneof![
        3 => Just(Right::Read),
        2 => Just(Right::Write),
        1 => Just(Right::Exec),
        2 => Just(Right::Deny),
    ]
}

fn rules() -> impl Strategy<Value = Vec<(Right, String)>> {
    prop::collection::vec((right(), pattern()), 1..9)
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => "(/(\\.[ab]|[ab]{1,4}|[abc\n])){1,6}",
        1 => Just("/".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_500, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// 2,500 sets of rules with 48 paths each: 120,000 pairs.
    #[test]
    fn the_automaton_answers_what_the_plain_matchers_answer(
        rules in rules(),
        paths in prop::collection::vec(path(), 48),
    ) {
        let (policy, explainer) = compiled(&rules);
        let globset = Globset::new(&rules);
        for path in &paths {
            let rights = policy.files.automaton.rights(path.as_bytes());
            prop_assert_eq!(rights, explainer.rights(path.as_bytes()), "{} explained", path.escape_debug());
            // To globset `/*` matches `/`, as if a name could be empty.
            if path != "/" {
                prop_assert_eq!(rights, globset.rights(path), "{} by globset", path.escape_debug());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two beginnings lead to one state exactly if every continuation has the same rights.
    #[test]
    fn states_are_equal_exactly_if_all_that_follows_is(
        rules in prop::collection::vec((right(), pattern()), 1..5),
        beginnings in prop::collection::vec(path(), 6),
    ) {
        let (policy, _) = compiled(&rules);
        let automaton = &policy.files.automaton;
        for one in &beginnings {
            for other in &beginnings {
                let states = [one, other].map(|path| automaton.state(path.as_bytes()));
                let equal = answer_the_same(automaton, states[0], states[1]);
                prop_assert_eq!(states[0] == states[1], equal, "{} and {}", one, other);
            }
        }
    }

    /// No two states of the whole table answer the same.
    #[test]
    fn the_automaton_is_minimal(rules in rules()) {
        let (policy, _) = compiled(&rules);
        let (states, steps) = table(&policy.files.automaton);
        prop_assert_eq!(distinct(&states, &steps), states.len());
    }
}

/// A `[[program]]` section: its path, whether it inherits, its rules, and the programs in it.
#[derive(Clone, Debug)]
struct Program {
    path: String,
    inherit: bool,
    rules: Vec<(Right, String)>,
    programs: Vec<Program>,
}

/// A section that writes nothing, since a program that can be written is refused.
fn section() -> impl Strategy<Value = Program> {
    let right = prop_oneof![Just(Right::Read), Just(Right::Exec), Just(Right::Deny)];
    let rules = prop::collection::vec((right, pattern()), 0..4);
    (pattern(), any::<bool>(), rules).prop_map(|(path, inherit, rules)| Program {
        path,
        inherit,
        rules,
        programs: Vec::new(),
    })
}

fn programs() -> impl Strategy<Value = Vec<Program>> {
    let outer = (section(), prop::collection::vec(section(), 0..3));
    let outer = outer.prop_map(|(outer, programs)| Program { programs, ..outer });
    prop::collection::vec(outer, 1..4)
}

fn write_rules(prefix: &str, rules: &[(Right, String)], text: &mut String) {
    for right in Right::ALL {
        let of_right: Vec<_> = rules
            .iter()
            .filter(|(other, _)| *other == right)
            .map(|(_, pattern)| format!("'{pattern}'"))
            .collect();
        text.push_str(&format!("{prefix}{right} = [{}]\n", of_right.join(", ")));
    }
}

fn write_programs(table: &str, programs: &[Program], text: &mut String) {
    for program in programs {
        let Program { path, inherit, .. } = program;
        text.push_str(&format!(
            "[[{table}]]\npath = '{path}'\ninherit = {inherit}\n"
        ));
        write_rules("files.", &program.rules, text);
        write_programs(&format!("{table}.program"), &program.programs, text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 60_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The automaton of every section gives the rights that its rules give one by one, and an exec enters the first section
    /// that covers the path.
    #[test]
    fn the_automata_of_programs_answer_what_the_plain_matchers_answer(
        rules in rules(),
        programs in programs(),
        audit in any::<bool>(),
        paths in prop::collection::vec(path(), 24),
    ) {
        let mode = if audit { "audit" } else { "enforce" };
        let mut text = format!("version = 1\n[files]\nmode = \"{mode}\"\n");
        let mut rules: Vec<_> = rules.into_iter().filter(|(right, _)| *right != Right::Write).collect();
        rules.push((Right::Exec, "/**".to_owned()));
        write_rules("", &rules, &mut text);
        write_programs("program", &programs, &mut text);
        let effective = from_text("test", text.as_bytes(), false, CommandLine::default()).unwrap();
        let compiled = compile(&effective, &Variables::new(), &no_links);
        // Sections that are never entered, and two about the same path, are refused.
        prop_assume!(compiled.is_ok());
        let (policy, explainer) = compiled.unwrap();
        let at_large = std::iter::once(&policy.files);
        let every = at_large.chain(policy.programs.iter().map(|program| &program.files));
        for (number, files) in (0u8..).zip(every) {
            for path in &paths {
                let bytes = path.as_bytes();
                prop_assert_eq!(files.automaton.rights(bytes), explainer.rights_in(number, bytes), "{} in {}", path.escape_debug(), number);
                prop_assert_eq!(files.automaton.program(bytes), explainer.entered(number, bytes), "{} entered from {}", path.escape_debug(), number);
            }
        }
    }

    /// What differs between two automata is said, and what is said of one that the other contains is nothing.
    #[test]
    fn a_difference_of_automata_is_that_of_their_paths(
        rules in rules(),
        more in rules(),
        paths in prop::collection::vec(path(), 24),
    ) {
        let (one, _) = compiled(&rules);
        let (other, _) = compiled(&more);
        let [one, other] = [&one.files.automaton, &other.files.automaton];
        let difference = one.difference(other);
        prop_assert_eq!(other.difference(one).more, difference.less);
        prop_assert_eq!(one.difference(one), Default::default());
        for path in &paths {
            let (here, there) = (one.rights(path.as_bytes()), other.rights(path.as_bytes()));
            prop_assert_eq!(here & !there & !difference.more, 0, "{}", path.escape_debug());
            prop_assert_eq!(there & !here & !difference.less, 0, "{}", path.escape_debug());
        }
        let mut both: Vec<_> = rules.into_iter().chain(more).collect();
        both.retain(|(right, _)| *right != Right::Deny);
        let (all, _) = compiled(&both);
        prop_assert_eq!(one.difference(&all.files.automaton).more, 0);
    }
}

/// Whether all that follows two states has the same rights: pairs are walked until none is new.
fn answer_the_same(automaton: &ringfence::policy::Automaton, one: u32, other: u32) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut open = vec![(one, other)];
    while let Some((one, other)) = open.pop() {
        if !seen.insert((one, other)) {
            continue;
        }
        let rights =
            [one, other].map(|state| ringfence_abi::automaton::rights_of(&automaton.words, state));
        if rights[0] != rights[1] {
            return false;
        }
        for byte in 0..=255u8 {
            open.push((step(automaton, one, byte), step(automaton, other, byte)));
        }
    }
    true
}

fn step(automaton: &ringfence::policy::Automaton, state: u32, byte: u8) -> u32 {
    ringfence_abi::automaton::walk(&automaton.words, &automaton.classes, state, &[byte])
}

/// Every state that can be reached with its rights, and its steps as positions in that list.
fn table(automaton: &ringfence::policy::Automaton) -> (Vec<u8>, Vec<Vec<usize>>) {
    let mut position = HashMap::from([(automaton.start, 0)]);
    let mut order = vec![automaton.start];
    let mut steps = Vec::new();
    let mut done = 0;
    while done < order.len() {
        let state = order[done];
        done += 1;
        let row = (0..=255u8).map(|byte| {
            let next = step(automaton, state, byte);
            *position.entry(next).or_insert_with(|| {
                order.push(next);
                order.len() - 1
            })
        });
        let row: Vec<usize> = row.collect();
        steps.push(row);
    }
    let rights = order
        .iter()
        .map(|&state| ringfence_abi::automaton::rights_of(&automaton.words, state));
    (rights.collect(), steps)
}

/// How many classes of states there are: E. F. Moore's way, slow and plain.
fn distinct(rights: &[u8], steps: &[Vec<usize>]) -> usize {
    let mut block: Vec<usize> = rights.iter().map(|&rights| usize::from(rights)).collect();
    let mut count = 0;
    loop {
        let mut known = HashMap::new();
        let next: Vec<usize> = steps
            .iter()
            .zip(&block)
            .map(|(row, &own)| {
                let row: Vec<usize> = row.iter().map(|&target| block[target]).collect();
                let fresh = known.len();
                *known.entry((own, row)).or_insert(fresh)
            })
            .collect();
        if known.len() == count {
            return count;
        }
        count = known.len();
        block = next;
    }
}
