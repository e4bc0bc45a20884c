//! What the machine in the lab said. Pure: lines in, counts out.

/// Sum of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Scenarios that passed.
    pub(crate) passed: Vec<String>,
    /// Scenarios that failed, with details.
    pub(crate) failed: Vec<String>,
    /// Scenarios that were skipped, with the reason.
    pub(crate) skipped: Vec<String>,
    /// The document of `up -o json`.
    pub(crate) document: Option<String>,
    /// What scenarios found out, by name: JSON.
    pub(crate) recorded: Vec<(String, String)>,
    /// `lab: done` lines.
    pub(crate) done: u32,
    /// Why the run is worth nothing.
    pub(crate) broken: Option<String>,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl Verdict {
    /// Takes one line; true when nothing more is to be waited for.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        if line.contains("Kernel panic - not syncing") {
            self.broken = Some(line.to_owned());
            return true;
        }
        if let Some(document) = line.strip_prefix("lab: document ") {
            self.document = Some(document.to_owned());
        } else if let Some((name, found)) = line
            .strip_prefix("lab: recorded ")
            .and_then(|l| l.split_once(' '))
        {
            self.recorded.push((name.to_owned(), found.to_owned()));
        } else if line == "lab: done" {
            self.done += 1;
        } else if let Some((name, rest)) = line
            .strip_prefix("scenario ")
            .and_then(|l| l.split_once(": "))
        {
            let said = format!("{name}: {rest}");
            if rest == "pass" || rest.starts_with("pass ") {
                self.passed.push(said);
            } else if rest.starts_with("skip") {
                self.skipped.push(said);
            } else {
                self.failed.push(said);
            }
        }
        false
    }

    /// Whether everything that was to be said was said, and well.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty() && self.problem().is_none()
    }

    /// Takes in what a second machine said: one `lab: done` of each.
    pub(crate) fn and(mut self, mut other: Self) -> Self {
        self.passed.append(&mut other.passed);
        self.failed.append(&mut other.failed);
        self.skipped.append(&mut other.skipped);
        self.recorded.append(&mut other.recorded);
        self.broken = self.problem().or_else(|| other.problem());
        self.seconds += other.seconds;
        self
    }

    /// What is wrong with the run itself.
    pub(crate) fn problem(&self) -> Option<String> {
        match (&self.broken, self.done) {
            (Some(why), _) => Some(why.clone()),
            (None, 1) => None,
            (None, 0) => Some("the machine ended without saying `lab: done`".to_owned()),
            (None, n) => Some(format!("`lab: done` was said {n} times")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Verdict {
        let mut verdict = Verdict::default();
        for line in lines {
            verdict.take(line);
        }
        verdict
    }

    #[test]
    fn counts_what_was_said() {
        let verdict = of(&[
            "noise",
            "scenario a: pass 3 of 3",
            "scenario b: skip(no network)",
            "lab: done",
        ]);
        assert_eq!(
            (
                verdict.passed.len(),
                verdict.skipped.len(),
                verdict.failed.len()
            ),
            (1, 1, 0)
        );
        assert!(verdict.is_good());
        assert!(!of(&["scenario a: fail x", "lab: done"]).is_good());
        assert!(!of(&["scenario a: passing strange", "lab: done"]).is_good());
    }

    #[test]
    fn two_machines_are_as_good_as_both() {
        let good = || of(&["scenario a: pass", "lab: recorded x {}", "lab: done"]);
        let both = good().and(good());
        assert!(both.is_good());
        assert_eq!((both.passed.len(), both.recorded.len()), (2, 2));
        assert!(!good().and(of(&["scenario a: pass"])).is_good());
        assert!(!of(&[]).and(good()).is_good());
    }

    #[test]
    fn silence_repetition_and_panic_are_no_success() {
        assert!(!of(&["scenario a: pass"]).is_good());
        assert!(!of(&["lab: done", "lab: done"]).is_good());
        let mut verdict = Verdict::default();
        assert!(verdict.take("[ 1.0] Kernel panic - not syncing: x"));
        assert!(!verdict.is_good());
    }
}
