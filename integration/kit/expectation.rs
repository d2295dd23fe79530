//! Which tests may be skipped where: a list that is kept like a lock file.

use std::path::Path;

use globset::{Glob, GlobMatcher};

/// Lines of the list that are for one floor.
pub(crate) struct Expectation {
    lines: Vec<Line>,
}

struct Line {
    text: String,
    tests: GlobMatcher,
}

impl Expectation {
    /// Reads the list; a line that cannot be understood is an error, not a line less.
    pub(crate) fn read(file: &Path, floor: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&text, floor).map_err(|error| format!("{}:{error}", file.display()))
    }

    fn parse(text: &str, floor: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (number, text) in text.lines().enumerate() {
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| {
                format!(
                    "{}: {why}; a line is `floor test-name-glob: reason`",
                    number + 1
                )
            };
            let (subject, reason) = text.split_once(": ").ok_or_else(|| wrong("no reason"))?;
            let (floors, tests) = subject.split_once(' ').ok_or_else(|| wrong("no test"))?;
            if reason.trim().is_empty() {
                return Err(wrong("no reason"));
            }
            let glob = |pattern: &str| Glob::new(pattern).map(|glob| glob.compile_matcher());
            let floors = glob(floors).map_err(|error| wrong(&error.to_string()))?;
            let tests = glob(tests).map_err(|error| wrong(&error.to_string()))?;
            if floors.is_match(floor) {
                lines.push(Line {
                    text: text.to_owned(),
                    tests,
                });
            }
        }
        Ok(Self { lines })
    }

    /// The line that expects this test to be skipped.
    pub(crate) fn line(&self, test: &str) -> Option<&str> {
        self.lines
            .iter()
            .find(|line| line.tests.is_match(test))
            .map(|line| line.text.as_str())
    }

    /// Lines that cover none of these tests: they were for tests that are gone.
    pub(crate) fn stale<'a>(&'a self, tests: &[&str]) -> impl Iterator<Item = &'a str> {
        let stale: Vec<_> = self
            .lines
            .iter()
            .filter(|line| !tests.iter().any(|test| line.tests.is_match(test)))
            .collect();
        stale.into_iter().map(|line| line.text.as_str())
    }
}

/// A test of the harness itself, and its name.
pub(super) type Check = (&'static str, fn() -> super::Verdict);

/// The tests of the list itself: this binary has a harness of its own, so they are trials like the others.
pub(crate) fn checks() -> Vec<Check> {
    vec![
        ("kit::a_line_is_for_its_floor_only", || {
            let list = Expectation::parse("# a\n\nvm-* files::*: no\n", "host")?;
            expect(
                list.line("files::denies").is_none(),
                "a line of another floor was used",
            )?;
            let list = Expectation::parse("vm-* files::*: no\n", "vm-6.1")?;
            expect(
                list.line("files::denies").is_some(),
                "the line of this floor was not used",
            )?;
            expect(
                list.line("exec::denies").is_none(),
                "the line was used for another test",
            )
        }),
        ("kit::a_line_without_a_reason_is_refused", || {
            for wrong in ["host files::*", "host files::*: ", "files: reason"] {
                expect(Expectation::parse(wrong, "host").is_err(), wrong)?;
            }
            Ok(())
        }),
        ("kit::a_line_that_covers_no_test_is_stale", || {
            let list = Expectation::parse("host a: no\nhost b: no\n", "host")?;
            let stale: Vec<_> = list.stale(&["a"]).collect();
            expect(stale == ["host b: no"], &format!("{stale:?}"))
        }),
    ]
}

fn expect(claim: bool, otherwise: &str) -> super::Verdict {
    if claim {
        Ok(())
    } else {
        Err(otherwise.to_owned().into())
    }
}
