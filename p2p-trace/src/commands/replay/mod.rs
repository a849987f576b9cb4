//! `replay`: a dump, shown as `live` showed the run.

#[cfg(feature = "tui")]
mod dashboard;

use std::io::{self, Write};

use anyhow::Result;

use super::{
    colors_stdout, dumps, is_closed,
    judging::Judging,
    live::{Plan, Shown, is_stdout_closed},
};
use crate::{
    cli::{Global, ReplayArgs},
    drive::stop::Stop,
    dump::{self, End},
    exit::Exit,
    output::{Context, Format, Printer, text},
};

/// Runs the command.
///
/// # Errors
///
/// When a file is no dump or cannot be read, or stdout cannot be written to.
pub fn run(args: &ReplayArgs, global: &Global) -> Result<Exit> {
    #[cfg(feature = "tui")]
    if dashboard::is_wanted(args) {
        return dashboard::run(args, global);
    }
    let format = if args.json {
        Format::Json
    } else {
        Format::Text(text::Options {
            style: text::Style {
                color: colors_stdout(global),
            },
            stacks: args.stacks,
        })
    };
    let stop = Stop::default();
    let (runs, errors) = dumps::open(&args.files);
    let mut out = io::stdout().lock();
    for run in runs {
        match show(run, format, args.findings, &stop, &mut out) {
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_closed) => return Ok(Exit::Holds),
            shown => shown?,
        }
    }
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(Exit::Holds),
    }
}

pub(super) fn show(
    mut run: dumps::Run,
    format: Format,
    only_findings: bool,
    stop: &Stop,
    out: &mut impl Write,
) -> Result<()> {
    let header = run.tape.header().clone();
    let judging = Judging {
        rules: header.rules(),
        ..Judging::default()
    };
    let plan = Plan {
        format,
        clock: header.clock,
        duration: None,
        ready_file: None,
        only_findings,
        judging,
        record: None,
        is_closed: is_stdout_closed,
    };
    let names = run.tape.names();
    let context = Context::new(header.clock, &header.status, &names);
    let printer = Printer::new(format, context, only_findings, out);
    let mut shown = Shown::new(printer, &plan, header.status, None, stop);
    let end = dump::play(&mut run.tape, judging.rules, &mut shown)?;
    complain(&run, end.as_ref());
    Ok(())
}

/// Says on stderr what is missing of a dump.
fn complain(run: &dumps::Run, end: Option<&End>) {
    let files: Vec<_> = run.files.iter().map(|path| dumps::name(path)).collect();
    let files = files.join(", ");
    for damage in run.tape.damage() {
        tracing::warn!("{files}: {damage}");
    }
    for kind in run.tape.unknown() {
        tracing::warn!("{files}: blocks of kind {kind} were skipped, which this version does not know");
    }
    match end {
        Some(End::CutOff) => tracing::warn!("{files}: the dump breaks off before the end of the run"),
        Some(End::GoesOn) => tracing::warn!("{files}: the run goes on in a file that was not given"),
        Some(End::Whole(_)) | None => {}
    }
}
