//! Tracers in the guest: starting, waiting, stopping, and their output.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::Lab;
use crate::guest::{Job, Output, Stuck};
use crate::scenarios::{dump, stream::Stream};

/// How long the tracer may take to stop. Detaching waits for the kernel some forty times, which takes seconds
/// under software emulation, and many times that on a busy host.
const STOP: Duration = Duration::from_secs(90);

/// The stall budget where a scenario does not set one: never. A guest that has to share its CPUs can take
/// longer than a user would wait.
const PATIENT: &str = "--stall-after 1h";

/// How often to check whether the tracer is attached: each check starts a shell, which uses the tracer's
/// CPUs.
const READY: Duration = Duration::from_millis(200);

/// A running `p2p-trace live --json` in the guest.
#[derive(Debug)]
pub(crate) struct Trace {
    job: Job,
    number: u32,
    name: String,
}

impl Trace {
    /// Path of its output in the guest.
    pub(crate) fn shown(&self) -> String {
        format!("/run/trace.{}", self.number)
    }

    /// Path of its event dump in the guest.
    pub(crate) fn recorded(&self) -> String {
        format!("/run/dump.{}", self.number)
    }
}

impl Lab {
    /// Starts the tracer and waits until it is attached.
    ///
    /// # Errors
    ///
    /// The tracer exits before it is attached.
    pub(crate) fn trace(&mut self, name: &str, arguments: &str) -> Result<Trace> {
        self.trace_as(name, "", arguments)
    }

    /// As [`Lab::trace`], through a launcher.
    pub(crate) fn trace_as(&mut self, name: &str, launcher: &str, arguments: &str) -> Result<Trace> {
        let number = self.traces + 1;
        let job = self.start_tracer(
            &format!("{launcher} p2p-trace live"),
            &format!("--json --record /run/dump.{number} {arguments}"),
            &format!("> /run/trace.{number}"),
        )?;
        Ok(Trace { job, number, name: name.to_owned() })
    }

    /// As [`Lab::trace`], but its lines go to the host as they are written, where they survive the guest.
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

    /// Waits until the tracer has reported a finding of this rule.
    pub(crate) fn wait_finding(&mut self, trace: &Trace, rule: &str) -> Result<()> {
        self.wait_for(&format!("grep -q '\"type\":\"finding\".*\"rule\":\"{rule}\"' {}", trace.shown()))
    }

    /// Waits until the tracer has reported an event of this kind.
    pub(crate) fn wait_event(&mut self, trace: &Trace, kind: &str) -> Result<()> {
        self.wait_for(&format!("grep -q '\"kind\":\"{kind}\"' {}", trace.shown()))
    }

    /// Waits until [`Lab::trace_to_host`] has sent a line with this name and value, such as `kind` and
    /// `release`.
    pub(crate) fn wait_sent(&mut self, trace: &Trace, name: &str, value: &str) -> Result<()> {
        let words = format!("\"{name}\":\"{value}\"");
        for _ in 0..900 {
            if self.guest.printed(trace.job).iter().any(|line| line.contains(&words)) {
                return Ok(());
            }
            self.guest.check("sleep 0.1")?;
        }
        anyhow::bail!("timed out waiting for a line with the {name} `{value}`")
    }

    /// The output of [`Lab::trace_to_host`] up to the guest's death.
    ///
    /// # Errors
    ///
    /// The stream is not valid up to its end.
    pub(crate) fn cut_off(&mut self, trace: &Trace) -> Result<Stream> {
        let lines = self.guest.printed(trace.job).to_vec();
        self.keep(trace, &lines)?;
        Stream::parse_cut_off(&lines)
    }

    /// Writes a stream next to the logs of the guest.
    fn keep(&mut self, trace: &Trace, lines: &[String]) -> Result<()> {
        let Trace { number, name, .. } = trace;
        let path = self.guest.log().join(format!("{number}-{name}.ndjson"));
        fs::write(&path, format!("{}\n", lines.join("\n")))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.stream = Some(path);
        Ok(())
    }

    /// Starts a tracer and discards its output, for more events than can be kept.
    ///
    /// # Errors
    ///
    /// As for [`Lab::trace`].
    pub(crate) fn trace_silently(&mut self, arguments: &str) -> Result<Job> {
        self.start_tracer("p2p-trace live", arguments, "> /dev/null")
    }

    /// Starts a recorder and waits until it is attached. Its stderr goes to `FILE.stderr`.
    ///
    /// # Errors
    ///
    /// As for [`Lab::trace`].
    pub(crate) fn record(&mut self, file: &str, arguments: &str) -> Result<Job> {
        let command = format!("p2p-trace record -o {file}");
        self.start_tracer(&command, arguments, &format!("2> {file}.stderr"))
    }

    /// Starts to follow a trace's event dump.
    pub(crate) fn follow(&mut self, trace: &Trace) -> Result<Job> {
        let file = format!("/run/dump.{}", trace.number);
        self.guest.spawn(&format!("exec p2p-trace replay --json --follow {file}"))
    }

    /// Stops a tracer whose output was discarded.
    ///
    /// # Errors
    ///
    /// It does not shut down cleanly.
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

    /// Stops the tracer as a user would, and copies its stream to the host.
    ///
    /// # Errors
    ///
    /// It does not shut down cleanly, or its stream is not valid.
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
        self.verdicts.add(&trace.name, &stream.verdicts);
        Ok(stream)
    }

    /// Stops a tracer as a user would, and waits until it exits.
    ///
    /// # Errors
    ///
    /// It does not exit.
    pub(crate) fn interrupt(&mut self, tracer: Job) -> Result<Output> {
        self.guest.signal(tracer, Signal::INT)?;
        self.guest.wait_within(tracer, STOP)?.ok_or_else(|| {
            let seconds = STOP.as_secs();
            Stuck(format!("p2p-trace did not stop within {seconds} s of SIGINT")).into()
        })
    }

    /// Stops the only running tracer with SIGSTOP. Its threads continue for a moment after the signal, and
    /// read.
    pub(crate) fn halt(&mut self, trace: &Trace) -> Result<()> {
        self.guest.signal(trace.job, Signal::STOP)?;
        self.wait_for("! grep -h ^State: /proc/$(pidof p2p-trace)/task/*/status | grep -qv stopped")
    }

    /// Continues a stopped tracer.
    pub(crate) fn resume(&mut self, trace: &Trace) -> Result<()> {
        self.guest.signal(trace.job, Signal::CONT)
    }
}
