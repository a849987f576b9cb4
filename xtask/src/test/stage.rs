//! One stage after the other: announced, timed, and what it spent its time on.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::background::Background;
use crate::host::ledger;
use crate::summary::{Counts, Outcome, Row, Summary};

/// What a stage that could be carried out came to.
pub(crate) enum Done {
    /// It has no parts that count.
    Whole(Outcome),
    /// So many tests.
    Tests(Counts),
    /// These things.
    Rows(Summary),
}

/// Which stages to perform.
#[derive(Args, Debug)]
pub(crate) struct Choice<S: ValueEnum + Send + Sync + 'static> {
    /// Run this stage only (repeatable).
    #[arg(long, value_name = "STAGE")]
    only: Vec<S>,
    /// Leave this stage out (repeatable).
    #[arg(long, value_name = "STAGE")]
    skip: Vec<S>,
}

/// Stages that are performed at the same time, where some of each kind are chosen.
pub(crate) struct Side<S: 'static> {
    /// Those that keep the processors busy: by a task of its own, which gives way to the others.
    pub(crate) busy: &'static [S],
    /// Those that mostly wait.
    pub(crate) waiting: &'static [S],
    /// Starts the task.
    pub(crate) start: fn(&[String]) -> Result<Background>,
}

impl<S: ValueEnum + PartialEq + Send + Sync> Choice<S> {
    /// Whether a stage is chosen.
    pub(super) fn has(&self, stage: &S) -> bool {
        (self.only.is_empty() || self.only.contains(stage)) && !self.skip.contains(stage)
    }

    /// Performs them in their order, and gives what they came to; `whole`: those that are not chosen have a row, too.
    pub(crate) fn perform(
        &self,
        whole: bool,
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
                if whole {
                    let reason = Outcome::Skipped("not asked for".to_owned());
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
                Err(error) => self::summary("beside", Err(error), waited.elapsed()),
            });
        }
        summary.set_total(start.elapsed());
        summary
    }
}

/// As it is written on the command line.
fn name_of(stage: &impl ValueEnum) -> String {
    stage.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn perform(name: &str, work: impl FnOnce() -> Result<Done>) -> Summary {
    println!("\n== {name} ==");
    // What was done before is not its own.
    drop(ledger::take());
    let start = Instant::now();
    let done = work();
    let mut summary = summary(name, done, start.elapsed());
    for (what, time) in ledger::take() {
        summary.push(Row::single(format!("  {what}"), Outcome::Part, time));
    }
    summary
}

fn summary(name: &str, done: Result<Done>, time: Duration) -> Summary {
    match done {
        Ok(Done::Rows(rows)) => rows.below(name, time),
        Ok(Done::Whole(outcome)) => Row::single(name, outcome, time).into(),
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
            anyhow::bail!("it was to be started")
        },
    };

    /// The names of what was performed here and how all ended, without times.
    fn performed(only: &[Stage], skip: &[Stage], whole: bool) -> (Vec<String>, Vec<String>) {
        let [only, skip] = [only, skip].map(<[_]>::to_vec);
        let choice = Choice { only, skip };
        let here = std::cell::RefCell::new(Vec::new());
        let summary = choice.perform(whole, Some(SIDE), |stage| {
            here.borrow_mut().push(name_of(stage));
            Ok(Done::Whole(Outcome::Passed))
        });
        let rows = summary.to_string();
        let rows = rows.lines().filter(|line| !line.contains("total") && !line.contains(','));
        let words = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        (here.into_inner(), rows.map(words).collect())
    }

    #[test]
    fn busy_stages_run_beside_waiting_ones() {
        let (here, rows) = performed(&[], &[], true);
        assert_eq!(here, ["first", "waiting"]);
        assert_eq!(rows, ["first passed", "waiting passed", "beside FAILED"]);
    }

    #[test]
    fn stages_of_one_kind_run_one_after_the_other() {
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
    fn an_error_is_shown_by_its_first_line() {
        let error = anyhow::anyhow!("building failed\nlong output");
        assert_eq!(
            summary("build", Err(error), Duration::ZERO).to_string(),
            "build  FAILED      0.0 s  building failed\n0 passed, 1 failed, 0 skipped"
        );
    }
}
