//! An unbind that waits, and how a report has to tell of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::ask::uptime_ns;
use crate::guest::Job;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{
    CanUnbind, DeviceReport, Report, StepFrom, TaskLine, UnbindReport, UnbindStep, Why,
};

/// A task of the guest that unbinds a device, and waits for memory to be given back.
#[derive(Debug)]
pub(super) struct Unbinding {
    job: Job,
    pid: u32,
    /// When it began, at the latest a tick later.
    since_ns: u64,
    /// Its stack, as the guest itself shows it.
    stack: Vec<String>,
}

impl Unbinding {
    /// Unbinds a device from a driver, and waits until the unbind itself does.
    ///
    /// # Errors
    ///
    /// The unbind ends.
    pub(super) fn start(lab: &mut Lab, device: &str, driver: &str) -> Result<Self> {
        let job = lab.guest.spawn(&format!(
            "read now rest < /proc/uptime; echo uptime $now; echo pid $$; \
             echo {device} > /sys/bus/pci/drivers/{driver}/unbind"
        ))?;
        let since = lab.guest.wait_line(job, "uptime ")?;
        let pid = lab.guest.wait_line(job, "pid ")?;
        let pid = pid.strip_prefix("pid ").unwrap_or_default().parse()?;
        // Twice: before and after its wait it calls others.
        lab.wait_sleeping(pid, "memunmap_pages")?;
        lab.guest.check("sleep 0.2")?;
        lab.wait_sleeping(pid, "memunmap_pages")?;
        let stack = lab.guest.check(&format!("cat /proc/{pid}/stack"))?;
        Ok(Self {
            job,
            pid,
            since_ns: uptime_ns(&since).context("no uptime")?,
            stack: stack.iter().map(|line| frame(line)).collect(),
        })
    }

    /// Waits until it has gone through.
    pub(super) fn wait(&self, lab: &mut Lab) -> Result<()> {
        let ended = lab.guest.wait(self.job)?.success();
        ended.context("the unbind failed").map(drop)
    }

    /// Expects it to be told as blocked, where it stands, and by whom it is run.
    pub(super) fn is_told(&self, report: &Report, device: &DeviceReport) -> Result<()> {
        let unbind = device.unbind.as_ref().context("the report tells of no unbind")?;
        ensure!(unbind.blocked, "it is not told as blocked: {unbind:?}");
        ensure!(
            unbind.step == Some(UnbindStep::WaitForDrain) && unbind.step_from == Some(StepFrom::Stack),
            "its step is told as {:?}, from {:?}",
            unbind.step,
            unbind.step_from
        );
        let task = TaskLine { pid: self.pid, tgid: self.pid, comm: "sh".into() };
        ensure!(unbind.task.as_ref() == Some(&task), "{task:?} unbinds, not {:?}", unbind.task);
        ensure!(
            unbind.stack.iter().map(AsRef::as_ref).eq(self.stack.iter().map(String::as_str))
                && unbind.stack_error.is_none(),
            "its stack is {:?}, told is {:?} ({:?})",
            self.stack,
            unbind.stack,
            unbind.stack_error
        );
        self.since(report, unbind)?;
        ensure!(
            device.can_unbind.answer == CanUnbind::No && device.can_unbind.reason.contains("blocked already"),
            "can it be unbound? {:?}",
            device.can_unbind
        );
        let suspected = device.candidates.iter().filter_map(|candidate| match &candidate.why {
            Why::Mapping { task, .. } | Why::Waiting { task, .. } | Why::Unbinding { task, .. } => Some(task),
            Why::Driver { .. } => None,
        });
        ensure!(
            !suspected.into_iter().any(|suspect| *suspect == task),
            "who unbinds is suspected: {:?}",
            device.candidates
        );
        Ok(())
    }

    /// Expects no time from before the unbind.
    fn since(&self, report: &Report, unbind: &UnbindReport) -> Result<()> {
        let age_ns = report.time_ns - self.since_ns;
        let waiting_ns = unbind.waiting_ns.context("it is not told for how long it has waited")?;
        ensure!(
            waiting_ns <= age_ns,
            "it has waited for {:?}, but began {:?} ago",
            Duration::from_nanos(waiting_ns),
            Duration::from_nanos(age_ns)
        );
        let since = unbind.since_ns.into_iter();
        let steps = unbind.steps.iter().map(|step| step.time_ns);
        for time_ns in since.chain(steps) {
            ensure!(
                (self.since_ns..=report.time_ns).contains(&time_ns),
                "a step is of {time_ns}, it began at {}",
                self.since_ns
            );
        }
        Ok(())
    }
}

/// Expects all steps up to the kill to be told, in their order.
pub(super) fn seen_from_the_start(device: &DeviceReport) -> Result<()> {
    let unbind = device.unbind.as_ref().context("the report tells of no unbind")?;
    let kinds: Vec<&str> = unbind.steps.iter().map(|step| step.kind.as_str()).collect();
    ensure!(
        !unbind.steps_may_be_missing
            && unbind.since_ns == unbind.steps.first().map(|step| step.time_ns)
            && unbind.steps.is_sorted_by_key(|step| step.time_ns)
            && kinds.contains(&"driver_remove")
            && kinds.last() == Some(&"kill"),
        "the steps since {:?} are {kinds:?}",
        unbind.since_ns
    );
    Ok(())
}

/// Expects that no step is claimed to have been seen, and that this is said.
pub(super) fn not_seen_beginning(device: &DeviceReport) -> Result<()> {
    let unbind = device.unbind.as_ref().context("the report tells of no unbind")?;
    ensure!(
        unbind.steps_may_be_missing && unbind.steps.is_empty(),
        "of an unbind of before is told: {:?}, {:?}",
        unbind.since_ns,
        unbind.steps
    );
    Ok(())
}

/// `[<0>] memunmap_pages+0x87/0x260` without what is of no use: `memunmap_pages+0x87`.
fn frame(line: &str) -> String {
    let line = line.strip_prefix("[<0>] ").unwrap_or(line);
    match line.split_once('/') {
        Some((start, rest)) => match rest.split_once(' ') {
            Some((_, module)) => format!("{start} {module}"),
            None => start.to_owned(),
        },
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_function_with_its_module() {
        assert_eq!(frame("[<0>] memunmap_pages+0x87/0x260"), "memunmap_pages+0x87");
        assert_eq!(frame("[<0>] nvme_remove+0x5a/0x60 [nvme]"), "nvme_remove+0x5a [nvme]");
        assert_eq!(frame("0xffff"), "0xffff");
    }
}
