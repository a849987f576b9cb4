//! The guest whose clock counts instructions, and how a case is measured in it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde::Serialize;

use super::case::{Case, Tracer};
use super::innocent::{self, Innocent};
use super::peers;
use super::start::Start;
use crate::guest::{Acceleration, Boot, Clock, Job, Machine};
use crate::kernels::GuestKernel;
use crate::scenarios::lab::{Lab, machine};
use crate::scenarios::product::HookLine;

/// Pairs of one pass.
pub(super) const PAIRS: u64 = 20_000;
/// Passes of a case; the median counts.
const PASSES: usize = 3;
/// Bytes of one allocation.
const SIZE: u64 = 4096;
/// Keeps the boot's own work and the choice of a clock out of the figures.
const KERNEL_ARGS: [&str; 3] = ["clocksource=tsc", "tsc=reliable", "nokaslr"];
/// Guest seconds until the work that follows a boot has finished.
const SETTLE: u32 = 8;
/// Guest seconds in which a reader catches up with all passes.
pub(super) const CATCH_UP_S: u64 = 3;
/// Memory of the guest.
const MEMORY_MIB: u32 = 1024;
/// Time limit of a run.
pub(super) const LIMIT: Duration = Duration::from_mins(15);

/// Measurements of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// The median of the guest instructions per pair, if nothing else ran at the same time.
    pub(crate) instructions_per_pair: Option<f64>,
    /// Events delivered and lost, if there are any.
    pub(crate) events: Option<Events>,
    /// The tracer's cost when idle, if measured.
    pub(crate) at_rest: Option<AtRest>,
    /// The cost of attaching and detaching, if measured.
    pub(crate) start: Option<Start>,
    /// The cost of innocent I/O, if measured.
    pub(crate) innocent: Option<Innocent>,
    /// Nanoseconds of CPU (instructions) of the tracer's threads, by their names, if measured per thread.
    pub(crate) threads: Vec<(String, u64)>,
    /// Why it was not measured.
    pub(crate) skipped: Option<String>,
}

/// The cost of an idle tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AtRest {
    /// Milliseconds from the start until everything is attached, with an error of about ten.
    pub(crate) attach_ms: u64,
    /// Microseconds of CPU per second.
    pub(crate) idle_us_per_s: u64,
}

/// The tracer's events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Events {
    /// Events that arrived at the reader, or in the buffer of a tracer without one.
    pub(crate) delivered: u64,
    /// Events that did not arrive.
    pub(crate) lost: u64,
    /// Nanoseconds of CPU (instructions) of the reader for all of them.
    pub(crate) reader_ns: Option<u64>,
}

/// The booted guest.
pub(crate) struct BenchLab {
    pub(super) lab: Lab,
    /// Pairs that each processor makes at full speed.
    pub(super) storm_pairs: u64,
}

impl BenchLab {
    /// Boots the guest with the test module loaded and no other work; memory and time limit are multiplied by
    /// `scale`.
    ///
    /// # Errors
    ///
    /// The guest does not boot.
    pub(super) fn start(kernel: &GuestKernel, initramfs: &[u8], cpus: u8, scale: u32) -> Result<Self> {
        let mut machine = Machine {
            cpus,
            memory_mib: MEMORY_MIB * scale,
            clock: Clock::Instructions { shift: 0 },
            sees_host: true,
            ..machine(&KERNEL_ARGS)
        };
        machine.drives.push(innocent::drive());
        let mut lab = Lab::start(Boot {
            name: "bench",
            kernel,
            initramfs,
            machine: &machine,
            acceleration: Acceleration::Tcg,
            limit: LIMIT * scale,
        })?;
        lab.load_module("")?;
        lab.guest.check(&format!("sleep {SETTLE}"))?;
        Ok(Self { lab, storm_pairs: 0 })
    }

    /// Powers the guest off.
    ///
    /// # Errors
    ///
    /// It does not power off, or its kernel complained.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.lab.unload_module()?;
        self.lab.guest.power_off()
    }

    /// Measures one case.
    ///
    /// # Errors
    ///
    /// Its tracer fails.
    pub(crate) fn measure(&mut self, case: &Case) -> Result<Measured> {
        match case.tracer {
            Tracer::None => self.pairs().map(plain),
            Tracer::Floor(method) => {
                let job = self.lab.guest.spawn(&format!("exec p2pfloor {method}"))?;
                self.lab.guest.wait_line(job, "attached")?;
                let pairs = self.pairs()?;
                self.lab.guest.signal(job, Signal::KILL)?;
                self.lab.guest.wait(job)?;
                Ok(plain(pairs))
            }
            Tracer::Ours(options) => self.ours(options),
            Tracer::Ftrace => peers::ftrace(self),
            Tracer::Bpftrace(frames) => peers::bpftrace(self, frames),
        }
    }

    /// Allocates and frees, pass by pass: the median of the instructions per pair.
    pub(super) fn pairs(&mut self) -> Result<f64> {
        let device = self.lab.card.clone();
        let mut passes = Vec::with_capacity(PASSES);
        for _ in 0..PASSES {
            let answer = self.lab.command(&format!("load {device} {SIZE} {PAIRS}"))?;
            ensure!(answer.number("failed")? == 0, "the card ran out of memory");
            passes.push(answer.number("ns")?);
        }
        passes.sort_unstable();
        Ok(passes[PASSES / 2] as f64 / PAIRS as f64)
    }

    /// Pairs of all passes.
    pub(super) const fn all_pairs() -> u64 {
        PAIRS * PASSES as u64
    }

    /// Measures with the reader stopped, and then the reader's cost of catching up.
    pub(super) fn with_reader(&mut self, job: Job, name: &str) -> Result<(f64, u64)> {
        self.lab.guest.signal(job, Signal::STOP)?;
        let pairs = self.pairs()?;
        let before = self.cpu_of(name)?;
        self.lab.guest.signal(job, Signal::CONT)?;
        self.catch_up()?;
        Ok((pairs, self.cpu_of(name)?.saturating_sub(before)))
    }

    /// Lets a reader process the events so far.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        self.lab.guest.check(&format!("sleep {CATCH_UP_S}")).map(drop)
    }

    /// CPU time of all threads of a program, in nanoseconds.
    pub(super) fn cpu_of(&mut self, name: &str) -> Result<u64> {
        let lines = self.lab.guest.check(&format!("cat /proc/$(pidof {name})/task/*/schedstat"))?;
        let first = |line: &String| line.split(' ').next()?.parse::<u64>().ok();
        lines.iter().map(|line| first(line).with_context(|| format!("no schedstat: {line}"))).sum()
    }

    fn ours(&mut self, options: &str) -> Result<Measured> {
        const OUT: &str = "/run/bench.ndjson";
        let options = options.replace("{other}", &self.lab.memory);
        // Room for every record of all passes, so that the reader can be stopped at the same time.
        let command = format!(
            "exec p2p-trace live --json --ring-size 128M --ready-file /run/bench.ready {options} > {OUT}"
        );
        let job = self.lab.guest.spawn(&command)?;
        self.lab.wait_for("[ -e /run/bench.ready ]")?;
        let (instructions_per_pair, reader) = self.with_reader(job, "p2p-trace")?;
        self.lab.guest.signal(job, Signal::INT)?;
        self.lab.guest.wait(job)?.success().context("p2p-trace failed")?;
        self.lab.guest.check("rm /run/bench.ready")?;
        let summary = self.ended(OUT)?;
        let sum = |of: fn(&HookLine) -> u64| -> u64 {
            let hooks = summary.hooks.iter();
            let pairs = hooks.filter(|hook| matches!(hook.hook.name(), "alloc" | "free"));
            pairs.map(of).sum()
        };
        Ok(Measured {
            instructions_per_pair: Some(instructions_per_pair),
            events: Some(Events {
                delivered: sum(|hook| hook.delivered),
                lost: sum(|hook| hook.lost),
                reader_ns: Some(reader),
            }),
            ..Measured::default()
        })
    }
}

/// A measurement without events.
fn plain(instructions_per_pair: f64) -> Measured {
    Measured { instructions_per_pair: Some(instructions_per_pair), ..Measured::default() }
}
