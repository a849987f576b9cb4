//! Innocent I/O: reads from a drive that has no p2p memory, past the page cache. What they take while nothing is attached, while the
//! tracer is, while its armed hooks are, which sit on the functions that each read goes through, and while empty programs are attached to the same
//! functions.

use anyhow::{Context as _, Result, ensure};
use p2p_trace_probe::hook_table::{Point, Row};
use rustix::process::Signal;
use serde::Serialize;

use super::lab::{BenchLab, LIMIT, Measured};
use super::watch::status;
use crate::guest::{Nvme, Slot};
use crate::scenarios::processors;
use crate::scenarios::product::HookState;

/// The cases: with the CPUs that there are, and with as many possible ones.
pub(super) const CASES: [(&str, Option<u32>); 2] = [("innocent", None), ("innocent-1024", Some(1024))];
/// Reads.
const READS: u64 = 100_000;
/// Bytes of what blocks the unbind that arms.
const SIZE: u64 = 4096;
/// Most that reads may take while the tracer is attached, as a multiple of what they take otherwise.
const TRACED: f64 = 1.005;
/// Most that they may take while armed hooks are attached, as a multiple of what they take with empty programs.
const ARMED: f64 = 1.1;
/// Where the drive is plugged in, and its address.
const PLACE: Slot = Slot::Root(0x11);
const ADDRESS: &str = "0000:00:11.0";
/// How long an answer takes: longer than a task takes to go to sleep, which costs what it costs. One that came before, as fast drives'
/// answers do when the host has time, would make of each read something else.
const LATENCY_NS: u64 = 100_000;
/// What the tracer writes.
const FILE: &str = "/run/innocent.ndjson";
/// The functions of the armed hooks.
const LIST: &str = "/run/innocent.list";

/// The drive.
pub(super) fn drive() -> Nvme {
    Nvme::new("innocent", PLACE).with_latency(LATENCY_NS)
}

/// Instructions that the reading task takes for a read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Innocent {
    /// Nothing is attached.
    pub(super) untraced: f64,
    /// The tracer is.
    pub(super) traced: f64,
    /// So are its armed hooks.
    pub(super) armed: f64,
    /// Empty programs on the functions of the armed hooks.
    pub(super) empty: f64,
}

impl BenchLab {
    /// Reads, and reads again.
    ///
    /// # Errors
    ///
    /// The tracer does not do what it should.
    pub(super) fn innocent(&mut self, possible: Option<u32>) -> Result<Measured> {
        self.lab.guest.extend(LIMIT);
        // The unbind that arms stands still for longer than the kernel likes.
        self.lab.guest.check("echo 0 > /proc/sys/kernel/hung_task_timeout_secs")?;
        self.lab.load_driver()?;
        let folder = format!("/sys/bus/pci/devices/{ADDRESS}/nvme");
        self.lab.wait_for(&format!("ls -d {folder}/nvme*/nvme*n1"))?;
        let disk = self.lab.guest.check(&format!("basename $(ls -d {folder}/nvme*/nvme*n1)"))?.concat();
        // With one queue its requests would be sorted, and sent by a thread of the kernel: not in the time of who reads.
        self.lab.guest.check(&format!("echo none > /sys/block/{disk}/queue/scheduler"))?;
        let innocent = match possible {
            None => self.background(&disk),
            Some(cpus) => {
                processors::pretend(&mut self.lab, cpus)?;
                let innocent = self.background(&disk)?;
                processors::pretend_no_more(&mut self.lab)?;
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

    /// Instructions for a read, the median.
    fn reads(&mut self, disk: &str) -> Result<f64> {
        let said = self.lab.guest.check(&format!("p2pread /dev/{disk} {READS}"))?.concat();
        said.parse().with_context(|| format!("p2pread said: {said}"))
    }

    /// Where the tracer's armed hooks go, a line for each.
    fn armed_functions(&mut self) -> Result<Vec<String>> {
        let first = self.lab.guest.check(&format!("head -n 1 {FILE}"))?;
        let status = status(&first.concat())?;
        let mut functions = Vec::new();
        for hook in status.hooks.iter().filter(|hook| hook.state == HookState::Armed) {
            let row = Row::of(hook.hook).context("a hook is in no table")?;
            ensure!(row.can_be_armed() && row.point == Point::Entry, "{} is no armed hook", hook.hook.name());
            let function = hook.function.as_deref().context("a hook is armed nowhere")?;
            functions.push(format!("fentry {function}"));
        }
        ensure!(!functions.is_empty(), "no hook is armed");
        Ok(functions)
    }
}

impl Innocent {
    /// In one line.
    pub(super) fn sentence(&self) -> String {
        let Self { untraced, traced, armed, empty } = self;
        format!(
            "{untraced:.0} instructions per read; tracer attached {traced:.0} ({:.4} of that); armed hooks attached {armed:.1}, \
             {:.4} of the {empty:.1} with empty programs",
            traced / untraced,
            armed / empty
        )
    }

    /// What exceeds its limit, in sentences.
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
    fn each_limit_is_watched() {
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
