//! Critical findings in the kernel's log: it leaves a dying machine by serial console, netconsole or pstore, which nothing
//! that a process writes elsewhere does.

use std::{
    fs::{File, OpenOptions},
    io::Write,
};

use anyhow::{Context as _, Result};
use p2p_trace_model::rules::{Finding, Severity};

const PATH: &str = "/dev/kmsg";
/// Lines that may be written at once, and the time after which one more may. The kernel itself takes no more than ten in
/// five seconds (`kernel.printk_devkmsg=ratelimit`).
const BURST: u64 = 5;
const REFILL_NS: u64 = 1_000_000_000;
/// Bytes of a line; the kernel refuses one of more than about 976 (`PRINTKRB_RECORD_MAX`, before 6.3 `LOG_LINE_MAX`).
const MAX_LINE: usize = 800;
/// In front of a line: it is critical (`KERN_CRIT`), so that it is shown on the console at the usual levels.
const LEVEL: &str = "<2>";

/// Where findings go, and how many may.
#[derive(Debug)]
pub(super) struct KernelLog<W> {
    out: W,
    /// Lines that may be written now.
    allowed: u64,
    refilled_ns: u64,
    /// Findings that were not written since the last one that was.
    omitted: u64,
    /// It was said that the kernel takes nothing.
    is_told: bool,
}

impl KernelLog<File> {
    /// The log of the running kernel.
    #[expect(clippy::disallowed_methods, reason = "a device of the kernel, not a file")]
    pub(super) fn open() -> Result<Self> {
        let file = OpenOptions::new().write(true).open(PATH);
        let file = file.with_context(|| {
            format!("cannot write to {PATH}, as --kmsg asks for: run it as root, or leave --kmsg out")
        })?;
        Ok(Self::new(file))
    }
}

impl<W: Write> KernelLog<W> {
    const fn new(out: W) -> Self {
        Self { out, allowed: BURST, refilled_ns: 0, omitted: 0, is_told: false }
    }

    /// Writes those of `findings` that are critical and new, at `now_ns` of the stream.
    pub(super) fn tell(&mut self, findings: &[Finding], now_ns: u64) {
        let is_told = |finding: &&Finding| {
            let is_new = finding.occurrences <= 1 || finding.withdrawn.is_some();
            finding.severity == Severity::Critical && is_new
        };
        for finding in findings.iter().filter(is_told) {
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
            // One write is one line of the log.
            let written = self.out.write_all(line(finding, self.omitted).as_bytes());
            self.omitted = 0;
            if let Err(error) = written
                && !std::mem::replace(&mut self.is_told, true)
            {
                tracing::warn!("a finding could not be written to {PATH}: {error}");
            }
        }
    }
}

/// The line of a finding before which so many were left out.
fn line(finding: &Finding, omitted: u64) -> String {
    let before = match omitted {
        0 => String::new(),
        count => format!(" ({count} findings before it left out)"),
    };
    let Finding { number, rule, device, message, .. } = finding;
    let rule = rule.name();
    let mut line = finding.withdrawn.as_ref().map_or_else(
        || format!("{LEVEL}p2p-trace: {rule} of {device}{before}: {message}"),
        |why| format!("{LEVEL}p2p-trace: finding {number}, {rule} of {device}{before}, is withdrawn: {why}"),
    );
    line.truncate(line.floor_char_boundary(MAX_LINE));
    // The name of a task can hold anything.
    let line = line.replace(|letter: char| letter.is_control(), "?");
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{late_use, stall};

    fn told(findings: &[(Finding, u64)]) -> Vec<String> {
        let mut log = KernelLog::new(Vec::new());
        for (finding, now_ns) in findings {
            log.tell(std::slice::from_ref(finding), *now_ns);
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
    fn a_critical_finding_is_written_when_it_is_new_and_no_other() {
        let again = Finding { occurrences: 2, ..critical() };
        let lines = told(&[(stall(), 1), (critical(), 2), (again, 3)]);
        assert_eq!(
            lines,
            [format!("<2>p2p-trace: use-after-removal of {}: sh mapped it", critical().device)]
        );
    }

    #[test]
    fn one_that_is_withdrawn_is_told_again() {
        let withdrawn = Finding { withdrawn: Some("a run of drained was skipped".to_owned()), ..critical() };
        let lines = told(&[(critical(), 1), (withdrawn, 2)]);
        assert!(lines[1].contains("is withdrawn: a run of drained was skipped"), "{lines:?}");
    }

    #[test]
    fn no_more_than_a_few_are_written_at_once_and_the_next_one_says_how_many_are_not() {
        let mut findings = vec![(critical(), 5); 8];
        findings.push((critical(), 5 + REFILL_NS));
        let lines = told(&findings);
        assert_eq!(lines.len(), BURST as usize + 1);
        assert!(lines[5].contains("(3 findings before it left out)"), "{lines:?}");
    }

    #[test]
    fn a_line_is_one_line_and_not_too_long() {
        let finding = Finding { message: format!("a\nb\u{1b}{}", "ü".repeat(2000)), ..critical() };
        let lines = told(&[(finding, 1)]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains(": a?b?ü") && lines[0].len() <= MAX_LINE, "{lines:?}");
    }
}
