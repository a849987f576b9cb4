//! Tracers in the guest: started, waited for, stopped, and what they said.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::Lab;
use crate::guest::{Job, Output, Stuck};
use crate::scenarios::{dump, stream::Stream};

/// How long the tracer may take to stop. Detaching waits for the kernel some forty times, which takes seconds under software
/// emulation, and many times that on a machine that is busy with something else.
const STOP: Duration = Duration::from_secs(90);

/// From when on a drain or an unbind counts as stalled, where a scenario does not say: never. A guest that has to share its
/// CPUs can take longer than a user would wait for.
const PATIENT: &str = "--stall-after 1h";

/// How often to look whether the tracer is attached: each look starts a shell, which takes the tracer's CPUs.
const READY: Duration = Duration::from_millis(200);

/// `p2p-trace live --json` at work in the guest.
#[derive(Debug)]
pub(crate) struct Trace {
    job: Job,
    number: u32,
    name: String,
}

impl Trace {
    /// Where in the guest its lines are.
    pub(crate) fn shown(&self) -> String {
        format!("/run/trace.{}", self.number)
    }

    /// Where in the guest it is recorded.
    pub(crate) fn recorded(&self) -> String {
        format!("/run/dump.{}", self.number)
    }
}

impl Lab {
    /// Starts the tracer and waits until it is attached.
    ///
    /// # Errors
    ///
    /// It ends before.
    pub(crate) fn trace(&mut self, name: &str, arguments: &str) -> Result<Trace> {
        self.trace_as(name, "", arguments)
    }

    /// As [`Lab::trace`], with a program that starts it.
    pub(crate) fn trace_as(&mut self, name: &str, launcher: &str, arguments: &str) -> Result<Trace> {
        let number = self.traces + 1;
        let job = self.start_tracer(
            &format!("{launcher} p2p-trace live"),
            &format!("--json --record /run/dump.{number} {arguments}"),
            &format!("> /run/trace.{number}"),
        )?;
        Ok(Trace { job, number, name: name.to_owned() })
    }

    /// As [`Lab::trace`], but its lines are sent to the host as they are written, where they outlive the guest.
    ///
    /// # Errors
    ///
    /// As for [`Lab::trace`].
    pub(crate) fn trace_to_host(&mut self, name: &str, arguments: &str) -> Result<Trace> {
        Ok(Trace {
            job: self.start_tracer("p2p-trace live", &format!("--json {arguments}"), "")?,
            number: self.traces,
            name: name.to_owned(),
        })
    }

    /// Waits until the tracer has told a finding of this rule.
    pub(crate) fn wait_finding(&mut self, trace: &Trace, rule: &str) -> Result<()> {
        self.wait_for(&format!("grep -q '\"type\":\"finding\".*\"rule\":\"{rule}\"' {}", trace.shown()))
    }

    /// Waits until the tracer has told an event of this kind.
    pub(crate) fn wait_event(&mut self, trace: &Trace, kind: &str) -> Result<()> {
        self.wait_for(&format!("grep -q '\"kind\":\"{kind}\"' {}", trace.shown()))
    }

    /// Waits until a line of [`Lab::trace_to_host`] has come with this name and value, such as `kind` and `release`.
    pub(crate) fn wait_sent(&mut self, trace: &Trace, name: &str, value: &str) -> Result<()> {
        let words = format!("\"{name}\":\"{value}\"");
        for _ in 0..900 {
            if self.guest.said(trace.job).iter().any(|line| line.contains(&words)) {
                return Ok(());
            }
            self.guest.check("sleep 0.1")?;
        }
        anyhow::bail!("waited in vain for a line with the {name} `{value}`")
    }

    /// What [`Lab::trace_to_host`] sent before the guest died.
    ///
    /// # Errors
    ///
    /// It is not sound as far as it goes.
    pub(crate) fn cut_off(&mut self, trace: &Trace) -> Result<Stream> {
        let lines = self.guest.said(trace.job).to_vec();
        self.keep(trace, &lines)?;
        Stream::parse_cut_off(&lines)
    }

    /// Keeps a stream with the logs of the guest.
    fn keep(&mut self, trace: &Trace, lines: &[String]) -> Result<()> {
        let Trace { number, name, .. } = trace;
        let path = self.guest.log().join(format!("{number}-{name}.ndjson"));
        fs::write(&path, format!("{}\n", lines.join("\n")))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.stream = Some(path);
        Ok(())
    }

    /// Starts a tracer of whose output nothing is kept, for more events than can be.
    ///
    /// # Errors
    ///
    /// As for [`Lab::trace`].
    pub(crate) fn trace_silently(&mut self, arguments: &str) -> Result<Job> {
        self.start_tracer("p2p-trace live", arguments, "> /dev/null")
    }

    /// Starts a recorder, and waits until it is attached. What it says goes to `FILE.said`.
    ///
    /// # Errors
    ///
    /// As for [`Lab::trace`].
    pub(crate) fn record(&mut self, file: &str, arguments: &str) -> Result<Job> {
        let command = format!("p2p-trace record -o {file}");
        self.start_tracer(&command, arguments, &format!("2> {file}.said"))
    }

    /// Starts to follow what a trace records.
    pub(crate) fn follow(&mut self, trace: &Trace) -> Result<Job> {
        let file = format!("/run/dump.{}", trace.number);
        self.guest.spawn(&format!("exec p2p-trace replay --json --follow {file}"))
    }

    /// Stops it.
    ///
    /// # Errors
    ///
    /// It does not stop in order.
    pub(crate) fn stop_silent(&mut self, job: Job) -> Result<()> {
        let output = self.interrupt(job)?;
        output.success().context("p2p-trace failed").map(drop)
    }

    pub(crate) fn start_tracer(&mut self, command: &str, arguments: &str, output: &str) -> Result<Job> {
        self.traces += 1;
        let ready = format!("/run/ready.{}", self.traces);
        let budget = if arguments.contains("--stall-after") { "" } else { PATIENT };
        let job = self
            .guest
            .spawn(&format!("exec {command} --ready-file {ready} {budget} {arguments} {output}"))?;
        loop {
            if let Some(output) = self.guest.wait_within(job, READY)? {
                bail!("p2p-trace ended with {} before it was attached: {}", output.code, output.text());
            }
            if self.guest.run(&format!("[ -e {ready} ]"))?.code == 0 {
                return Ok(job);
            }
        }
    }

    /// Stops the tracer as a user would, and takes its stream to the host.
    ///
    /// # Errors
    ///
    /// It does not stop in order, or its stream is not sound.
    pub(crate) fn stop(&mut self, trace: Trace) -> Result<Stream> {
        let number = trace.number;
        let output = self.interrupt(trace.job)?;
        let lines = self.guest.check(&format!("cat /run/trace.{number}; rm /run/trace.{number}"))?;
        self.keep(&trace, &lines)?;
        ensure!(output.code == 0, "p2p-trace ended with {}: {}", output.code, output.err.join("\n"));
        let dump = self.guest.log().join(format!("{number}-{}.p2pt", trace.name));
        dump::fetch(&mut self.guest, &format!("/run/dump.{number}"), &dump)?;
        dump::replays(&dump, &lines)?;
        self.keep_dump(&dump, &format!("{}.p2pt", trace.name))?;
        let stream = Stream::parse(&lines)?;
        stream.check()?;
        self.told.add(&trace.name, &stream.verdicts);
        Ok(stream)
    }

    /// Stops a tracer as a user would, and waits for its end.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub(crate) fn interrupt(&mut self, tracer: Job) -> Result<Output> {
        self.guest.signal(tracer, Signal::INT)?;
        self.guest.wait_within(tracer, STOP)?.ok_or_else(|| {
            let seconds = STOP.as_secs();
            Stuck(format!("p2p-trace did not stop within {seconds} s of SIGINT")).into()
        })
    }

    /// Makes the tracer stand still, the only one that runs. Its threads go on for a moment after the signal, and read.
    pub(crate) fn halt(&mut self, trace: &Trace) -> Result<()> {
        self.guest.signal(trace.job, Signal::STOP)?;
        self.wait_for("! grep -h ^State: /proc/$(pidof p2p-trace)/task/*/status | grep -qv stopped")
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self, trace: &Trace) -> Result<()> {
        self.guest.signal(trace.job, Signal::CONT)
    }
}
