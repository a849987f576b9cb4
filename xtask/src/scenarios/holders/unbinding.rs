//! An unbind that waits, and the expectations on its report.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::ask::uptime_ns;
use crate::guest::Job;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{
    CanUnbind, DeviceReport, Report, StepFrom, TaskLine, UnbindReport, UnbindStep, Why,
};

/// A task of the guest that unbinds a device, and waits for memory to be freed.
#[derive(Debug)]
pub(super) struct Unbinding {
    job: Job,
    pid: u32,
    /// When it began, with an error of at most one tick.
    since_ns: u64,
    /// Its stack, read in the guest.
    stack: Vec<String>,
}

impl Unbinding {
    /// Unbinds a device from a driver, and waits until the unbind is blocked.
    ///
    /// # Errors
    ///
    /// The unbind finishes.
    pub(super) fn start(lab: &mut Lab, device: &str, driver: &str) -> Result<Self> {
        let job = lab.guest.spawn(&format!(
            "read now rest < /proc/uptime; echo uptime $now; echo pid $$; \
             echo {device} > /sys/bus/pci/drivers/{driver}/unbind"
        ))?;
        let since = lab.guest.wait_line(job, "uptime ")?;
        let pid = lab.guest.wait_line(job, "pid ")?;
        let pid = pid.strip_prefix("pid ").unwrap_or_default().parse()?;
        // Checked twice: it calls other functions before and after its wait.
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

    /// Waits until the unbind has finished.
    pub(super) fn wait(&self, lab: &mut Lab) -> Result<()> {
        let ended = lab.guest.wait(self.job)?.success();
        ended.context("the unbind failed").map(drop)
    }

    /// Expects the unbind to be reported as blocked, with its step and its task.
    pub(super) fn is_reported(&self, report: &Report, device: &DeviceReport) -> Result<()> {
        let unbind = device.unbind.as_ref().context("the report has no unbind")?;
        ensure!(unbind.blocked, "the unbind is not reported as blocked: {unbind:?}");
        ensure!(
            unbind.step == Some(UnbindStep::WaitForDrain) && unbind.step_from == Some(StepFrom::Stack),
            "the step is reported as {:?}, from {:?}",
            unbind.step,
            unbind.step_from
        );
        let task = TaskLine { pid: self.pid, tgid: self.pid, comm: "sh".into() };
        ensure!(unbind.task.as_ref() == Some(&task), "the unbind is by {task:?}, not {:?}", unbind.task);
        ensure!(
            unbind.stack.iter().map(AsRef::as_ref).eq(self.stack.iter().map(String::as_str))
                && unbind.stack_error.is_none(),
            "the stack is {:?}, but reported as {:?} ({:?})",
            self.stack,
            unbind.stack,
            unbind.stack_error
        );
        self.since(report, unbind)?;
        ensure!(
            device.can_unbind.answer == CanUnbind::No && device.can_unbind.reason.contains("blocked already"),
            "wrong answer on the unbind: {:?}",
            device.can_unbind
        );
        let suspected = device.candidates.iter().filter_map(|candidate| match &candidate.why {
            Why::Mapping { task, .. } | Why::Waiting { task, .. } | Why::Unbinding { task, .. } => Some(task),
            Why::Driver { .. } => None,
        });
        ensure!(
            !suspected.into_iter().any(|suspect| *suspect == task),
            "the unbinding task is among the candidates: {:?}",
            device.candidates
        );
        Ok(())
    }

    /// Expects no time before the start of the unbind.
    fn since(&self, report: &Report, unbind: &UnbindReport) -> Result<()> {
        let age_ns = report.time_ns - self.since_ns;
        let waiting_ns = unbind.waiting_ns.context("the unbind has no waiting time")?;
        ensure!(
            waiting_ns <= age_ns,
            "the unbind waits for {:?}, but started {:?} ago",
            Duration::from_nanos(waiting_ns),
            Duration::from_nanos(age_ns)
        );
        let since = unbind.since_ns.into_iter();
        let steps = unbind.steps.iter().map(|step| step.time_ns);
        for time_ns in since.chain(steps) {
            ensure!(
                (self.since_ns..=report.time_ns).contains(&time_ns),
                "a step is at {time_ns}, but the unbind started at {}",
                self.since_ns
            );
        }
        Ok(())
    }
}

/// Expects all steps up to the kill to be reported in order.
pub(super) fn seen_from_the_start(device: &DeviceReport) -> Result<()> {
    let unbind = device.unbind.as_ref().context("the report has no unbind")?;
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

/// Expects no steps, and the flag that steps may be missing.
pub(super) fn start_unknown(device: &DeviceReport) -> Result<()> {
    let unbind = device.unbind.as_ref().context("the report has no unbind")?;
    ensure!(
        unbind.steps_may_be_missing && unbind.steps.is_empty(),
        "an unbind that started before the trace has {:?}, {:?}",
        unbind.since_ns,
        unbind.steps
    );
    Ok(())
}

/// Shortens `[<0>] memunmap_pages+0x87/0x260` to `memunmap_pages+0x87`.
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
