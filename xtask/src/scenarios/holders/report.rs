//! What `p2p-trace holders --json` said, as a reader who knows only its documentation sees it, and what has to hold for
//! every report.

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// The format that is known here.
const FORMAT: u32 = 1;

/// A report; what is absent was not known.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    /// Version of the format.
    pub(crate) format: u32,
    /// Who looked.
    pub(crate) source: Source,
    /// When, in nanoseconds since the boot.
    pub(crate) time_ns: u64,
    /// By address.
    pub(crate) devices: Vec<Device>,
    /// What could not be looked at.
    #[serde(default)]
    pub(crate) gaps: Vec<String>,
}

/// Who looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Source {
    /// A tracer that was running.
    Live {
        /// Its process.
        pid: u32,
        /// Since when it traces.
        since_ns: u64,
    },
    /// The command itself.
    Moment,
}

/// One device.
#[derive(Debug, Deserialize)]
pub(crate) struct Device {
    #[serde(rename = "device")]
    pub(crate) address: String,
    pub(crate) driver: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) taken: Option<u64>,
    pub(crate) published: Option<bool>,
    pub(crate) ranges: Vec<Range>,
    pub(crate) holders: Vec<Holder>,
    pub(crate) preexisting: Option<Preexisting>,
    pub(crate) unbind: Option<Unbind>,
    #[serde(default)]
    pub(crate) candidates: Vec<Candidate>,
    #[serde(default)]
    pub(crate) uncertain: Vec<String>,
    pub(crate) can_unbind: CanUnbind,
}

/// One range.
#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    pub(crate) start: Option<String>,
    pub(crate) end: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) state: String,
    pub(crate) taken: Option<u64>,
    pub(crate) residual: Option<Residual>,
}

/// The references that a killed range has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Residual {
    pub(crate) count: u64,
    pub(crate) known: u64,
    pub(crate) unknown_min: u64,
    pub(crate) unknown_max: u64,
    pub(crate) unexplained_min: u64,
    pub(crate) unexplained_max: u64,
}

/// Memory of one kind that one task took at one place.
#[derive(Debug, Deserialize)]
pub(crate) struct Holder {
    pub(crate) kind: String,
    pub(crate) count: u64,
    pub(crate) references: u64,
    pub(crate) bytes: u64,
    pub(crate) taken_by: Option<Task>,
    /// `alive`, `gone` or `unknown`.
    pub(crate) process: String,
    pub(crate) caller: Option<String>,
    pub(crate) oldest_ns: u64,
    pub(crate) newest_ns: u64,
    pub(crate) age_ns: u64,
    pub(crate) record: String,
    pub(crate) by_driver: Option<bool>,
    /// It may be another's since records were lost.
    #[serde(default)]
    pub(crate) unsure: bool,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Task {
    pub(crate) pid: u32,
    pub(crate) tgid: u32,
    pub(crate) comm: String,
}

/// Memory whose taker was not seen.
#[derive(Debug, Deserialize)]
pub(crate) struct Preexisting {
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) mapped_max: u64,
    pub(crate) runs: Vec<Run>,
    #[serde(default)]
    pub(crate) runs_left_out: u64,
}

/// A contiguous piece.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Run {
    pub(crate) addr: String,
    pub(crate) size: u64,
}

/// An unbind that is under way.
#[derive(Debug, Deserialize)]
pub(crate) struct Unbind {
    pub(crate) blocked: bool,
    pub(crate) since_ns: Option<u64>,
    pub(crate) waiting_ns: Option<u64>,
    pub(crate) step: Option<String>,
    pub(crate) step_from: Option<String>,
    pub(crate) task: Option<Task>,
    #[serde(default)]
    pub(crate) stack: Vec<String>,
    pub(crate) stack_error: Option<String>,
    #[serde(default)]
    pub(crate) steps_may_be_missing: bool,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
}

/// A step that was seen.
#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) kind: String,
    pub(crate) time_ns: u64,
}

/// Something that may have to do with the memory.
#[derive(Debug, Deserialize)]
pub(crate) struct Candidate {
    /// `mapping`, `waiting`, `unbinding` or `driver`.
    #[serde(rename = "candidate")]
    pub(crate) why: String,
    pub(crate) task: Option<Task>,
    pub(crate) bytes: Option<u64>,
    pub(crate) driver: Option<String>,
    pub(crate) reason: String,
}

/// Whether it can be unbound.
#[derive(Debug, Deserialize)]
pub(crate) struct CanUnbind {
    pub(crate) answer: Answer,
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) waits_for: Vec<String>,
}

/// The answer, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Yes,
    Unknown,
    No,
}

impl Answer {
    /// The exit code that says the same.
    const fn code(self) -> i32 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Unknown => 2,
        }
    }
}

impl Report {
    /// Reads a report, and checks what holds for each.
    ///
    /// # Errors
    ///
    /// It is none, or contradicts itself or the exit code.
    pub(crate) fn parse(text: &str, code: i32) -> Result<Self> {
        let report: Self = serde_json::from_str(text).with_context(|| format!("no report: {text}"))?;
        report
            .check(code)
            .with_context(|| format!("the report does not hold: {text}"))?;
        Ok(report)
    }

    fn check(&self, code: i32) -> Result<()> {
        ensure!(self.format == FORMAT, "its format is {}", self.format);
        ensure!(self.gaps.is_empty(), "root could not see: {:?}", self.gaps);
        ensure!(
            self.devices.is_sorted_by(|a, b| a.address < b.address),
            "the devices are not in order, each once"
        );
        let answers = self.devices.iter().map(|device| device.can_unbind.answer);
        let worst = answers.max().unwrap_or(Answer::Yes);
        ensure!(
            code == worst.code(),
            "the exit code is {code}, the answer {worst:?}"
        );
        for device in &self.devices {
            device
                .check(self.time_ns)
                .with_context(|| format!("device {}", device.address))?;
        }
        Ok(())
    }

    /// A device that has to be there.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(crate) fn device(&self, address: &str) -> Result<&Device> {
        let found = self.devices.iter().find(|device| device.address == address);
        found.with_context(|| format!("the report does not tell of {address}: {:?}", self.devices))
    }
}

impl Device {
    /// Its account is right by itself.
    fn check(&self, time_ns: u64) -> Result<()> {
        let sum = |of: fn(&Range) -> Option<u64>| self.ranges.iter().map(of).sum::<Option<u64>>();
        if !self.ranges.is_empty() {
            ensure!(
                self.taken == sum(|range| range.taken) && self.size == sum(|range| range.size),
                "its ranges do not add up"
            );
        }
        ensure!(
            !self.can_unbind.reason.is_empty(),
            "it gives no reason for its answer"
        );
        for holder in &self.holders {
            ensure!(
                holder.oldest_ns <= holder.newest_ns
                    && holder.newest_ns <= time_ns
                    && holder.age_ns == time_ns - holder.oldest_ns,
                "{} was taken at another time than told: {holder:?}",
                holder.record
            );
            ensure!(
                holder.count > 0 && holder.references >= holder.count && holder.bytes > 0,
                "nothing is taken: {holder:?}"
            );
        }
        if let Some(preexisting) = &self.preexisting {
            let sum: u64 = preexisting.runs.iter().map(|run| run.size).sum();
            ensure!(
                sum == preexisting.bytes || preexisting.runs_left_out > 0 && sum < preexisting.bytes,
                "runs of {sum} bytes are {} bytes",
                preexisting.bytes
            );
        }
        self.check_account()
    }

    /// What is known to be taken, and what nobody knows the taker of, is what the kernel counts: no byte more, none less.
    fn check_account(&self) -> Result<()> {
        let Some(taken) = self.taken.filter(|_| self.uncertain.is_empty()) else {
            return Ok(());
        };
        let known: u64 = self.holders.iter().map(|holder| holder.bytes).sum();
        let (unknown, mapped) = self.preexisting.as_ref().map_or((0, 0), |preexisting| {
            (preexisting.bytes, preexisting.mapped_max.min(preexisting.bytes))
        });
        let all = known + unknown - mapped..=known + unknown;
        ensure!(
            all.contains(&taken),
            "the kernel counts {taken} bytes, but {known} are known to be taken, and {unknown} taken by unknown \
             (of these {mapped} can be both)"
        );
        Ok(())
    }

    /// Its only range.
    ///
    /// # Errors
    ///
    /// It has none or several.
    pub(crate) fn only_range(&self) -> Result<&Range> {
        match &self.ranges[..] {
            [range] => Ok(range),
            ranges => bail!("{} has {} ranges: {ranges:?}", self.address, ranges.len()),
        }
    }

    /// The only one who is known to have taken memory of this kind.
    ///
    /// # Errors
    ///
    /// There is none, or several.
    pub(crate) fn only_holder(&self, kind: &str) -> Result<&Holder> {
        let mut found = self.holders.iter().filter(|holder| holder.kind == kind);
        match (found.next(), found.next()) {
            (Some(holder), None) => Ok(holder),
            _ => bail!(
                "{} has not one holder of {kind}: {:?}",
                self.address,
                self.holders
            ),
        }
    }

    /// Bytes of which it was not seen who took them.
    pub(crate) fn unseen(&self) -> u64 {
        self.preexisting
            .as_ref()
            .map_or(0, |preexisting| preexisting.bytes)
    }
}

impl Range {
    /// First and last physical address.
    ///
    /// # Errors
    ///
    /// They are not told, or contradict the size.
    pub(crate) fn bounds(&self) -> Result<(u64, u64)> {
        let address = |field: &Option<String>| hex(field.as_deref().context("a range has no address")?);
        let (start, end) = (address(&self.start)?, address(&self.end)?);
        ensure!(
            self.size == Some(end - start + 1),
            "{start:#x}-{end:#x} has {:?} bytes",
            self.size
        );
        Ok((start, end))
    }
}

/// The number of `0xff`.
pub(crate) fn hex(text: &str) -> Result<u64> {
    text.strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .with_context(|| format!("{text} is no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(device: &str) -> String {
        format!(r#"{{"format":1,"source":{{"kind":"moment"}},"time":"","time_ns":9,"devices":[{device}]}}"#)
    }

    fn complaint(text: &str, code: i32) -> String {
        format!("{:#}", Report::parse(text, code).unwrap_err())
    }

    const DEVICE: &str = r#"{"device":"0000:03:00.0","taken":12,"size":32,
        "ranges":[{"pgmap":"0x1","state":"live","taken":12,"size":32,"start":"0x20","end":"0x3f"}],
        "holders":[{"kind":"allocation","count":1,"references":1,"bytes":4,"process":"gone","oldest":"","oldest_ns":5,
                    "newest_ns":5,"age_ns":4,"record":"r:0:2"}],
        "preexisting":{"bytes":8,"runs":[{"addr":"0xff","size":8}]},
        "can_unbind":{"answer":"unknown","reason":"so"}}"#;

    #[test]
    fn a_good_report_passes() {
        let report = Report::parse(&text(DEVICE), 2).unwrap();
        assert_eq!(report.source, Source::Moment);
        let device = report.device("0000:03:00.0").unwrap();
        assert_eq!(device.only_range().unwrap().bounds().unwrap(), (0x20, 0x3f));
        assert_eq!(device.only_holder("allocation").unwrap().bytes, 4);
        assert!(device.only_holder("mmap").is_err());
        assert_eq!(device.unseen(), 8);
        assert!(report.device("0000:04:00.0").is_err());
    }

    #[test]
    fn the_exit_code_says_the_same() {
        assert!(complaint(&text(DEVICE), 0).contains("the exit code is 0"));
        Report::parse(&text(""), 0).unwrap();
        assert!(complaint(&text(""), 1).contains("the answer Yes"));
    }

    #[test]
    fn every_byte_is_accounted_for() {
        for (from, to, said) in [
            (r#""taken":12"#, r#""taken":16"#, "counts 16 bytes"),
            (r#""taken":12"#, r#""taken":8"#, "counts 8 bytes"),
            (r#""size":32,"start""#, r#""size":31,"start""#, "do not add up"),
            (r#""bytes":8,"#, r#""bytes":4,"#, "runs of 8 bytes are 4"),
            (r#""age_ns":4"#, r#""age_ns":5"#, "another time"),
            (r#""reason":"so""#, r#""reason":"""#, "no reason"),
        ] {
            let bad = DEVICE.replace(from, to);
            assert_ne!(bad, DEVICE, "{from}");
            let complaint = complaint(&text(&bad), 2);
            assert!(complaint.contains(said), "{said}: {complaint}");
        }
        let mapped = DEVICE
            .replace(r#""bytes":8,"#, r#""bytes":8,"mapped_max":4,"#)
            .replace(r#""taken":12"#, r#""taken":8"#);
        Report::parse(&text(&mapped), 2).unwrap();
    }

    #[test]
    fn a_range_has_the_size_of_its_addresses() {
        let bad = DEVICE.replace("0x3f", "0x4f");
        let report = Report::parse(&text(&bad), 2).unwrap();
        assert!(report.devices[0].only_range().unwrap().bounds().is_err());
    }
}
