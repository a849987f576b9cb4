//! `check`: evaluates the rules for dumps.

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};
use p2p_trace_model::rules::{Answer, Severity};

use super::{colors_stdout, is_closed};
use crate::{
    cli::{CheckArgs, Global},
    exit::Exit,
    render::{check, text::Style},
    run::{dumps, evaluate::outcome},
};

/// How dumps are evaluated and shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) json: bool,
    pub(super) style: Style,
    pub(super) fail_on: Severity,
    pub(super) stall_after: Option<std::time::Duration>,
}

/// The result of a dump.
struct Checked {
    /// The output for stdout.
    text: String,
    answer: Answer,
}

/// Runs the command.
///
/// # Errors
///
/// When stdout cannot be written to. A file that cannot be read is an error message on stderr, and the others are still checked.
pub fn run(args: &CheckArgs, global: &Global) -> Result<Exit> {
    let options = Options {
        json: args.json,
        style: Style { color: colors_stdout(global) },
        fail_on: args.fail_on.unwrap_or(Severity::Medium),
        stall_after: args.stall_after,
    };
    let (runs, errors) = dumps::open(&args.files);
    let mut out = io::stdout().lock();
    check(runs, errors, options, &mut out)
}

pub(super) fn check(
    runs: Vec<dumps::Run>,
    errors: Vec<anyhow::Error>,
    options: Options,
    out: &mut impl Write,
) -> Result<Exit> {
    let mut failed = !errors.is_empty();
    for error in errors {
        tracing::error!("{error:#}");
    }
    let mut answers = Vec::new();
    for checked in evaluate_all(runs, options) {
        match checked {
            Ok(Checked { text, answer }) => {
                answers.push(answer);
                match out.write_all(text.as_bytes()) {
                    Err(error) if is_closed(&error) => {}
                    written => written.context("cannot write to stdout")?,
                }
            }
            Err(error) => {
                failed = true;
                tracing::error!("{error:#}");
            }
        }
    }
    Ok(exit(failed, &answers))
}

/// The exit code of all dumps. A file that cannot be read is an error, whatever the other answers.
pub(super) fn exit(failed: bool, answers: &[Answer]) -> Exit {
    if failed {
        Exit::Error
    } else if answers.contains(&Answer::Violated) {
        Exit::Violated
    } else if answers.contains(&Answer::Inconclusive) {
        Exit::Inconclusive
    } else {
        Exit::Success
    }
}

/// Evaluates runs in parallel, and returns the results in the order of the runs.
fn evaluate_all(runs: Vec<dumps::Run>, options: Options) -> Vec<Result<Checked>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(runs.len());
    let runs: Vec<_> = runs.into_iter().map(|run| Mutex::new(Some(run))).collect();
    let checked: Vec<_> = runs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((run, place)) = runs.get(index).zip(checked.get(index)) else {
                return;
            };
            let run = run.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(run) = run {
                let result = evaluate(run, options);
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    checked
        .into_iter()
        .filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Evaluates a run, and formats the result.
fn evaluate(mut run: dumps::Run, options: Options) -> Result<Checked> {
    let outcome = outcome(&mut run, options.fail_on, options.stall_after, &mut ())?;
    let names = run.reader.names();
    let context = check::context(&outcome, &names);
    let text = if options.json {
        check::json(&outcome, &context)?
    } else {
        check::text(&outcome, &context, options.style)
    };
    let answer = outcome.answer;
    Ok(Checked { text, answer })
}
