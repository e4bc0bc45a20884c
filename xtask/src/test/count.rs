//! Counting tests: from `cargo test`'s lines, from scenarios, from steps. The sum adds up.

use crate::lab::Verdict;
use crate::shell;

/// Passed, failed and ignored of one `test result:` line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Reads `test result: ok. 5 passed; 0 failed; 0 ignored; …`, and what a test program with a main
/// of its own says: `kernel: 5 passed, 0 skipped, 0 failed`.
pub(super) fn test_result(line: &str) -> Option<Counts> {
    let line = line.trim();
    let (numbers, separator) = if let Some(rest) = line.strip_prefix("test result: ") {
        (rest.split_once(". ")?.1, "; ")
    } else {
        let own = [
            "kernel: ",
            "lake: ",
            "moto: ",
            "opentelemetry: ",
            "soak: ",
            "syslog: ",
            "up: ",
        ];
        (own.iter().find_map(|name| line.strip_prefix(name))?, ", ")
    };
    let mut counts = Counts::default();
    for part in numbers.split(separator) {
        match part.split_once(' ') {
            Some((n, "passed")) => counts.passed = n.parse().ok()?,
            Some((n, "failed")) => counts.failed = n.parse().ok()?,
            Some((n, "ignored" | "skipped")) => counts.ignored = n.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

/// The name in `test a::b ... FAILED` or `FAIL b`.
pub(super) fn failed_test(line: &str) -> Option<&str> {
    if let Some(name) = line.strip_prefix("FAIL ") {
        return Some(name);
    }
    line.trim()
        .strip_prefix("test ")?
        .strip_suffix(" ... FAILED")
}

/// Everything counted so far.
#[derive(Debug, Default)]
pub(super) struct Sum {
    counts: Counts,
    failures: Vec<String>,
    skips: Vec<String>,
}

impl Sum {
    pub(super) fn pass(&mut self, _name: &str) {
        self.counts.passed += 1;
    }

    pub(super) fn fail(&mut self, name: &str, why: &str) {
        self.counts.failed += 1;
        self.failures.push(format!("{name}: {why}"));
    }

    pub(super) fn skip(&mut self, name: &str, why: &str) {
        self.counts.ignored += 1;
        self.skips.push(format!("{name}: {why}"));
    }

    pub(super) fn add(&mut self, counts: Counts) {
        self.counts.passed += counts.passed;
        self.counts.failed += counts.failed;
        self.counts.ignored += counts.ignored;
    }

    /// A failure that [`Sum::add`] counts.
    pub(super) fn name_failure(&mut self, name: &str) {
        self.failures.push(name.to_owned());
    }

    /// A skip that [`Sum::add`] counts.
    pub(super) fn name_skip(&mut self, reason: &str) {
        self.skips.push(reason.to_owned());
    }

    pub(super) fn add_verdict(&mut self, place: &str, verdict: Verdict) {
        self.counts.passed += verdict.passed.len() as u64;
        for failed in verdict.failed {
            self.fail(place, &failed);
        }
        for skipped in verdict.skipped {
            self.skip(place, &skipped);
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.counts.failed
    }

    /// The closing lines.
    pub(super) fn print(&self) {
        for skipped in &self.skips {
            shell::print(&format!("skipped: {skipped}"));
        }
        for failed in &self.failures {
            shell::print(&format!("FAILED: {failed}"));
        }
        shell::print(&self.closing());
    }

    fn closing(&self) -> String {
        let Counts {
            passed,
            failed,
            ignored,
        } = self.counts;
        let all = passed + failed + ignored;
        format!("{passed} passed, {failed} failed, {ignored} skipped, {all} in all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_test_are_counted() {
        let line = "test result: FAILED. 5 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.1s";
        assert_eq!(
            test_result(line),
            Some(Counts {
                passed: 5,
                failed: 1,
                ignored: 2
            })
        );
        let own = Counts {
            passed: 7,
            failed: 0,
            ignored: 1,
        };
        assert_eq!(
            test_result("kernel: 7 passed, 1 skipped, 0 failed"),
            Some(own)
        );
        assert_eq!(
            test_result("moto: 7 passed, 1 skipped, 0 failed"),
            Some(own)
        );
        assert_eq!(test_result("test a ... ok"), None);
        assert_eq!(failed_test("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
    }

    #[test]
    fn the_sum_adds_up() {
        let mut sum = Sum::default();
        sum.pass("format");
        sum.add(Counts {
            passed: 5,
            failed: 1,
            ignored: 0,
        });
        sum.fail("lints", "broken");
        sum.skip("lab", "--fast");
        assert_eq!(sum.closing(), "6 passed, 2 failed, 1 skipped, 9 in all");
    }
}
