//! Invariants of every report of `p2p-trace holders --json`.

use anyhow::{Context as _, Result, bail, ensure};

use crate::scenarios::product::{CanUnbind, DeviceReport, Hex, Holder, HolderKind, RangeReport, Report};

/// The supported format.
const FORMAT: u32 = 1;

/// Parses a report and checks the invariants.
pub(super) fn parse(text: &str, code: i32) -> Result<Report> {
    let report: Report = serde_json::from_str(text).with_context(|| format!("not a report: {text}"))?;
    check(&report, code).with_context(|| format!("the report is not valid: {text}"))?;
    Ok(report)
}

fn check(report: &Report, code: i32) -> Result<()> {
    ensure!(report.format == FORMAT, "the format is {}", report.format);
    ensure!(report.gaps.is_empty(), "root has gaps: {:?}", report.gaps);
    ensure!(
        report.devices.is_sorted_by(|a, b| a.device.0 < b.device.0),
        "the devices are not sorted and unique"
    );
    let answers = report.devices.iter().map(|device| device.can_unbind.answer);
    let worst = answers.max().unwrap_or(CanUnbind::Yes);
    let expected = match worst {
        CanUnbind::Yes => 0,
        CanUnbind::No => 1,
        CanUnbind::Unknown => 2,
    };
    ensure!(code == expected, "the exit code is {code}, the answer {worst:?}");
    for device in &report.devices {
        check_device(device, report.time_ns).with_context(|| format!("device {}", device.device.0))?;
    }
    Ok(())
}

/// Checks that a device's numbers add up.
fn check_device(device: &DeviceReport, time_ns: u64) -> Result<()> {
    let sum = |of: fn(&RangeReport) -> Option<u64>| device.ranges.iter().map(of).sum::<Option<u64>>();
    if !device.ranges.is_empty() {
        ensure!(
            device.allocated == sum(|range| range.allocated) && device.size == sum(|range| range.size),
            "the ranges do not add up"
        );
    }
    ensure!(!device.can_unbind.reason.is_empty(), "the answer has no reason");
    for holder in &device.holders {
        ensure!(
            holder.oldest_ns <= holder.newest_ns
                && holder.newest_ns <= time_ns
                && holder.age_ns == time_ns - holder.oldest_ns,
            "the times of {} are inconsistent: {holder:?}",
            holder.record.0
        );
        ensure!(
            holder.count > 0 && holder.references >= holder.count && holder.bytes > 0,
            "a holder without memory: {holder:?}"
        );
    }
    if let Some(preexisting) = &device.preexisting {
        let sum: u64 = preexisting.runs.iter().map(|run| run.size).sum();
        ensure!(
            sum == preexisting.bytes || preexisting.runs_omitted > 0 && sum < preexisting.bytes,
            "the runs have {sum} bytes in total, not {}",
            preexisting.bytes
        );
    }
    check_account(device)
}

/// Bytes with known and with unknown holders add up exactly to the kernel's count.
fn check_account(device: &DeviceReport) -> Result<()> {
    let Some(allocated) = device.allocated.filter(|_| device.uncertain.is_empty()) else {
        return Ok(());
    };
    let known: u64 = device.holders.iter().map(|holder| holder.bytes).sum();
    let (unknown, mapped) = device
        .preexisting
        .as_ref()
        .map_or((0, 0), |preexisting| (preexisting.bytes, preexisting.mapped_max.min(preexisting.bytes)));
    let all = known + unknown - mapped..=known + unknown;
    ensure!(
        all.contains(&allocated),
        "the kernel counts {allocated} bytes, but {known} have known holders, and {unknown} have unknown ones \
             (of these {mapped} can be both)"
    );
    Ok(())
}

/// Look-ups in a report.
pub(super) trait ReportExt {
    /// A device that must be in the report.
    fn device(&self, named: &str) -> Result<&DeviceReport>;
}

impl ReportExt for Report {
    fn device(&self, named: &str) -> Result<&DeviceReport> {
        let is_it = |device: &&DeviceReport| device.device.0.to_string() == named;
        let found = self.devices.iter().find(is_it);
        found.with_context(|| format!("the report has no {named}: {:?}", self.devices))
    }
}

/// Look-ups in the report on a device.
pub(super) trait DeviceReportExt {
    /// Its only range.
    fn only_range(&self) -> Result<&RangeReport>;

    /// The only holder of memory of this kind.
    fn only_holder(&self, kind: HolderKind) -> Result<&Holder>;

    /// Bytes with unknown holders.
    fn unseen(&self) -> u64;
}

impl DeviceReportExt for DeviceReport {
    fn only_range(&self) -> Result<&RangeReport> {
        match &self.ranges[..] {
            [range] => Ok(range),
            ranges => bail!("{} has {} ranges: {ranges:?}", self.device.0, ranges.len()),
        }
    }

    fn only_holder(&self, kind: HolderKind) -> Result<&Holder> {
        let mut found = self.holders.iter().filter(|holder| holder.kind == kind);
        match (found.next(), found.next()) {
            (Some(holder), None) => Ok(holder),
            _ => bail!("{} does not have exactly one holder of {kind:?}: {:?}", self.device.0, self.holders),
        }
    }

    fn unseen(&self) -> u64 {
        self.preexisting.as_ref().map_or(0, |preexisting| preexisting.bytes)
    }
}

/// First and last physical address of a range.
pub(super) fn bounds(range: &RangeReport) -> Result<(u64, u64)> {
    let (Some(Hex(start)), Some(Hex(end))) = (range.range_start, range.range_end) else {
        bail!("a range has no address: {range:?}");
    };
    ensure!(range.size == Some(end - start + 1), "{start:#x}-{end:#x} has {:?} bytes", range.size);
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::product::Source;

    fn text(device: &str) -> String {
        format!(
            r#"{{"format":1,"source":{{"kind":"one_shot"}},"time":"","time_ns":9,"kernel":"","devices":[{device}]}}"#
        )
    }

    fn complaint(text: &str, code: i32) -> String {
        format!("{:#}", parse(text, code).unwrap_err())
    }

    const DEVICE: &str = r#"{"device":"0000:03:00.0","life_cycle":"pages","allocated":12,"size":32,
        "ranges":[{"pgmap":"0x1","state":"live","allocated":12,"size":32,"range_start":"0x20","range_end":"0x3f"}],
        "holders":[{"kind":"allocation","count":1,"references":1,"bytes":4,"process":"exited","oldest":"","oldest_ns":5,
                    "newest_ns":5,"age_ns":4,"record":"0000000000000001:0:2"}],
        "preexisting":{"bytes":8,"runs":[{"addr":"0xff","size":8}]},
        "can_unbind":{"answer":"unknown","reason":"so"}}"#;

    #[test]
    fn accepts_a_valid_report() {
        let report = parse(&text(DEVICE), 2).unwrap();
        assert_eq!(report.source, Source::OneShot);
        let device = report.device("0000:03:00.0").unwrap();
        assert_eq!(bounds(device.only_range().unwrap()).unwrap(), (0x20, 0x3f));
        assert_eq!(device.only_holder(HolderKind::Allocation).unwrap().bytes, 4);
        assert!(device.only_holder(HolderKind::Mmap).is_err());
        assert_eq!(device.unseen(), 8);
        assert!(report.device("0000:04:00.0").is_err());
    }

    #[test]
    fn exit_code_must_match_the_answer() {
        assert!(complaint(&text(DEVICE), 0).contains("the exit code is 0"));
        parse(&text(""), 0).unwrap();
        assert!(complaint(&text(""), 1).contains("the answer Yes"));
    }

    #[test]
    fn rejects_inconsistent_numbers() {
        for (from, to, expected) in [
            (r#""allocated":12"#, r#""allocated":16"#, "counts 16 bytes"),
            (r#""allocated":12"#, r#""allocated":8"#, "counts 8 bytes"),
            (r#""size":32,"range_start""#, r#""size":31,"range_start""#, "do not add up"),
            (r#""bytes":8,"#, r#""bytes":4,"#, "8 bytes in total, not 4"),
            (r#""age_ns":4"#, r#""age_ns":5"#, "inconsistent"),
            (r#""reason":"so""#, r#""reason":"""#, "has no reason"),
        ] {
            let bad = DEVICE.replace(from, to);
            assert_ne!(bad, DEVICE, "{from}");
            let complaint = complaint(&text(&bad), 2);
            assert!(complaint.contains(expected), "{expected}: {complaint}");
        }
        let mapped = DEVICE
            .replace(r#""bytes":8,"#, r#""bytes":8,"mapped_max":4,"#)
            .replace(r#""allocated":12"#, r#""allocated":8"#);
        parse(&text(&mapped), 2).unwrap();
    }

    #[test]
    fn rejects_a_size_that_differs_from_the_bounds() {
        let bad = DEVICE.replace("0x3f", "0x4f");
        let report = parse(&text(&bad), 2).unwrap();
        assert!(bounds(report.devices[0].only_range().unwrap()).is_err());
    }
}
