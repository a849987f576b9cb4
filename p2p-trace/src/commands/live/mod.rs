//! `live`: shows the events of p2p memory on this host as they happen.

#[cfg(test)]
mod findings_tests;
mod reader_gone;
#[cfg(test)]
mod recorded_tests;
mod shown;
#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use anyhow::{Context as _, Result};
use p2p_trace_model::units::Clock;
use p2p_trace_probe::kernel::clock;

use super::{
    exit_policy::ExitPolicy,
    format,
    handler::handler,
    is_closed,
    record::{self, record},
};
use crate::{
    cli::{Global, LiveArgs},
    exit::Exit,
    outfile::{Content, Destination, Output},
    render::{BackgroundWriter, Context, Format, LineSink, Printer, json::Envelope},
    run::{
        Answer, Driver, Opened, ReadyFile, Tee, open,
        recorder::{self, Recorder},
        stop::Stop,
    },
};

pub(super) use reader_gone::is_stdout_closed;
pub(super) use shown::Shown;

/// The parts of the command line that are needed after the session is open.
pub(super) struct Plan {
    pub(super) format: Format,
    pub(super) clock: Clock,
    pub(super) duration: Option<Duration>,
    pub(super) ready_file: ReadyFile,
    /// Only findings are shown, no events.
    pub(super) only_findings: bool,
    pub(super) exit_policy: ExitPolicy,
    /// The run is also recorded into this file.
    pub(super) record: Option<Destination>,
    /// Critical findings are also written to the kernel log.
    pub(super) kmsg: bool,
    /// Returns true once the reader of stdout has closed it.
    pub(super) is_closed: fn() -> bool,
}

/// Runs the command.
///
/// # Errors
///
/// When the kernel cannot be traced, tracing breaks off, or stdout cannot be written to.
pub fn run(args: &LiveArgs, global: &Global) -> Result<Exit> {
    let format = format(args.json, args.tracing.stacks.is_some(), global);
    let rules = args.tracing.rules();
    let mut outputs = args.tracing.outputs();
    if args.raw {
        let destination = outputs.prepare(&Output::stdout(), Content::Dump)?;
        return record(record::Plan {
            request: args.tracing.request(global),
            duration: args.tracing.duration,
            rules,
            ready_file: ReadyFile::prepare(&mut outputs, args.tracing.ready_file.as_ref())?,
            options: recorder::Options::one_file(destination),
        });
    }
    // The output uses it.
    outputs.reserve_stdout();
    let recorded = outputs.prepare_optional(args.record.as_ref(), Content::Dump)?;
    let ready_file = ReadyFile::prepare(&mut outputs, args.tracing.ready_file.as_ref())?;
    let stop = Stop::before_start().context("cannot catch SIGINT and SIGTERM")?;
    let opened = open(&args.tracing.request(global), &stop)?;
    stop.started();
    let plan = Plan {
        format,
        clock: clock::now(),
        duration: args.tracing.duration,
        ready_file,
        only_findings: args.findings,
        exit_policy: ExitPolicy { rules, fail_on: args.fail_on, until_finding: args.until_finding },
        record: recorded,
        kmsg: args.tracing.kmsg,
        is_closed: is_stdout_closed,
    };
    let handler = handler(&opened, &args.tracing.device, &plan.clock);
    let mut out =
        BackgroundWriter::start(|| io::stdout().lock()).context("cannot start the thread that writes")?;
    let exit = stream(opened, &plan, handler, &stop, &mut out);
    // Even after an error, write the pending output.
    match out.finish() {
        Err(error) if !is_closed(&error) => exit.and(Err(error.into())),
        _ => exit,
    }
}

/// Shows the run from the first status to the summary.
fn stream(
    opened: Opened,
    plan: &Plan,
    handler: Option<Box<dyn Answer>>,
    stop: &Stop,
    out: &mut dyn LineSink,
) -> Result<Exit> {
    let Opened { session, symbols } = opened;
    let status = session.status();
    let context = Context::new(plan.clock, &status, symbols.as_ref());
    let envelope = Envelope::new(record::host(), &status);
    let printer = Printer::new(plan.format, context, &envelope, plan.only_findings, out);
    let mut shown = Shown::new(printer, plan, status.clone(), handler, stop);
    let driver = Driver {
        rules: plan.exit_policy.rules,
        start_ns: plan.clock.boottime_ns,
        duration: plan.duration,
        stop,
        kmsg: plan.kmsg,
    };
    let mut recorder = match &plan.record {
        Some(destination) => {
            let header = record::header(status.clone(), plan.clock, plan.exit_policy.rules);
            let options = recorder::Options::one_file(destination.clone());
            Some(Recorder::start(options, header, symbols.as_ref())?)
        }
        None => None,
    };
    let mut both = Tee { first: &mut shown, second: recorder.as_mut() };
    match driver.run(session, &status, &mut both) {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_closed) => Ok(shown.exit()),
        Err(error) => Err(error),
        Ok(()) => Ok(shown.exit()),
    }
}
