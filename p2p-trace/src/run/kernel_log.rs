//! Writes critical findings to the kernel log. It can leave a crashing machine by serial console, netconsole or pstore, unlike
//! anything that a process writes to files.

use std::{
    fs::{File, OpenOptions},
    io::Write,
};

use anyhow::{Context as _, Result};
use p2p_trace_model::rules::{Finding, Severity};

const PATH: &str = "/dev/kmsg";
/// Lines that may be written at once. The kernel itself accepts no more than ten in five seconds
/// (`kernel.printk_devkmsg=ratelimit`).
const BURST: u64 = 5;
/// The interval at which one more line is allowed.
const REFILL_NS: u64 = 1_000_000_000;
/// Maximum length of a line in bytes. The kernel rejects lines of more than about 976 (`PRINTKRB_RECORD_MAX`, before 6.3 `LOG_LINE_MAX`).
const MAX_LINE: usize = 800;
/// The prefix for critical lines (`KERN_CRIT`), which consoles show at the usual levels.
const LEVEL: &str = "<2>";

/// The log with its rate limit.
#[derive(Debug)]
pub(super) struct KernelLog<W> {
    out: W,
    /// Lines that may be written now.
    allowed: u64,
    refilled_ns: u64,
    /// Findings that were not written since the last line.
    omitted: u64,
    /// A write error was reported.
    is_failure_reported: bool,
}

impl KernelLog<File> {
    /// The log of the running kernel.
    #[expect(clippy::disallowed_methods, reason = "a device of the kernel, not a file")]
    pub(super) fn open() -> Result<Self> {
        let file = OpenOptions::new().write(true).open(PATH);
        let file =
            file.with_context(|| format!("cannot write to {PATH} for --kmsg: run as root, or omit --kmsg"))?;
        Ok(Self::new(file))
    }
}

impl<W: Write> KernelLog<W> {
    const fn new(out: W) -> Self {
        Self { out, allowed: BURST, refilled_ns: 0, omitted: 0, is_failure_reported: false }
    }

    /// Writes the critical findings that are new or withdrawn. `now_ns` is the time of the stream.
    pub(super) fn write(&mut self, findings: &[Finding], now_ns: u64) {
        let is_written = |finding: &&Finding| {
            let is_new = finding.occurrences <= 1 || finding.withdrawn.is_some();
            finding.severity == Severity::Critical && is_new
        };
        for finding in findings.iter().filter(is_written) {
            let refills = now_ns.saturating_sub(self.refilled_ns) / REFILL_NS;
            if refills > 0 {
                self.allowed = self.allowed.saturating_add(refills).min(BURST);
                self.refilled_ns = now_ns;
            }
            if self.allowed == 0 {
                self.omitted += 1;
                continue;
            }
            self.allowed -= 1;
            // Each write is one line of the log.
            let written = self.out.write_all(line(finding, self.omitted).as_bytes());
            self.omitted = 0;
            if let Err(error) = written
                && !std::mem::replace(&mut self.is_failure_reported, true)
            {
                tracing::warn!("cannot write a finding to {PATH}: {error}");
            }
        }
    }
}

/// The line of a finding. `omitted` is the number of findings before it that were not written.
fn line(finding: &Finding, omitted: u64) -> String {
    let before = match omitted {
        0 => String::new(),
        count => format!(" ({count} findings before it omitted)"),
    };
    let Finding { number, rule, device, message, .. } = finding;
    let rule = rule.name();
    let mut line = finding.withdrawn.as_ref().map_or_else(
        || format!("{LEVEL}p2p-trace: {rule} of {device}{before}: {message}"),
        |why| format!("{LEVEL}p2p-trace: finding {number}, {rule} of {device}{before}, is withdrawn: {why}"),
    );
    line.truncate(line.floor_char_boundary(MAX_LINE));
    // A task name can contain any byte.
    let line = line.replace(|letter: char| letter.is_control(), "?");
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{late_use, stall};

    fn written(findings: &[(Finding, u64)]) -> Vec<String> {
        let mut log = KernelLog::new(Vec::new());
        for (finding, now_ns) in findings {
            log.write(std::slice::from_ref(finding), *now_ns);
        }
        String::from_utf8(log.out).unwrap().lines().map(str::to_owned).collect()
    }

    fn critical() -> Finding {
        Finding {
            severity: Severity::Critical,
            occurrences: 1,
            message: "sh mapped it".to_owned(),
            ..late_use()
        }
    }

    #[test]
    fn only_new_critical_findings_are_written() {
        let again = Finding { occurrences: 2, ..critical() };
        let lines = written(&[(stall(), 1), (critical(), 2), (again, 3)]);
        assert_eq!(
            lines,
            [format!("<2>p2p-trace: use-after-removal of {}: sh mapped it", critical().device)]
        );
    }

    #[test]
    fn a_withdrawn_finding_is_written_again() {
        let withdrawn = Finding { withdrawn: Some("a run of drained was skipped".to_owned()), ..critical() };
        let lines = written(&[(critical(), 1), (withdrawn, 2)]);
        assert!(lines[1].contains("is withdrawn: a run of drained was skipped"), "{lines:?}");
    }

    #[test]
    fn a_burst_is_limited_and_the_next_line_has_the_number_of_omitted_findings() {
        let mut findings = vec![(critical(), 5); 8];
        findings.push((critical(), 5 + REFILL_NS));
        let lines = written(&findings);
        assert_eq!(lines.len(), BURST as usize + 1);
        assert!(lines[5].contains("(3 findings before it omitted)"), "{lines:?}");
    }

    #[test]
    fn a_line_is_limited_and_has_no_line_breaks() {
        let finding = Finding { message: format!("a\nb\u{1b}{}", "ü".repeat(2000)), ..critical() };
        let lines = written(&[(finding, 1)]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains(": a?b?ü") && lines[0].len() <= MAX_LINE, "{lines:?}");
    }
}
