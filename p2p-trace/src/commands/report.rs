//! `report`: the findings and verdicts of dumps, as Markdown or as an HTML page.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use p2p_trace_dump::Redactor;
use p2p_trace_model::{event::Names, rules::Severity};

use super::{check, is_closed};
use crate::{
    cli::ReportArgs,
    exit::Exit,
    outfile::{Content, Outputs},
    render::{
        self,
        report::{Collector, Story, Subject, html, markdown},
    },
    run::{
        dumps,
        evaluate::{Outcome, outcome},
    },
};

/// Runs the command.
///
/// # Errors
///
/// When stdout or the page cannot be written to. A file that cannot be read is an error message on stderr, and the others are
/// still reported.
pub fn run(args: &ReportArgs) -> Result<Exit> {
    let mut outputs = Outputs::new(&args.files, args.force);
    let destination = outputs.prepare_optional(args.html.as_ref(), Content::Text)?;
    let redactor = args.redact.then(Redactor::random);
    let (runs, errors) = dumps::open_redacted(&args.files, redactor.as_ref());
    let (runs, exit) = evaluate(runs, errors, args);
    if let Some(destination) = destination {
        let mut file = destination.create()?;
        return match file.write_all(page(&runs).as_bytes()) {
            Err(error) if is_closed(&error) => Ok(exit),
            written => {
                written.with_context(|| format!("cannot write {}", destination.name()))?;
                file.finish()?;
                Ok(exit)
            }
        };
    }
    match io::stdout().lock().write_all(mail(&runs).as_bytes()) {
        Err(error) if is_closed(&error) => {}
        written => written.context("cannot write to stdout")?,
    }
    Ok(exit)
}

/// A run with the answers of the rules.
pub(super) struct Evaluated {
    story: Story,
    outcome: Outcome,
    names: Names,
}

/// Evaluates the runs. Returns the exit code, too.
pub(super) fn evaluate(
    runs: Vec<dumps::Run>,
    errors: Vec<anyhow::Error>,
    args: &ReportArgs,
) -> (Vec<Evaluated>, Exit) {
    let mut failed = !errors.is_empty();
    for error in errors {
        tracing::error!("{error:#}");
    }
    let mut evaluated = Vec::new();
    for run in runs {
        match evaluate_run(run, args) {
            Ok(run) => evaluated.push(run),
            Err(error) => {
                failed = true;
                tracing::error!("{error:#}");
            }
        }
    }
    let answers: Vec<_> = evaluated.iter().map(|run| run.outcome.answer).collect();
    (evaluated, check::exit(failed, &answers))
}

fn evaluate_run(mut run: dumps::Run, args: &ReportArgs) -> Result<Evaluated> {
    let mut collector = Collector::default();
    let fail_on = args.fail_on.unwrap_or(Severity::Medium);
    let outcome = outcome(&mut run, fail_on, args.stall_after, &mut collector)?;
    let names = run.reader.names();
    let subject = Subject {
        check: render::check::report(&outcome, &render::check::context(&outcome, &names)),
        header: outcome.header.clone(),
    };
    Ok(Evaluated { story: collector.finish(subject), outcome, names })
}

pub(super) fn mail(runs: &[Evaluated]) -> String {
    let of = |run: &Evaluated| markdown(&run.story, &render::check::context(&run.outcome, &run.names));
    let reports: Vec<_> = runs.iter().map(of).collect();
    reports.join("\n\n")
}

pub(super) fn page(runs: &[Evaluated]) -> String {
    let contexts: Vec<_> = runs.iter().map(|run| render::check::context(&run.outcome, &run.names)).collect();
    let stories: Vec<_> = runs.iter().map(|run| &run.story).zip(&contexts).collect();
    html(&stories)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use p2p_trace_dump::{Writer, samples};

    /// The report of dumps.
    fn report_of(dumps: &[&[u8]]) -> (String, Exit) {
        let dir = tempfile::tempdir().unwrap();
        let write = |(number, bytes): (usize, &&[u8])| {
            let path = dir.path().join(format!("{number}.p2pt"));
            fs::write(&path, bytes).unwrap();
            path
        };
        let files: Vec<PathBuf> = dumps.iter().enumerate().map(write).collect();
        let (runs, errors) = dumps::open(&files);
        let (runs, exit) = evaluate(runs, errors, &ReportArgs::default());
        let text = mail(&runs);
        (text.replace(&format!("{}/", dir.path().display()), ""), exit)
    }

    #[test]
    fn a_dump_is_reported_with_the_exit_code_of_check() {
        let (text, exit) = report_of(&[&samples::dump()]);
        assert_eq!(exit, Exit::Violated);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_cut_off_dump_says_that_its_end_is_missing() {
        let complete = samples::dump();
        let (text, _) = report_of(&[&complete[..complete.len() - 10]]);
        assert!(text.contains("The record is incomplete: the end of the run is missing"), "{text}");
        assert!(text.contains("The end of the run is missing"), "{text}");
    }

    #[test]
    fn each_run_has_a_report_and_an_unreadable_file_is_an_error() {
        let mut header = samples::header();
        header.status.run += 1;
        let other = Writer::new(Vec::new(), header).unwrap();
        let other = other.finish(p2p_trace_dump::Reason::Broken, 0, None).unwrap();
        let (text, exit) = report_of(&[&samples::dump(), &other, b"not a dump"]);
        assert_eq!(exit, Exit::Error);
        let titles: Vec<_> = text.lines().filter(|line| line.starts_with("# ")).collect();
        assert_eq!(titles.len(), 2, "{titles:?}");
    }
}
