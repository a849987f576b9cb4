//! The results of a run.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of one stage or scenario.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Outcome {
    /// It passed.
    Passed,
    /// It failed; why, in one line.
    Failed(String),
    /// It was skipped; why, in one line.
    Skipped(String),
    /// A part of the row above it, listed for its time.
    Part,
}

/// The number of tests with each result.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Skipped.
    pub(crate) skipped: u64,
}

/// One stage, or one scenario in a guest.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    /// Its name, with the kernel for a scenario.
    pub(crate) name: String,
    /// Its result.
    pub(crate) outcome: Outcome,
    /// Its duration.
    pub(crate) time: Duration,
    /// The tests inside it; a single scenario or stage counts itself.
    pub(crate) counts: Counts,
}

/// The results of everything that ran.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Summary {
    rows: Vec<Row>,
    /// The total duration.
    total: Option<Duration>,
}

impl Row {
    /// A row that counts as one test.
    pub(crate) fn single(name: impl Into<String>, outcome: Outcome, time: Duration) -> Self {
        let counts = match outcome {
            Outcome::Passed => Counts { passed: 1, ..Counts::default() },
            Outcome::Failed(_) => Counts { failed: 1, ..Counts::default() },
            Outcome::Skipped(_) => Counts { skipped: 1, ..Counts::default() },
            Outcome::Part => Counts::default(),
        };
        Self { name: name.into(), outcome, time, counts }
    }
}

impl Summary {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds the rows of `other`.
    pub(crate) fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    /// Whether anything failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.outcome, Outcome::Failed(_)))
    }

    /// Sets the total duration to show.
    pub(crate) const fn set_total(&mut self, time: Duration) {
        self.total = Some(time);
    }

    /// Puts the rows under a heading, which has failed if one of them has.
    pub(crate) fn below(self, heading: &str, time: Duration) -> Self {
        let failed = self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed(_))).count();
        let outcome = match failed {
            0 => Outcome::Passed,
            _ => Outcome::Failed(format!("{failed} failed")),
        };
        let mut rows = vec![Row { counts: Counts::default(), ..Row::single(heading, outcome, time) }];
        rows.extend(self.rows.into_iter().map(|row| Row { name: format!("  {}", row.name), ..row }));
        Self { rows, total: None }
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for row in &self.rows {
            sum += row.counts;
        }
        sum
    }
}

impl From<Row> for Summary {
    fn from(row: Row) -> Self {
        Self { rows: vec![row], total: None }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// A table with one line per row, and the counts as its last line.
impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        for row in &self.rows {
            let (word, reason) = match &row.outcome {
                Outcome::Passed => ("passed ", ""),
                Outcome::Failed(reason) => ("FAILED ", reason.as_str()),
                Outcome::Skipped(reason) => ("skipped", reason.as_str()),
                Outcome::Part => ("       ", ""),
            };
            let line = format!("{:width$}  {word} {:7.1} s  {reason}", row.name, row.time.as_secs_f64());
            writeln!(formatter, "{}", line.trim_end())?;
        }
        if let Some(total) = self.total {
            writeln!(formatter, "{:width$}          {:7.1} s", "total", total.as_secs_f64())?;
        }
        write!(formatter, "{}", self.counts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_reasons_and_counts() {
        let mut summary = Summary::default();
        summary.push(Row::single("format", Outcome::Passed, Duration::from_millis(1234)));
        summary.push(Row {
            name: "tests".to_owned(),
            outcome: Outcome::Failed("2 tests failed".to_owned()),
            time: Duration::from_secs(61),
            counts: Counts { passed: 10, failed: 2, skipped: 1 },
        });
        summary.push(Row::single("hang on 6.1", Outcome::Skipped("no kernel".to_owned()), Duration::ZERO));
        summary.push(Row::single("  booting", Outcome::Part, Duration::from_secs(3)));
        summary.set_total(Duration::from_secs(75));
        assert!(summary.has_failed());
        assert_eq!(
            summary.to_string(),
            "format       passed      1.2 s\n\
             tests        FAILED     61.0 s  2 tests failed\n\
             hang on 6.1  skipped     0.0 s  no kernel\n\
             \x20 booting                3.0 s\n\
             total                   75.0 s\n\
             11 passed, 2 failed, 2 skipped"
        );
    }

    #[test]
    fn heading_fails_with_a_row_and_counts_once() {
        let mut summary = Summary::default();
        summary.push(Row::single("a", Outcome::Passed, Duration::from_secs(1)));
        let failed = Outcome::Failed("reason".to_owned());
        summary.push(Row::single("b", failed, Duration::from_secs(2)));
        assert_eq!(
            summary.below("guests", Duration::from_secs(4)).to_string(),
            "guests  FAILED      4.0 s  1 failed\n\
             \x20 a     passed      1.0 s\n\
             \x20 b     FAILED      2.0 s  reason\n\
             1 passed, 1 failed, 0 skipped"
        );
    }

    #[test]
    fn skipped_test_is_not_a_failure() {
        let mut summary = Summary::default();
        summary.push(Row::single("a", Outcome::Skipped("reason".to_owned()), Duration::ZERO));
        assert!(!summary.has_failed());
    }
}
