//! `record`: records a run into a dump and shows nothing.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail};
use p2p_trace_dump::Header;
use p2p_trace_model::{accounting::Status, rules, text::Text, units::Clock};
use p2p_trace_probe::{
    kernel::{KernelRoot, clock},
    transport::Request,
};

use crate::{
    cli::{Global, RecordArgs},
    exit::{Exit, Refusal},
    outfile::Content,
    run::{
        Driver, Opened, ReadyFile, Tee, open,
        recorder::{Flight, Limits, Options, Recorder},
        stop::Stop,
    },
};

/// What to record, and where to.
pub(super) struct Plan {
    pub(super) request: Request,
    pub(super) duration: Option<Duration>,
    pub(super) rules: rules::Options,
    pub(super) ready_file: ReadyFile,
    pub(super) options: Options,
}

/// Runs the command.
///
/// # Errors
///
/// When the kernel cannot be traced, tracing breaks off, or the dump is not complete.
pub fn run(args: &RecordArgs, global: &Global) -> Result<Exit> {
    let is_series = args.flight_recorder || args.max_size.is_some() || args.max_age.is_some();
    let content = if is_series { Content::Dumps } else { Content::Dump };
    let mut outputs = args.tracing.outputs();
    let destination = outputs.prepare(&args.output, content)?;
    let ready_file = ReadyFile::prepare(&mut outputs, args.tracing.ready_file.as_ref())?;
    if args.flight_recorder && !destination.is_file() {
        bail!(Refusal::new(Exit::Usage, "a flight recorder needs an output file, not a pipe"));
    }
    let flight = if args.flight_recorder {
        Some(Flight {
            history: args.history,
            max_bytes: args.history_size,
            asked: Stop::asked_by_signal().context("cannot catch SIGUSR1")?,
            only_asked: None,
        })
    } else {
        None
    };
    record(Plan {
        request: args.tracing.request(global),
        duration: args.tracing.duration,
        rules: args.tracing.rules(),
        ready_file,
        options: Options {
            destination,
            limits: Limits {
                max_size: args.max_size,
                max_age: args.max_age,
                keep: args.keep.map(|keep| keep as usize),
            },
            redact: args.redact,
            flight,
        },
    })
}

/// Records until it is time to stop.
pub(super) fn record(plan: Plan) -> Result<Exit> {
    let stop = Stop::before_start().context("cannot catch SIGINT and SIGTERM")?;
    let Opened { session, symbols } = open(&plan.request, &stop)?;
    stop.started();
    let clock = clock::now();
    let status = session.status();
    let header = header(status.clone(), clock, plan.rules);
    let mut recorder = Recorder::start(plan.options, header, symbols.as_ref())?;
    let mut ready_file = plan.ready_file;
    let driver = Driver {
        rules: plan.rules,
        start_ns: clock.boottime_ns,
        duration: plan.duration,
        stop: &stop,
        kmsg: plan.request.kmsg,
    };
    let mut both = Tee { first: &mut ready_file, second: Some(&mut recorder) };
    driver.run(session, &status, &mut both)?;
    let recorded = recorder.recorded();
    tracing::info!(
        "recorded {} bytes in {} files, {} records omitted",
        recorded.bytes,
        recorded.files,
        recorded.omitted
    );
    Ok(Exit::Success)
}

/// The header of a run that starts now on this host.
pub(super) fn header(status: Status, clock: Clock, rules: rules::Options) -> Header {
    Header { host: host(), ..Header::new(status, clock, clock.boottime_ns, rules) }
}

/// Name of this host.
pub(super) fn host() -> Option<Text> {
    let host = fs::read_to_string(KernelRoot::default().proc.join("sys/kernel/hostname"));
    host.ok().map(|host| host.trim().into())
}
