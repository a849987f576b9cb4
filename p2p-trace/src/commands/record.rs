//! `record`: a run into a dump, without showing anything.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    account::Status,
    cli::RecordArgs,
    drive::{Both, Drive, Ending, Next, Opened, Sink, open, stop::Stop},
    dump::Header,
    exit::{Exit, Refusal},
    kernel::{KernelRoot, clock},
    output::Clock,
    pipeline::{Closing, Pipeline, Step},
    recorder::{Flight, Limits, Options, Recorder},
    rules,
    source::Request,
};

/// What is to be recorded, and where to.
pub(super) struct Plan<'a> {
    pub(super) request: Request,
    pub(super) duration: Option<Duration>,
    pub(super) rules: rules::Options,
    pub(super) ready_file: Option<&'a Path>,
    pub(super) options: Options,
}

/// Runs the command.
///
/// # Errors
///
/// When the kernel cannot be traced, tracing breaks off, or the dump is not complete.
pub fn run(args: &RecordArgs) -> Result<Exit> {
    if args.flight_recorder && args.output == Path::new("-") {
        return Err(Refusal {
            exit: Exit::Usage,
            message: "a flight recorder writes files when something happens: name one, not a pipe".to_owned(),
        }
        .into());
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
        request: args.tracing.request(),
        duration: args.tracing.duration,
        rules: args.tracing.rules(),
        ready_file: args.tracing.ready_file.as_deref(),
        options: Options {
            path: (args.output != Path::new("-")).then(|| args.output.clone()),
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
pub(super) fn record(plan: Plan<'_>) -> Result<Exit> {
    if plan.options.path.is_none() && io::stdout().is_terminal() {
        bail!("a dump is not for a terminal: write it to a file, or into a pipe");
    }
    let Opened { session, symbols } = open(&plan.request)?;
    let stop = Stop::on_signals().context("cannot catch SIGINT and SIGTERM")?;
    let clock = clock::now();
    let status = session.status();
    let header = header(status.clone(), clock, plan.rules);
    let mut recorder = Recorder::start(plan.options, header, symbols.as_ref())?;
    let mut announced = Announced {
        ready_file: plan.ready_file,
    };
    let drive = Drive {
        rules: plan.rules,
        start_ns: clock.boottime_ns,
        duration: plan.duration,
        stop: &stop,
        kmsg: plan.request.kmsg,
    };
    let mut both = Both {
        first: &mut announced,
        second: Some(&mut recorder),
    };
    drive.run(session, &status, &mut both)?;
    let recorded = recorder.recorded();
    tracing::info!(
        "{} bytes in {} files recorded, {} records left out",
        recorded.bytes,
        recorded.files,
        recorded.left_out
    );
    Ok(Exit::Holds)
}

/// The header of a run on this host that is opened now.
pub(super) fn header(status: Status, clock: Clock, rules: rules::Options) -> Header {
    let host = fs::read_to_string(KernelRoot::default().proc.join("sys/kernel/hostname"));
    Header {
        host: host.ok().map(|host| host.trim().to_owned()),
        ..Header::new(status, clock, clock.boottime_ns, rules)
    }
}

/// The recorder's options for one file without end.
pub(super) fn one_file(path: Option<PathBuf>) -> Options {
    Options {
        path,
        ..Options::default()
    }
}

/// Says that everything is attached.
struct Announced<'a> {
    ready_file: Option<&'a Path>,
}

impl Sink for Announced<'_> {
    fn begin(&mut self, _status: &Status) -> Result<()> {
        if let Some(path) = self.ready_file {
            fs::write(path, format!("{}\n", std::process::id()))
                .with_context(|| format!("cannot create the ready file {}", path.display()))?;
        }
        Ok(())
    }

    fn changed(&mut self, _status: &Status, _time_ns: u64) -> Result<()> {
        Ok(())
    }

    fn step(&mut self, _step: &Step<'_>) -> Result<()> {
        Ok(())
    }

    fn pause(&mut self, _pipeline: &Pipeline) -> Result<Next> {
        Ok(Next::Go)
    }

    fn end(&mut self, _closing: &Closing, _ending: &Ending) -> Result<()> {
        Ok(())
    }
}
