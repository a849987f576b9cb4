//! `report`: what a dump came to, for a mail or as a page.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

use super::{check, dumps, is_closed};
use crate::{
    cli::ReportArgs,
    exit::Exit,
    report::{Collector, Subject, markdown},
    rules::{Answer, Severity},
};

/// Runs the command.
///
/// # Errors
///
/// When stdout or the page cannot be written to. A file that cannot be read is told on stderr, and the others are
/// reported.
pub fn run(args: &ReportArgs) -> Result<Exit> {
    let (runs, errors) = dumps::open(&args.files);
    let (text, exit) = reports(runs, errors, args);
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if is_closed(&error) => {}
        written => written.context("cannot write to stdout")?,
    }
    Ok(exit)
}

fn reports(runs: Vec<dumps::Run>, errors: Vec<anyhow::Error>, args: &ReportArgs) -> (String, Exit) {
    let mut failed = !errors.is_empty();
    for error in errors {
        tracing::error!("{error:#}");
    }
    let mut answers = Vec::new();
    let mut reports = Vec::new();
    for run in runs {
        match report(run, args) {
            Ok((text, answer)) => {
                reports.push(text);
                answers.push(answer);
            }
            Err(error) => {
                failed = true;
                tracing::error!("{error:#}");
            }
        }
    }
    (reports.join("\n\n"), check::exit(failed, &answers))
}

/// The report of one run, and its answer.
fn report(mut run: dumps::Run, args: &ReportArgs) -> Result<(String, Answer)> {
    let mut collector = Collector::default();
    let fail_on = args.fail_on.unwrap_or(Severity::Medium);
    let outcome = check::outcome(&mut run, fail_on, args.stall_after, &mut collector)?;
    let names = run.tape.names();
    let context = outcome.context(&names);
    let subject = Subject {
        check: check::report(&outcome, &context),
        header: outcome.header.clone(),
    };
    let story = collector.finish(subject);
    Ok((markdown(&story, &context), outcome.answer))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::dump::{Writer, samples};

    /// The report of dumps.
    fn report_of(dumps: &[&[u8]]) -> (String, Exit) {
        let dir = tempfile::tempdir().unwrap();
        let write = |(number, bytes): (usize, &&[u8])| {
            let path = dir.path().join(format!("{number}.p2pt"));
            fs::write(&path, bytes).unwrap();
            path
        };
        let files: Vec<PathBuf> = dumps.iter().enumerate().map(write).collect();
        let args = ReportArgs {
            files,
            ..ReportArgs::default()
        };
        let (runs, errors) = dumps::open(&args.files);
        let (text, exit) = reports(runs, errors, &args);
        (text.replace(&format!("{}/", dir.path().display()), ""), exit)
    }

    #[test]
    fn a_dump_is_reported_with_the_exit_code_of_check() {
        let (text, exit) = report_of(&[&samples::dump()]);
        assert_eq!(exit, Exit::Violated);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_is_cut_off_says_so() {
        let whole = samples::dump();
        let (text, _) = report_of(&[&whole[..whole.len() - 10]]);
        assert!(
            text.contains("The record breaks off before the end of the run"),
            "{text}"
        );
        assert!(text.contains("The end of the run is missing"), "{text}");
    }

    #[test]
    fn each_run_has_a_report_and_what_cannot_be_read_is_an_error() {
        let mut header = samples::header();
        header.status.run += 1;
        let other = Writer::new(Vec::new(), header).unwrap();
        let other = other.finish(crate::dump::Reason::Broken, 0, None).unwrap();
        let (text, exit) = report_of(&[&samples::dump(), &other, b"no dump"]);
        assert_eq!(exit, Exit::Error);
        let titles: Vec<_> = text.lines().filter(|line| line.starts_with("# ")).collect();
        assert_eq!(titles.len(), 2, "{titles:?}");
    }
}
