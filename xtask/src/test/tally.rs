//! What became of the tests of one floor, read from the output of libtest and of harnesses that write like it.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};
use std::time::{Duration, Instant};

/// The last lines of what a failed test said that are told once more at the end, where a log that was cut has them.
const TOLD_AGAIN: usize = 40;

/// Results of one floor.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The floor's name.
    pub(crate) floor: String,
    passed: usize,
    failed: Vec<String>,
    /// What the failed ones said, and whether the lines that come are of the last of them.
    said: Vec<(String, VecDeque<String>)>,
    is_saying: bool,
    skipped: Vec<(String, String)>,
    /// Names that were reported as passed since the last summary line.
    named: usize,
    /// What the escape suite found, a line of JSON each.
    findings: Vec<String>,
    /// When the floor began, and how long after that it was heard of last.
    began: Option<Instant>,
    lasted: Duration,
}

impl Tally {
    /// An empty one.
    pub(crate) fn of(floor: &str) -> Self {
        Self {
            floor: floor.to_owned(),
            began: Some(Instant::now()),
            ..Self::default()
        }
    }

    fn hear(&mut self) {
        self.lasted = self.began.map_or(Duration::ZERO, |began| began.elapsed());
    }

    /// One thing went well.
    pub(crate) fn pass(&mut self) {
        self.hear();
        self.passed += 1;
    }

    /// One thing failed.
    pub(crate) fn fail(&mut self, name: impl Into<String>) {
        self.hear();
        self.failed.push(name.into());
    }

    /// One thing was not done, and why.
    pub(crate) fn skip(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.skipped.push((name.into(), reason.into()));
    }

    /// How many passed, failed, were skipped.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [self.passed, self.failed.len(), self.skipped.len()]
    }

    /// Takes one line of a harness' output.
    pub(crate) fn read(&mut self, line: &str) {
        self.hear();
        if let Some((_, finding)) = line.split_once("escape-result ") {
            return self.findings.push(finding.to_owned());
        }
        if let Some(summary) = line.strip_prefix("test result: ") {
            self.is_saying = false;
            return self.settle(summary);
        }
        if self.listen(line) {
            return;
        }
        let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        let name = name.trim_end();
        // libtest writes `ignored, reason`, libtest-mimic `ignored (reason)`.
        if let Some(reason) = outcome.strip_prefix("ignored") {
            let reason = reason
                .trim_start_matches([',', ' ', '('])
                .trim_end_matches(')');
            return self.skip(
                name,
                if reason.is_empty() {
                    "marked so in the source"
                } else {
                    reason
                },
            );
        }
        match outcome {
            "ok" => self.named += 1,
            "FAILED" => self.fail(name),
            _ => {}
        }
    }

    /// Keeps what the failed tests said, which harnesses write between a heading for each (libtest `---- name stdout ----`,
    /// libtest-mimic `---- name ----`) and the list of their names. Whether the line is of that.
    fn listen(&mut self, line: &str) -> bool {
        let heading = line
            .strip_prefix("---- ")
            .and_then(|line| line.strip_suffix(" ----"));
        if let Some(name) = heading {
            let name = name.strip_suffix(" stdout").unwrap_or(name);
            self.said.push((name.to_owned(), VecDeque::new()));
            self.is_saying = true;
            return true;
        }
        self.is_saying &= line != "failures:";
        match self.said.last_mut() {
            Some((_, lines)) if self.is_saying => {
                lines.push_back(line.to_owned());
                lines.drain(..lines.len().saturating_sub(TOLD_AGAIN));
                true
            }
            _ => false,
        }
    }

    /// A test's own output may run into its line, so the count of those that passed is the summary's.
    fn settle(&mut self, summary: &str) {
        let count = summary
            .split([' ', '.'])
            .zip(summary.split([' ', '.']).skip(1))
            .find(|(_, word)| *word == "passed;");
        let counted = count.and_then(|(number, _)| number.parse().ok());
        self.passed += counted.unwrap_or(self.named);
        self.named = 0;
    }

    /// After the harness has ended: a failure that no test accounts for (it did not build, it died) is one of its own.
    pub(crate) fn close(&mut self, succeeded: bool, harness: &str) {
        if !succeeded && self.failed.is_empty() {
            self.fail(format!("{harness} itself"));
        } else if self.named > 0 {
            self.fail(format!("{harness} ended without a summary"));
        }
    }

    /// What the escape suite found.
    pub(crate) fn findings(&self) -> &[String] {
        &self.findings
    }

    /// What was skipped, by name and reason, a line each.
    fn skips(&self) -> String {
        let line = |(name, reason): &(String, String)| {
            format!("  skipped  {} {name}: {reason}\n", self.floor)
        };
        self.skipped.iter().map(line).collect()
    }

    /// The end of what each failed test said.
    fn complaints(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.said {
            // Writing to a String cannot fail.
            writeln!(text, "  {} {name} said at last:", self.floor).unwrap_or_default();
            for line in lines.iter().filter(|line| !line.is_empty()) {
                writeln!(text, "    {line}").unwrap_or_default();
            }
        }
        text
    }

    /// What failed, by name, a line each.
    fn failures(&self) -> String {
        let line = |name: &String| format!("  failed   {} {name}\n", self.floor);
        self.failed.iter().map(line).collect()
    }
}

/// What was skipped, the table, what failed and why, and the closing line that is alone on its line: what matters most stands last, where
/// who looks at the end of a long log sees it.
pub(crate) fn report(tallies: &[Tally]) -> String {
    let mut text: String = tallies.iter().map(Tally::skips).collect();
    text.push('\n');
    let mut total = [0; 3];
    let mut row = |cells: [&dyn Display; 5]| {
        let [floor, passed, failed, skipped, seconds] = cells;
        // Writing to a String cannot fail.
        writeln!(
            text,
            "{floor:<12} {passed:>7} {failed:>7} {skipped:>7} {seconds:>8}"
        )
        .unwrap_or_default();
    };
    row([&"floor", &"passed", &"failed", &"skipped", &"seconds"]);
    for tally in tallies {
        let [passed, failed, skipped] = tally.counts();
        let seconds = tally.lasted.as_secs();
        row([&tally.floor, &passed, &failed, &skipped, &seconds]);
        for (sum, count) in total.iter_mut().zip(tally.counts()) {
            *sum += count;
        }
    }
    text.push('\n');
    text.extend(tallies.iter().map(Tally::complaints));
    text.extend(tallies.iter().map(Tally::failures));
    let [passed, failed, skipped] = total;
    writeln!(text, "{passed} passed, {failed} failed, {skipped} skipped").unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::of("host");
        text.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn counts_what_a_harness_reports() {
        let tally = tally(
            "test a ... ok\ntest b::c    ... FAILED\ntest d ... ignored, needs root\ntest e - should panic ... ok\ntest f  ... ignored (no runc)\n\
             test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.counts(), [2, 1, 2]);
        assert_eq!(tally.failures(), "  failed   host b::c\n");
        assert_eq!(
            tally.skips(),
            "  skipped  host d: needs root\n  skipped  host f: no runc\n"
        );
    }

    #[test]
    fn what_failed_tests_said_is_told_again_the_end_of_it() {
        let long: String = (0..99).map(|number| format!("line {number}\n")).collect();
        let tally = tally(&format!(
            "test b ... FAILED\ntest c ... FAILED\n\nfailures:\n\n---- b ----\n{long}test d ... ok\n\n---- c stdout ----\nno such file\n\n\n\
             failures:\n    b\n    c\n\ntest result: FAILED. 0 passed; 2 failed; 0 ignored\nafter all\n",
        ));
        assert_eq!(tally.counts(), [0, 2, 0]);
        let told = tally.complaints();
        assert!(
            told.starts_with("  host b said at last:\n    line 61\n"),
            "{told}"
        );
        assert!(
            told.ends_with("    test d ... ok\n  host c said at last:\n    no such file\n"),
            "{told}"
        );
    }

    #[test]
    fn a_harness_that_dies_is_a_failure() {
        let mut dead = tally("test a ... ok\n");
        dead.close(true, "integration");
        assert_eq!(dead.counts()[1], 1);
        let mut broken = tally("error: could not compile\n");
        broken.close(false, "cargo test");
        assert_eq!(broken.counts()[1], 1);
    }

    #[test]
    fn a_line_that_a_tests_own_output_broke_is_still_counted() {
        assert_eq!(
            tally("test a ... noise\nok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n")
                .counts(),
            [1, 0, 0]
        );
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let text = report(&[
            tally("test result: ok. 2 passed; 0 failed;"),
            tally("test x ... FAILED"),
        ]);
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed, 0 skipped"));
    }
}
