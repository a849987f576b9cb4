//! Innocent I/O: reads from a drive without p2p memory, past the page cache. Their cost with nothing
//! attached, with the tracer attached, with its armed hooks, which sit on the functions that each read calls,
//! and with empty programs on the same functions.

use anyhow::{Context as _, Result, ensure};
use p2p_trace_probe::hook_table::{Point, Row};
use rustix::process::Signal;
use serde::Serialize;

use super::lab::{BenchLab, LIMIT, Measured};
use super::watch::status;
use crate::guest::{Nvme, Slot};
use crate::scenarios::processors;
use crate::scenarios::product::HookState;

/// The cases: with the existing CPUs only, and with this number of possible ones.
pub(super) const CASES: [(&str, Option<u32>); 2] = [("innocent", None), ("innocent-1024", Some(1024))];
/// Number of reads.
const READS: u64 = 100_000;
/// Bytes that block the unbind that arms the hooks.
const SIZE: u64 = 4096;
/// Maximum cost of reads with the tracer attached, as a multiple of their cost without it.
const TRACED: f64 = 1.005;
/// Maximum cost of reads with armed hooks attached, as a multiple of their cost with empty programs.
const ARMED: f64 = 1.1;
/// The drive's slot, and its address.
const PLACE: Slot = Slot::Root(0x11);
const ADDRESS: &str = "0000:00:11.0";
/// Latency of an answer: longer than a task takes to go to sleep, which has a constant cost. An earlier
/// answer, as of a fast drive on an idle host, would change the cost of a read.
const LATENCY_NS: u64 = 100_000;
/// The tracer's output.
const FILE: &str = "/run/innocent.ndjson";
/// The list of the armed hooks' functions.
const LIST: &str = "/run/innocent.list";

/// The drive.
pub(super) fn drive() -> Nvme {
    Nvme::new("innocent", PLACE).with_latency(LATENCY_NS)
}

/// Instructions of the reading task per read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Innocent {
    /// With nothing attached.
    pub(super) untraced: f64,
    /// With the tracer attached.
    pub(super) traced: f64,
    /// With the armed hooks attached as well.
    pub(super) armed: f64,
    /// With empty programs on the functions of the armed hooks.
    pub(super) empty: f64,
}

impl BenchLab {
    /// Measures the reads in all four states.
    ///
    /// # Errors
    ///
    /// The tracer fails, or a hook is not attached.
    pub(super) fn innocent(&mut self, possible: Option<u32>) -> Result<Measured> {
        self.lab.guest.extend(LIMIT);
        // The unbind that arms the hooks is blocked for longer than the kernel's hung-task timeout.
        self.lab.guest.check("echo 0 > /proc/sys/kernel/hung_task_timeout_secs")?;
        self.lab.load_driver()?;
        let folder = format!("/sys/bus/pci/devices/{ADDRESS}/nvme");
        self.lab.wait_for(&format!("ls -d {folder}/nvme*/nvme*n1"))?;
        let disk = self.lab.guest.check(&format!("basename $(ls -d {folder}/nvme*/nvme*n1)"))?.concat();
        // With one queue, a scheduler would sort the requests, and a kernel thread would send them: their
        // cost would not be part of the reading task's.
        self.lab.guest.check(&format!("echo none > /sys/block/{disk}/queue/scheduler"))?;
        let innocent = match possible {
            None => self.background(&disk),
            Some(cpus) => {
                processors::pretend(&mut self.lab, cpus)?;
                let innocent = self.background(&disk)?;
                processors::stop_pretending(&mut self.lab)?;
                Ok(innocent)
            }
        }?;
        self.lab.unload_driver()?;
        Ok(Measured { innocent: Some(innocent), ..Measured::default() })
    }

    fn background(&mut self, disk: &str) -> Result<Innocent> {
        let untraced = self.reads(disk)?;
        let job = self.lab.start_tracer("p2p-trace live", "--json", &format!("> {FILE}"))?;
        let traced = self.reads(disk)?;
        let functions = self.armed_functions()?;
        let allocated = self.lab.allocate(&self.lab.card.clone(), SIZE)?;
        let unbinding = self.lab.start_unbind_card()?;
        let count = functions.len();
        self.lab.wait_for(&format!("[ $(grep -c '\"kind\":\"attach\"' {FILE}) -ge {count} ]"))?;
        let armed = self.reads(disk)?;
        self.lab.command(&format!("free {}", allocated.handle))?;
        self.lab.finish(unbinding)?;
        self.lab.stop_silent(job)?;
        self.lab.guest.check(&format!("rm {FILE}"))?;
        self.lab.bind_card()?;

        self.lab.guest.check(&format!("echo '{}' > {LIST}", functions.join("\n")))?;
        let floor =
            self.lab.guest.spawn(&format!("exec p2pfloor fentry --list {LIST} --ready {LIST}.ready"))?;
        self.lab.guest.wait_line(floor, "attached")?;
        let empty = self.reads(disk)?;
        self.lab.guest.signal(floor, Signal::KILL)?;
        self.lab.guest.wait(floor)?;
        self.lab.guest.check(&format!("rm {LIST} {LIST}.ready"))?;
        Ok(Innocent { untraced, traced, armed, empty })
    }

    /// The median of the instructions per read.
    fn reads(&mut self, disk: &str) -> Result<f64> {
        let output = self.lab.guest.check(&format!("p2pread /dev/{disk} {READS}"))?.concat();
        output.parse().with_context(|| format!("unexpected output of p2pread: {output}"))
    }

    /// The functions of the tracer's armed hooks, a line for each.
    fn armed_functions(&mut self) -> Result<Vec<String>> {
        let first = self.lab.guest.check(&format!("head -n 1 {FILE}"))?;
        let status = status(&first.concat())?;
        let mut functions = Vec::new();
        for hook in status.hooks.iter().filter(|hook| hook.state == HookState::Armed) {
            let row = Row::of(hook.hook).context("a hook is in no table")?;
            ensure!(
                row.can_be_armed() && row.point == Point::Entry,
                "{} is not an armed hook",
                hook.hook.name()
            );
            let function = hook.function.as_deref().context("an armed hook has no function")?;
            functions.push(format!("fentry {function}"));
        }
        ensure!(!functions.is_empty(), "no hook is armed");
        Ok(functions)
    }
}

impl Innocent {
    /// The figures in one line.
    pub(super) fn sentence(&self) -> String {
        let Self { untraced, traced, armed, empty } = self;
        format!(
            "{untraced:.0} instructions per read; tracer attached {traced:.0} ({:.4} of that); armed hooks attached {armed:.1}, \
             {:.4} of the {empty:.1} with empty programs",
            traced / untraced,
            armed / empty
        )
    }

    /// Figures above their limit, in sentences.
    pub(super) fn deviations(&self) -> Vec<String> {
        let Self { untraced, traced, armed, empty } = *self;
        let mut found = Vec::new();
        if traced > untraced * TRACED {
            found.push(format!(
                "a read takes {traced:.1} instructions with the tracer attached, {untraced:.1} without"
            ));
        }
        if armed > empty * ARMED {
            found.push(format!(
                "a read takes {armed:.1} instructions with armed hooks, {empty:.1} with empty programs"
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_each_limit() {
        let within = Innocent { untraced: 1000.0, traced: 1004.9, armed: 1650.0, empty: 1501.0 };
        assert_eq!(within.deviations(), Vec::<String>::new());
        let traced = Innocent { traced: 1005.1, ..within };
        assert_eq!(
            traced.deviations(),
            ["a read takes 1005.1 instructions with the tracer attached, 1000.0 without"]
        );
        let armed = Innocent { empty: 1499.0, ..within };
        assert_eq!(
            armed.deviations(),
            ["a read takes 1650.0 instructions with armed hooks, 1499.0 with empty programs"]
        );
    }
}
