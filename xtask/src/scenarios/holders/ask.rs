//! Runs `p2p-trace holders` in the guest, and reads the guest's own data for comparison.

use anyhow::{Context as _, Result, ensure};

use super::report::{self, ReportExt as _};
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{Report, Source};

/// How often to ask a tracer that is uncertain.
const PATIENCE: u32 = 40;

/// A device's p2p memory, as sysfs shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sysfs {
    /// Bytes.
    pub(super) size: u64,
    /// Bytes that are allocated.
    pub(super) allocated: u64,
    /// Whether other drivers can find it.
    pub(super) published: bool,
}

impl Lab {
    /// A running tracer's report on these devices, on all if none is named.
    ///
    /// # Errors
    ///
    /// No tracer answers, or the report is not valid.
    pub(super) fn ask_tracer(&mut self, devices: &str) -> Result<Report> {
        let report = self.holders(devices)?;
        let Source::Live { pid, since_ns, .. } = report.source else {
            anyhow::bail!("no tracer answered");
        };
        ensure!(since_ns < report.time_ns, "the tracer's start {since_ns} is not before the report");
        self.guest
            .check(&format!("tr '\\0' ' ' < /proc/{pid}/cmdline | grep -q 'p2p-trace live'"))
            .with_context(|| format!("process {pid} is not a tracer"))?;
        Ok(report)
    }

    /// A running tracer's report on a device once it has caught up and reconciled its losses.
    ///
    /// # Errors
    ///
    /// As for [`Lab::ask_tracer`], and if it stays uncertain.
    pub(in crate::scenarios) fn ask_until_certain(&mut self, device: &str) -> Result<Report> {
        for _ in 0..PATIENCE {
            let report = self.ask_tracer(device)?;
            if report.device(device)?.uncertain.is_empty() {
                return Ok(report);
            }
        }
        anyhow::bail!("{device} stays uncertain")
    }

    /// A report without a tracer.
    ///
    /// # Errors
    ///
    /// A tracer answers, or the report is not valid.
    pub(super) fn one_shot(&mut self, devices: &str) -> Result<Report> {
        let report = self.holders(devices)?;
        ensure!(report.source == Source::OneShot, "a tracer answered: {:?}", report.source);
        Ok(report)
    }

    /// Runs the command, which must not print errors, between two readings of the guest's clock.
    fn holders(&mut self, devices: &str) -> Result<Report> {
        let uptime = "read now rest < /proc/uptime; echo uptime $now >&2";
        let output = self.guest.run(&format!(
            "{uptime}; p2p-trace holders --json --can-unbind {devices}; code=$?; {uptime}; exit $code"
        ))?;
        let times: Vec<u64> = output.err.iter().filter_map(|line| uptime_ns(line)).collect();
        ensure!(times.len() == output.err.len(), "p2p-trace holders printed errors: {}", output.text());
        let report = report::parse(&output.out.join("\n"), output.code)?;
        ensure!(
            times.len() == 2 && (times[0]..=times[1] + TICK_NS).contains(&report.time_ns),
            "the report's time {} ns is not within {times:?}",
            report.time_ns
        );
        Ok(report)
    }

    /// The p2p memory of a device that is not being torn down.
    ///
    /// # Errors
    ///
    /// It has none.
    pub(super) fn sysfs(&mut self, device: &str) -> Result<Sysfs> {
        let folder = format!("/sys/bus/pci/devices/{device}/p2pmem");
        let lines = self.guest.check(&format!("cd {folder} && cat size available published"))?;
        let numbers: Vec<u64> = lines.iter().map(|line| line.parse()).collect::<Result<_, _>>()?;
        let [size, available, published] = numbers[..] else {
            anyhow::bail!("unexpected values in sysfs: {lines:?}");
        };
        Ok(Sysfs { size, allocated: size - available, published: published == 1 })
    }
}

/// The resolution of the uptime.
const TICK_NS: u64 = 10_000_000;

/// Parses `uptime 12.34`, rounded down to the tick.
pub(super) fn uptime_ns(line: &str) -> Option<u64> {
    let (seconds, hundredths) = line.strip_prefix("uptime ")?.split_once('.')?;
    let (seconds, hundredths) = (seconds.parse::<u64>().ok()?, hundredths.parse::<u64>().ok()?);
    Some(seconds * 1_000_000_000 + hundredths * TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_uptime() {
        assert_eq!(uptime_ns("uptime 12.34"), Some(12_340_000_000));
        assert_eq!(uptime_ns("warning 12.34"), None);
        assert_eq!(uptime_ns("uptime 12"), None);
    }
}
