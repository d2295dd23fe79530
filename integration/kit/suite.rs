//! The list of tests, what becomes of each on this floor, and the run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::duration::Durations;
use super::expectation::{self, Expectation};
use super::need::Need;
use super::{OWN_RUN, patience, script};

/// What a test gives: nothing, or why it failed. Anything that can be shown becomes a failure by `?`.
pub(crate) type Verdict = Result<(), Failed>;

/// The tests, in the order of registration.
#[derive(Default)]
pub(crate) struct Suite {
    tests: Vec<Test>,
}

struct Test {
    name: String,
    needs: &'static [Need],
    body: Box<dyn FnOnce() -> Verdict + Send>,
}

impl Suite {
    /// Adds one test: its name a sentence behind its subject, what it needs, what it does.
    pub(crate) fn test(
        &mut self,
        name: impl Into<String>,
        needs: &'static [Need],
        body: impl FnOnce() -> Verdict + Send + 'static,
    ) {
        self.tests.push(Test {
            name: name.into(),
            needs,
            body: Box::new(body),
        });
    }
}

/// Runs what the floor can carry. A skip carries its reason; one that was not expected is a failure.
pub(crate) fn run(mut suite: Suite) -> ExitCode {
    let arguments = Arguments::from_args();
    let floor = std::env::var("RINGFENCE_FLOOR").unwrap_or_else(|_| "host".to_owned());
    let expectation = match std::env::var_os("RINGFENCE_EXPECT").map(PathBuf::from) {
        None => None,
        Some(file) => match Expectation::read(&file, &floor) {
            Ok(list) => Some(list),
            Err(error) => {
                eprintln!("the list of expected skips cannot be used: {error}");
                return ExitCode::FAILURE;
            }
        },
    };
    for (name, body) in expectation::checks().into_iter().chain(patience::checks()) {
        suite.test(name, &[], body);
    }
    suite.test(
        "kit::a_script_that_fails_leaves_nothing_running",
        OWN_RUN,
        script::ends_what_it_left,
    );
    let names: Vec<&str> = suite.tests.iter().map(|test| test.name.as_str()).collect();
    if let Some(twice) = repeated(&names) {
        eprintln!("two tests are named {twice}");
        return ExitCode::FAILURE;
    }
    let mut trials = Vec::new();
    for line in expectation.iter().flat_map(|list| list.stale(&names)) {
        let complaint =
            format!("the list of expected skips covers no test with `{line}`: remove the line");
        trials.push(Trial::test(
            "kit::every_expected_skip_is_for_a_test",
            || Err(complaint.into()),
        ));
    }
    let durations = Durations::default();
    trials.extend(
        suite
            .tests
            .into_iter()
            .map(|test| trial(test, &floor, expectation.as_ref(), &durations)),
    );
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    print!("{}", durations.longest());
    code
}

fn trial(
    test: Test,
    floor: &str,
    expectation: Option<&Expectation>,
    durations: &Durations,
) -> Trial {
    let unmet: Vec<String> = test.needs.iter().filter_map(|need| need.unmet()).collect();
    let expected = expectation.and_then(|list| list.line(&test.name));
    let Test { name, body, .. } = test;
    match (unmet.is_empty(), expectation.is_some(), expected) {
        (true, _, None) => {
            let durations = durations.clone();
            Trial::test(name.clone(), move || {
                durations.measure(name, || patience::bounded(body))
            })
        }
        (true, _, Some(line)) => {
            let complaint =
                format!("runs on {floor}, but is expected to be skipped: remove `{line}`");
            Trial::test(name, || Err(complaint.into()))
        }
        (false, true, None) => {
            let reason = unmet.join(", ");
            let complaint =
                format!("skipped on {floor}, and no line of the list expects it: {reason}");
            Trial::test(name, || Err(complaint.into()))
        }
        (false, _, _) => {
            let reason = unmet.join(", ");
            Trial::ignorable_test(name, || Ok(Completion::ignored_with(reason)))
        }
    }
}

fn repeated<'a>(names: &[&'a str]) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(**name)).copied()
}
