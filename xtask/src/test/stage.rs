//! Runs stages one after the other, with announcements, times and activities.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::background::Background;
use crate::host::ledger;
use crate::summary::{Counts, Outcome, Row, Summary};

/// The result of a stage that could be carried out.
pub(crate) enum Done {
    /// A stage without counted parts.
    Outcome(Outcome),
    /// The counts of tests.
    Tests(Counts),
    /// A row for each part.
    Rows(Summary),
}

/// The stages to perform.
#[derive(Args, Debug)]
pub(crate) struct Choice<S: ValueEnum + Send + Sync + 'static> {
    /// Run only this stage (repeatable).
    #[arg(long, value_name = "STAGE")]
    only: Vec<S>,
    /// Skip this stage (repeatable).
    #[arg(long, value_name = "STAGE")]
    skip: Vec<S>,
}

/// Stages that run at the same time, if some of each kind are chosen.
pub(crate) struct Side<S: 'static> {
    /// Stages that keep the processors busy: run by a task of their own with low priority.
    pub(crate) busy: &'static [S],
    /// Stages that mostly wait.
    pub(crate) waiting: &'static [S],
    /// Starts the task.
    pub(crate) start: fn(&[String]) -> Result<Background>,
}

impl<S: ValueEnum + PartialEq + Send + Sync> Choice<S> {
    /// Whether a stage is chosen.
    pub(super) fn has(&self, stage: &S) -> bool {
        (self.only.is_empty() || self.only.contains(stage)) && !self.skip.contains(stage)
    }

    /// Performs the stages in order, and returns their results; with `show_skipped`, stages that are not
    /// chosen have a row as well.
    pub(crate) fn perform(
        &self,
        show_skipped: bool,
        side: Option<Side<S>>,
        work: impl Fn(&S) -> Result<Done>,
    ) -> Summary {
        let start = Instant::now();
        let mut summary = Summary::default();
        let has_any = |stages: &[S]| stages.iter().any(|stage| self.has(stage));
        let side = side.filter(|side| has_any(side.busy) && has_any(side.waiting));
        let mut background = None;
        for stage in S::value_variants() {
            let name = name_of(stage);
            if !self.has(stage) {
                if show_skipped {
                    let reason = Outcome::Skipped("not selected".to_owned());
                    summary.push(Row::single(name, reason, Duration::ZERO));
                }
                continue;
            }
            if let Some(side) = &side {
                if side.busy.contains(stage) {
                    continue;
                }
                if side.waiting.contains(stage) && background.is_none() {
                    let busy = side.busy.iter().filter(|stage| self.has(stage));
                    background = Some((side.start)(&busy.map(name_of).collect::<Vec<_>>()));
                }
            }
            summary.extend(perform(&name, || work(stage)));
        }
        if let Some(background) = background {
            let waited = Instant::now();
            summary.extend(match background.and_then(Background::finish) {
                Ok(rows) => rows,
                Err(error) => self::summary("background", Err(error), waited.elapsed()),
            });
        }
        summary.set_total(start.elapsed());
        summary
    }
}

/// The name on the command line.
fn name_of(stage: &impl ValueEnum) -> String {
    stage.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn perform(name: &str, work: impl FnOnce() -> Result<Done>) -> Summary {
    println!("\n== {name} ==");
    // Earlier activities do not belong to this stage.
    drop(ledger::drain());
    let start = Instant::now();
    let done = work();
    let mut summary = summary(name, done, start.elapsed());
    for (activity, time) in ledger::drain() {
        summary.push(Row::single(format!("  {activity}"), Outcome::Part, time));
    }
    summary
}

fn summary(name: &str, done: Result<Done>, time: Duration) -> Summary {
    match done {
        Ok(Done::Rows(rows)) => rows.below(name, time),
        Ok(Done::Outcome(outcome)) => Row::single(name, outcome, time).into(),
        Ok(Done::Tests(counts)) => {
            let outcome = match counts.failed {
                0 => Outcome::Passed,
                failed => Outcome::Failed(format!("{failed} failed")),
            };
            let single = Row::single(name, outcome, time);
            Row { counts, ..single }.into()
        }
        Err(error) => {
            println!("{error:#}");
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            Row::single(name, Outcome::Failed(reason), time).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, ValueEnum)]
    enum Stage {
        First,
        Busy,
        Waiting,
    }

    const SIDE: Side<Stage> = Side {
        busy: &[Stage::Busy],
        waiting: &[Stage::Waiting],
        start: |stages| {
            assert_eq!(stages, ["busy"]);
            anyhow::bail!("started")
        },
    };

    /// The names of the stages performed here, and the results of all, without times.
    fn performed(only: &[Stage], skip: &[Stage], show_skipped: bool) -> (Vec<String>, Vec<String>) {
        let [only, skip] = [only, skip].map(<[_]>::to_vec);
        let choice = Choice { only, skip };
        let here = std::cell::RefCell::new(Vec::new());
        let summary = choice.perform(show_skipped, Some(SIDE), |stage| {
            here.borrow_mut().push(name_of(stage));
            Ok(Done::Outcome(Outcome::Passed))
        });
        let rows = summary.to_string();
        let rows = rows.lines().filter(|line| !line.contains("total") && !line.contains(','));
        let words = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        (here.into_inner(), rows.map(words).collect())
    }

    #[test]
    fn runs_busy_stages_in_the_background() {
        let (here, rows) = performed(&[], &[], true);
        assert_eq!(here, ["first", "waiting"]);
        assert_eq!(rows, ["first passed", "waiting passed", "background FAILED"]);
    }

    #[test]
    fn runs_stages_of_one_kind_in_order() {
        let (here, rows) = performed(&[], &[Stage::Waiting], true);
        assert_eq!(here, ["first", "busy"]);
        assert_eq!(rows, ["first passed", "busy passed", "waiting skipped"]);
        let (here, rows) = performed(&[Stage::Busy], &[], false);
        assert_eq!(here, ["busy"]);
        assert_eq!(rows, ["busy passed"]);
    }

    #[test]
    fn failed_tests_fail_the_stage() {
        let counts = Counts { passed: 3, failed: 1, skipped: 0 };
        assert_eq!(
            summary("tests", Ok(Done::Tests(counts)), Duration::ZERO).to_string(),
            "tests  FAILED      0.0 s  1 failed\n3 passed, 1 failed, 0 skipped"
        );
    }

    #[test]
    fn shows_the_first_line_of_an_error() {
        let error = anyhow::anyhow!("building failed\nlong output");
        assert_eq!(
            summary("build", Err(error), Duration::ZERO).to_string(),
            "build  FAILED      0.0 s  building failed\n0 passed, 1 failed, 0 skipped"
        );
    }
}
