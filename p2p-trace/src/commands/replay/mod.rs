//! `replay`: shows a dump as `live` showed the run.

#[cfg(feature = "tui")]
mod dashboard;

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use p2p_trace_dump::{End, Redactor};

use super::{
    exit_policy::ExitPolicy,
    format, is_closed,
    live::{Plan, Shown, is_stdout_closed},
};
use crate::{
    cli::{Global, ReplayArgs},
    exit::{Exit, Refusal},
    outfile::Input,
    render::{Context, Format, Printer, json::Envelope},
    run::{self as driver, ReadyFile, dumps, stop::Stop},
};

/// Runs the command.
///
/// # Errors
///
/// When a file is not a dump or cannot be read, or stdout cannot be written to.
pub fn run(args: &ReplayArgs, global: &Global) -> Result<Exit> {
    #[cfg(feature = "tui")]
    if dashboard::is_wanted(args) {
        return dashboard::run(args, global);
    }
    let format = format(args.json, args.stacks, global);
    let redactor = args.redact.then(Redactor::random);
    let (stop, runs, errors) = if args.follow {
        let stop = Stop::on_signals().context("cannot catch SIGINT and SIGTERM")?;
        match followed(&args.files, redactor.as_ref(), stop.clone()) {
            Err(_) if stop.is_set() => {
                tracing::info!("interrupted before there was a dump to follow");
                return Ok(Exit::Success);
            }
            run => (stop, vec![run?], Vec::new()),
        }
    } else {
        let (runs, errors) = dumps::open_redacted(&args.files, redactor.as_ref());
        (Stop::default(), runs, errors)
    };
    let mut out = io::stdout().lock();
    for run in runs {
        match show(run, format, args.findings, &stop, &mut out) {
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_closed) => {
                return Ok(Exit::Success);
            }
            shown => shown?,
        }
    }
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(Exit::Success),
    }
}

/// Opens the run to follow, from one file on.
fn followed(files: &[Input], redactor: Option<&Redactor>, stop: Stop) -> Result<dumps::Run> {
    match files {
        [file] if **file != *Path::new("-") => {
            let is_over = move || stop.is_set() || is_stdout_closed();
            dumps::follow(file, redactor, is_over)
        }
        _ => bail!(Refusal::new(
            Exit::Usage,
            "--follow needs exactly one file, the first of the run; it continues with the next files by itself; a pipe needs no \
             --follow"
        )),
    }
}

pub(super) fn show(
    mut run: dumps::Run,
    format: Format,
    only_findings: bool,
    stop: &Stop,
    out: &mut impl Write,
) -> Result<()> {
    let header = run.reader.header().clone();
    let exit_policy = ExitPolicy { rules: header.rules(), ..ExitPolicy::default() };
    let plan = Plan {
        format,
        clock: header.clock,
        duration: None,
        ready_file: ReadyFile::default(),
        only_findings,
        exit_policy,
        record: None,
        kmsg: false,
        is_closed: is_stdout_closed,
    };
    let names = run.reader.names();
    let context = Context::new(header.clock, &header.status, &names);
    let envelope = Envelope::new(header.host.clone(), &header.status);
    let printer = Printer::new(format, context, &envelope, only_findings, out);
    let mut shown = Shown::new(printer, &plan, header.status, None, stop);
    let end = driver::play(&mut run.reader, exit_policy.rules, &mut shown)?;
    warn_of_gaps(&run, end.as_ref(), stop);
    Ok(())
}

/// Prints on stderr what the dump lacks.
fn warn_of_gaps(run: &dumps::Run, end: Option<&End>, stop: &Stop) {
    let files: Vec<_> = run.files.iter().map(|path| dumps::name(path)).collect();
    let files = files.join(", ");
    for complaint in run.reader.complaints() {
        tracing::warn!("{files}: {complaint}");
    }
    for repeat in run.reader.repeats() {
        tracing::warn!("{repeat}");
    }
    match end {
        Some(End::CutOff) if stop.is_set() => {
            tracing::info!("{files}: following stopped before the end of the run");
        }
        Some(end) => {
            if let Some(lacks) = end.lacks() {
                tracing::warn!("{files}: {lacks}");
            }
        }
        None => {}
    }
}
