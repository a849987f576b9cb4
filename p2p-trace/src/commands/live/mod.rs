//! `live`: what happens to p2p memory on this host, as it happens.

#[cfg(feature = "trace")]
mod answering;
pub(super) mod clock;
#[cfg(test)]
mod findings_tests;
mod judge;
mod printer;
mod reader;
mod reader_gone;
#[cfg(any(feature = "trace", test))]
mod symbols;
#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::{atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use super::{Refusal, colors_stdout, is_closed, stop::Stop};
use crate::{
    account::{Status, Tally},
    cli::{Global, LiveArgs},
    event::assemble::Assembler,
    exit::Exit,
    model::Model,
    order::Order,
    output::{Clock, Context, Symbolize, json::SummaryLine, text},
    rules,
    source::{Batch, Request, Session},
};
use judge::{Judge, Judging};
use printer::{Format, Printer};
use reader::{Ending, Message, Reader, Shared};

/// Batches that wait to be shown. When they are full the rings absorb what comes, and count what they lose.
const QUEUE: usize = 16;

/// A session with the names of the kernel it traces.
pub(crate) struct Opened {
    /// The session; everything that will be attached is attached.
    pub(crate) session: Box<dyn Session>,
    /// Names of kernel addresses.
    pub(crate) symbols: Box<dyn Symbolize>,
}

/// What of the command line matters after the session is open.
struct Plan<'a> {
    format: Format,
    clock: Clock,
    duration: Option<Duration>,
    ready_file: Option<&'a Path>,
    /// Only findings are shown, no events.
    only_findings: bool,
    judging: Judging,
    /// Nobody reads what is shown any more.
    is_closed: fn() -> bool,
}

/// Somebody who answers questions from the model.
trait Answer {
    /// Takes the question that has arrived, if one has; then the kernel's state is to be read.
    fn take(&mut self, now_ns: u64) -> bool;

    /// Answers, once the state has been read; the model holds everything that happened before `reached_ns`.
    fn answer(&mut self, model: &Model, reached_ns: u64, symbols: &dyn Symbolize, clock: Clock);
}

/// Runs the command.
///
/// # Errors
///
/// When the kernel cannot be traced, tracing breaks off, or stdout cannot be written to.
pub fn run(args: &LiveArgs, global: &Global) -> Result<Exit> {
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
    let stop = Stop::on_signals().context("cannot catch SIGINT and SIGTERM")?;
    let opened = open(&args.request())?;
    let plan = Plan {
        format,
        clock: clock::now(),
        duration: args.duration,
        ready_file: args.ready_file.as_deref(),
        only_findings: args.findings,
        judging: Judging {
            rules: rules::Options {
                stall_after: args.stall_after,
            },
            fail_on: args.fail_on,
            until_finding: args.until_finding,
        },
        is_closed: reader_gone::is_stdout_closed,
    };
    let answering = answering(&opened, args, &plan.clock);
    stream(opened, &plan, answering, &stop, &mut io::stdout().lock())
}

/// Attaches to the running kernel, or says why that cannot be.
#[cfg(feature = "trace")]
pub(super) fn open(request: &Request) -> Result<Opened> {
    use crate::{
        kernel::{Kernel, KernelRoot},
        probe::LiveSession,
        source::Attach,
    };

    let root = KernelRoot::default();
    let kernel = Kernel::collect(&root, request.kernel_btf.as_deref())?;
    let traceability = kernel.traceability();
    if !traceability.is_possible() {
        let message = traceability
            .obstacle()
            .map_or_else(|| "this kernel cannot be traced".to_owned(), ToString::to_string);
        return Err(Refusal {
            exit: traceability.exit(),
            message,
        }
        .into());
    }
    if request.attach == Attach::Kprobe && !kernel.rights.allows_kprobes() {
        let message = "kprobes need CAP_SYS_ADMIN while kernel.perf_event_paranoid is above 2: run as root, or \
                       attach by fentry (--attach fentry)";
        return Err(Refusal {
            exit: Exit::NoRights,
            message: message.to_owned(),
        }
        .into());
    }
    let symbols = kernel
        .symbols
        .context("cannot read the kernel's symbols in /proc/kallsyms")?;
    let btf = kernel.btf.with_context(|| {
        format!(
            "cannot read the kernel's types in {}; --kernel-btf names another file",
            kernel.btf_path.display()
        )
    })?;
    let session = LiveSession::start(&root, &symbols, &btf, request).map_err(|error| {
        let exit = error.exit();
        // With its causes: the refusal replaces the error.
        Refusal {
            exit,
            message: format!("{:#}", anyhow::Error::new(error)),
        }
    })?;
    let symbols = Box::new(symbols::KernelSymbols::new(root, symbols));
    Ok(Opened {
        session: Box::new(session),
        symbols,
    })
}

/// Attaches to nothing.
#[cfg(not(feature = "trace"))]
pub(super) fn open(_request: &Request) -> Result<Opened> {
    Err(Refusal {
        exit: Exit::NotTraceable,
        message: "this build cannot trace a kernel; build it on Linux with the feature `trace`".to_owned(),
    }
    .into())
}

/// Whoever answers questions, if that is possible: a tracer goes on without.
#[cfg(feature = "trace")]
fn answering(opened: &Opened, args: &LiveArgs, start: &Clock) -> Option<Box<dyn Answer>> {
    let limits = answering::Limits::of_host(&args.device);
    match answering::Answering::open(limits, opened.session.status().kernel, start) {
        Ok(answering) => Some(Box::new(answering)),
        Err(error) => {
            tracing::info!("`p2p-trace holders` cannot ask this tracer: {error}");
            None
        }
    }
}

/// Nobody.
#[cfg(not(feature = "trace"))]
const fn answering(_opened: &Opened, _args: &LiveArgs, _start: &Clock) -> Option<Box<dyn Answer>> {
    None
}

/// Shows everything from the first status to the summary.
fn stream(
    opened: Opened,
    plan: &Plan<'_>,
    answering: Option<Box<dyn Answer>>,
    stop: &Stop,
    out: &mut impl Write,
) -> Result<Exit> {
    let Opened { session, symbols } = opened;
    let status = session.status();
    let context = Context::new(plan.clock, &status, symbols.as_ref());
    let mut printer = Printer::new(plan.format, context, plan.only_findings, out);
    let shared = Shared::default();
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    let deadline = plan
        .duration
        .and_then(|duration| Instant::now().checked_add(duration));
    let reader = Reader {
        session,
        stop,
        deadline,
        shared: &shared,
        sender,
    };
    let mut stream = Stream::new(status, plan, answering, stop);
    thread::scope(|scope| {
        // The session is attached: it is read from now on, and detached however showing it ends.
        let reading = scope.spawn(|| reader.run());
        let shown = show(&mut stream, &mut printer, plan, receiver, &shared);
        let read = reading.join();
        match shown {
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_closed) => {
                return Ok(stream.judge.exit());
            }
            other => other?,
        }
        match read {
            Ok(result) => result
                .map_err(|error| anyhow!("{error}"))
                .context("tracing broke off")?,
            Err(_panic) => return Err(anyhow!("the thread that reads the kernel's records panicked")),
        }
        Ok(stream.judge.exit())
    })
}

/// Consumes the receiver, so that the reader notices when nobody listens any more.
fn show(
    stream: &mut Stream<'_>,
    printer: &mut Printer<'_, impl Write>,
    plan: &Plan<'_>,
    receiver: mpsc::Receiver<Message>,
    shared: &Shared,
) -> Result<()> {
    printer.status(&stream.status, printer.start_ns())?;
    printer.flush()?;
    if let Some(path) = plan.ready_file {
        fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot create the ready file {}", path.display()))?;
    }
    for message in receiver {
        match message {
            Message::Batch(batch, status) => stream.batch(&batch, status.map(|status| *status), printer)?,
            Message::End(ending) => stream.end(&ending, printer)?,
        }
        shared.backlog.store(stream.order.len(), Ordering::Relaxed);
        printer.flush()?;
        stream.answer(printer, shared);
        if (plan.is_closed)() {
            return Ok(());
        }
    }
    Ok(())
}

/// The stream between the rings and the printer.
struct Stream<'a> {
    status: Status,
    order: Order,
    assembler: Assembler,
    tally: Tally,
    model: Model,
    judge: Judge,
    /// Everything that happened before this time has been shown.
    reached_ns: u64,
    answering: Option<Box<dyn Answer>>,
    stop: &'a Stop,
}

impl<'a> Stream<'a> {
    fn new(status: Status, plan: &Plan<'_>, answering: Option<Box<dyn Answer>>, stop: &'a Stop) -> Self {
        let mut model = Model::new();
        model.attached(status.attached(), plan.clock.boottime_ns);
        Self {
            judge: Judge::new(plan.judging, &status),
            status,
            model,
            reached_ns: 0,
            answering,
            stop,
            order: Order::new(),
            assembler: Assembler::new(),
            tally: Tally::default(),
        }
    }

    fn batch(
        &mut self,
        batch: &Batch,
        status: Option<Status>,
        printer: &mut Printer<'_, impl Write>,
    ) -> Result<()> {
        if let Some(status) = status {
            printer.changed(&status)?;
            self.judge.update(&status);
            self.status = status;
        }
        batch.records.iter().for_each(|record| self.tally.record(record));
        batch.losses.iter().for_each(|loss| self.tally.loss(loss));
        let (assembler, mut elements) = (&mut self.assembler, Vec::new());
        self.order.release(batch, |item| {
            assembler.push(item, |element| elements.push(element));
        });
        assembler.advance(batch.watermark_ns, |element| elements.push(element));
        self.reached_ns = batch.watermark_ns;
        for element in &elements {
            self.model.apply(element);
            printer.element(element)?;
            let findings = self.judge.apply(&self.model, element);
            printer.findings(&findings, self.model.now_ns())?;
            if self.judge.is_enough(&findings) {
                self.stop.set();
            }
        }
        Ok(())
    }

    /// Answers whoever asks from the model.
    fn answer(&mut self, printer: &Printer<'_, impl Write>, shared: &Shared) {
        let Some(answering) = &mut self.answering else {
            return;
        };
        if answering.take(clock::now().boottime_ns) {
            shared.pull.store(true, Ordering::Relaxed);
        }
        answering.answer(&self.model, self.reached_ns, printer.symbols(), clock::now());
    }

    fn end(&mut self, ending: &Ending, printer: &mut Printer<'_, impl Write>) -> Result<()> {
        if self.order.late() > 0 {
            tracing::error!(
                "{} records came too late to be put in order; please report this",
                self.order.late()
            );
        }
        let outcome = self.tally.close(&ending.totals);
        let rest = self.judge.end(&self.model);
        printer.findings(&rest, self.model.now_ns())?;
        printer.verdicts(self.judge.verdicts())?;
        let duration_ns = u64::try_from(ending.duration.as_nanos()).unwrap_or(u64::MAX);
        let summary = SummaryLine {
            findings_left_out: self.judge.left_out(),
            ..SummaryLine::new(&outcome, &self.status, duration_ns)
        };
        printer.summary(&summary).map_err(Into::into)
    }
}
