//! The cost of attaching and detaching, compared with a loader that attaches as many empty programs to the
//! same functions.

use anyhow::{Context as _, Result, bail, ensure};
use p2p_trace_probe::hook_table::{Point, Row};
use serde::Serialize;

use super::lab::{BenchLab, Measured};
use super::watch::status;
use crate::scenarios::product::{AttachMethod, HookState};

/// The cases: on one processor, and on two.
pub(super) const CASES: [(&str, u8); 2] = [("start", 1), ("start-smp", super::speed::CPUS)];
/// Number of starts of each program; the median counts.
const RUNS: usize = 3;
/// The file that lists the functions.
const LIST: &str = "/run/start.list";

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cost {
    /// Processor time, user and system.
    cpu_ms: u64,
    /// Elapsed time.
    all_ms: u64,
}

/// The cost of a program that attaches and detaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Times {
    /// From its start until everything is attached.
    start: Cost,
    /// From SIGINT to its exit.
    stop: Cost,
}

/// The costs of both programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Start {
    /// Programs attached.
    pub(crate) programs: usize,
    /// p2p-trace.
    pub(crate) tracer: Times,
    /// The loader.
    pub(crate) loader: Times,
}

impl BenchLab {
    /// Starts and stops both programs.
    ///
    /// # Errors
    ///
    /// One of them fails.
    pub(super) fn starts(&mut self) -> Result<Measured> {
        let list = self.attached_functions()?;
        let programs = list.lines().count();
        self.lab.guest.check(&format!("echo '{list}' > {LIST}"))?;
        let tracer = self.median("p2p-trace live --json --ready-file /run/start.ready")?;
        let loader = self.median(&format!("p2pfloor fentry --list {LIST} --ready /run/start.ready"))?;
        self.lab.guest.check(&format!("rm {LIST}"))?;
        Ok(Measured { start: Some(Start { programs, tracer, loader }), ..Measured::default() })
    }

    /// The tracer's attachments, a line for each program.
    fn attached_functions(&mut self) -> Result<String> {
        let out = self.lab.guest.check("p2p-trace live --json --duration 1s | head -n 1")?;
        let status = status(&out.concat())?;
        let attached = status.hooks.iter().filter(|hook| hook.state == HookState::Attached);
        let way = |hook: &p2p_trace_model::accounting::HookStatus| {
            let row = Row::of(hook.hook).context("a hook is in no table")?;
            let function = hook.function.as_deref().context("an attached hook has no function")?;
            ensure!(hook.method == Some(AttachMethod::Fentry), "{function} is not attached by fentry");
            let way = match row.point {
                Point::Entry => "fentry",
                Point::Exit => "fexit",
            };
            Ok(format!("{way} {function}"))
        };
        Ok(attached.map(way).collect::<Result<Vec<_>>>()?.join("\n"))
    }

    fn median(&mut self, command: &str) -> Result<Times> {
        let mut runs = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let out =
                self.lab.guest.check(&format!("p2pstart /run/start.ready {command} 2>&1 | tail -n 1"))?;
            runs.push(times(&out.concat())?);
        }
        runs.sort_by_key(|times| times.start.cpu_ms + times.stop.cpu_ms);
        Ok(runs[RUNS / 2])
    }
}

/// Parses microseconds.
fn times(line: &str) -> Result<Times> {
    let numbers = line.split(' ').map(str::parse::<u64>);
    let numbers = numbers
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("unexpected output of p2pstart: {line}"))?;
    let [start, start_all, stop, stop_all] = numbers[..] else {
        bail!("unexpected output of p2pstart: {line}");
    };
    let cost = |cpu: u64, all: u64| Cost { cpu_ms: (cpu + 500) / 1000, all_ms: (all + 500) / 1000 };
    Ok(Times { start: cost(start, start_all), stop: cost(stop, stop_all) })
}

impl Start {
    /// The figures in one line.
    pub(super) fn sentence(&self) -> String {
        let Self { programs, tracer, loader } = self;
        format!(
            "{programs} programs attached with {} ms of processor time, {} ms after the start (the loader: {} ms, {} ms); \
             detached with {} ms, {} ms after SIGINT (the loader: {} ms, {} ms)",
            tracer.start.cpu_ms,
            tracer.start.all_ms,
            loader.start.cpu_ms,
            loader.start.all_ms,
            tracer.stop.cpu_ms,
            tracer.stop.all_ms,
            loader.stop.cpu_ms,
            loader.stop.all_ms,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_microseconds() {
        let (start, stop) = (Cost { cpu_ms: 1500, all_ms: 2000 }, Cost { cpu_ms: 2, all_ms: 0 });
        assert_eq!(times("1500400 1999900 1500 20").unwrap(), Times { start, stop });
        assert!(times("1 2 3").is_err() && times("p2p-trace failed").is_err());
    }
}
