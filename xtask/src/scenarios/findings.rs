//! Findings and verdicts in a stream of `p2p-trace live --json`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::stream::{Frame, Stream};

/// A violation of a rule.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Finding {
    /// A later one with the same number is a newer version of it.
    pub(crate) number: u32,
    /// The rule.
    pub(crate) rule: String,
    /// Always `violated`.
    pub(crate) verdict: String,
    /// `medium`, `high` or `critical`.
    pub(crate) severity: String,
    /// Whose memory.
    pub(crate) device: String,
    /// The range's object in the kernel.
    pub(crate) pgmap: Option<String>,
    /// First address of the range.
    pub(crate) range_start: Option<String>,
    /// Last address of the range.
    pub(crate) range_end: Option<String>,
    /// When it began, in nanoseconds.
    pub(crate) start_ns: u64,
    /// When it ended, or happened last.
    pub(crate) end_ns: Option<u64>,
    /// It is over.
    pub(crate) closed: bool,
    /// How often it happened.
    pub(crate) occurrences: u64,
    /// What happened.
    pub(crate) message: String,
    /// What to do.
    pub(crate) advice: String,
    /// Ids of the records that show it.
    pub(crate) evidence: Vec<String>,
    /// Who took what was out.
    pub(crate) holders: Vec<Holder>,
    /// Kernel stack, innermost first.
    #[serde(default)]
    pub(crate) stack: Vec<Frame>,
}

/// Memory that one task took in one way at one place.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Holder {
    /// `allocation`, `scatter list` or `mmap`.
    pub(crate) kind: String,
    /// Process.
    pub(crate) tgid: Option<u32>,
    /// Name of the thread.
    pub(crate) comm: Option<String>,
    /// The function that took it.
    pub(crate) caller: Option<String>,
    /// References.
    pub(crate) references: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// False: its process is gone.
    pub(crate) alive: Option<bool>,
    /// Id of the record.
    pub(crate) record: String,
}

/// What a rule came to for a device.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Verdict {
    /// The rule.
    pub(crate) rule: String,
    /// The device.
    pub(crate) device: String,
    /// `holds`, `violated`, `inconclusive` or `not_checked`.
    #[serde(rename = "verdict")]
    pub(crate) answer: String,
    /// How many findings there are.
    pub(crate) findings: u32,
    /// Why it is inconclusive or not checked.
    pub(crate) reasons: Vec<String>,
}

impl Finding {
    fn check(&self) -> Result<()> {
        ensure!(self.verdict == "violated", "it is not violated");
        ensure!(
            ["medium", "high", "critical"].contains(&self.severity.as_str()),
            "nobody knows this severity"
        );
        let bounds = [&self.range_start, &self.range_end].map(Option::is_some);
        ensure!(
            matches!(
                (self.pgmap.is_some(), bounds),
                (_, [false, false]) | (true, [true, true])
            ),
            "its range is half known"
        );
        ensure!(
            self.closed == self.end_ns.is_some(),
            "only what is over has an end"
        );
        ensure!(
            self.end_ns.is_none_or(|end_ns| end_ns >= self.start_ns),
            "it ended before it began"
        );
        ensure!(self.occurrences > 0, "it did not happen");
        ensure!(
            !self.message.is_empty() && !self.advice.is_empty() && !self.evidence.is_empty(),
            "it does not say what happened, what to do, or what shows it"
        );
        let first = self.stack.first().and_then(|frame| frame.symbol.as_deref());
        ensure!(
            first.is_none_or(|symbol| !symbol.starts_with("bpf_")),
            "its stack begins in the tracer"
        );
        self.holders.iter().try_for_each(Holder::check)
    }
}

impl Holder {
    fn check(&self) -> Result<()> {
        ensure!(
            ["allocation", "scatter list", "mmap"].contains(&self.kind.as_str()),
            "nobody knows this way to take memory: {self:?}"
        );
        // What is left of memory that was given back in part holds bytes and no reference.
        ensure!(self.bytes > 0, "it holds nothing: {self:?}");
        ensure!(
            self.tgid.is_some() == self.comm.is_some() && self.tgid.is_some() == self.alive.is_some(),
            "its task is half known: {self:?}"
        );
        ensure!(
            self.caller
                .as_ref()
                .is_none_or(|caller| !caller.contains("trampoline")),
            "its caller is none: {self:?}"
        );
        Ok(())
    }
}

impl Verdict {
    /// Against the number of its findings that were told.
    fn check(&self, told: usize) -> Result<()> {
        ensure!(self.findings as usize == told, "{told} findings were told");
        let is_sound = match self.answer.as_str() {
            "violated" => told > 0,
            "holds" => told == 0,
            "inconclusive" | "not_checked" => told == 0 && !self.reasons.is_empty(),
            _ => false,
        };
        ensure!(is_sound, "that does not go together");
        Ok(())
    }
}

impl Stream {
    /// The findings of a rule, the latest version of each, oldest first.
    pub(crate) fn findings_of<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = &'a Finding> {
        let latest: BTreeMap<_, _> = self
            .findings
            .iter()
            .map(|finding| (finding.number, finding))
            .collect();
        latest.into_values().filter(move |finding| finding.rule == rule)
    }

    /// What a rule came to for a device.
    ///
    /// # Errors
    ///
    /// The stream does not tell.
    pub(crate) fn verdict(&self, device: &str, rule: &str) -> Result<&Verdict> {
        let is_it = |verdict: &&Verdict| verdict.device == device && verdict.rule == rule;
        let known = self.verdicts.iter().find(is_it);
        known.with_context(|| format!("there is no verdict of {rule} for {device}"))
    }

    /// Checks that findings are whole, name what is in the stream, and agree with the verdicts.
    ///
    /// # Errors
    ///
    /// Names what does not hold.
    pub(super) fn check_findings(&self) -> Result<()> {
        let ids: BTreeSet<_> = self.events.iter().map(|event| event.id.as_str()).collect();
        for finding in &self.findings {
            let (number, rule, device) = (finding.number, &finding.rule, &finding.device);
            let what = || format!("finding {number}, {rule} of {device}: {finding:?}");
            finding.check().with_context(what)?;
            let records = finding.holders.iter().map(|holder| &holder.record);
            for id in finding.evidence.iter().chain(records) {
                ensure!(ids.contains(id.as_str()), "{}: there is no event {id}", what());
            }
            self.verdict(device, rule)?;
        }
        for verdict in &self.verdicts {
            let told = self.findings_of(&verdict.rule);
            let told = told.filter(|finding| finding.device == verdict.device).count();
            verdict
                .check(told)
                .with_context(|| format!("{} of {}: {verdict:?}", verdict.rule, verdict.device))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::stream::tests::stream;

    const FINDING: &str = r#"{"type":"finding","number":1,"rule":"stalled-drain","verdict":"violated","severity":"high",
        "device":"0000:03:00.0","pgmap":"0x1","range_start":"0x1000","range_end":"0x1fff","start":"x","start_ns":5,
        "closed":false,"occurrences":1,"message":"m","advice":"a","evidence":["r:0:0"],"holders":[{"kind":"mmap","pid":7,
        "tgid":7,"comm":"sh","references":1,"bytes":4096,"since_ns":1,"alive":true,"record":"r:0:0"}],"holders_left_out":0}"#;
    const VERDICT: &str = r#"{"type":"verdict","rule":"stalled-drain","device":"0000:03:00.0","verdict":"violated",
        "severity":"high","findings":1,"reasons":[]}"#;

    fn found(finding: &str, verdict: &str) -> Result<Stream> {
        let mut lines = stream(&[(5, 0, r#""kind":"kill""#)], "");
        let ended = finding.replacen("\"closed\":false", "\"closed\":true,\"end_ns\":9", 1);
        let last = lines.len() - 1;
        lines.splice(last..last, [finding.to_owned(), ended, verdict.to_owned()]);
        let stream = Stream::parse(&lines)?;
        stream.check_findings()?;
        Ok(stream)
    }

    #[test]
    fn the_latest_version_of_a_finding_counts() {
        let stream = found(FINDING, VERDICT).unwrap();
        let [finding] = stream.findings_of("stalled-drain").collect::<Vec<_>>()[..] else {
            panic!("{:?}", stream.findings)
        };
        assert!(finding.closed);
        assert_eq!(stream.findings_of("double-kill").count(), 0);
        assert_eq!(
            stream.verdict("0000:03:00.0", "stalled-drain").unwrap().findings,
            1
        );
        assert!(stream.verdict("0000:04:00.0", "stalled-drain").is_err());
    }

    #[test]
    fn what_does_not_go_together_is_found() {
        let complaint = |finding: &str, verdict: &str| format!("{:#}", found(finding, verdict).unwrap_err());
        for (part, instead, expected) in [
            (
                r#"evidence":["r:0:0"#,
                r#"evidence":["r:0:8"#,
                "there is no event r:0:8",
            ),
            (
                r#"record":"r:0:0"#,
                r#"record":"r:0:8"#,
                "there is no event r:0:8",
            ),
            (r#""advice":"a""#, r#""advice":"""#, "what to do"),
            (r#""alive":true,"#, "", "half known"),
            (r#""pgmap":"0x1","#, "", "half known"),
            (r#""severity":"high""#, r#""severity":"dire""#, "severity"),
            (r#""start_ns":5"#, r#""start_ns":10"#, "before it began"),
        ] {
            let finding = FINDING.replacen(part, instead, 1);
            assert_ne!(finding, FINDING, "{part}");
            assert!(
                complaint(&finding, VERDICT).contains(expected),
                "{}",
                complaint(&finding, VERDICT)
            );
        }
        for (part, instead, expected) in [
            (r#""verdict":"violated""#, r#""verdict":"holds""#, "go together"),
            (r#""findings":1"#, r#""findings":2"#, "1 findings were told"),
            (
                "stalled-drain",
                "double-kill",
                "there is no verdict of stalled-drain",
            ),
        ] {
            let verdict = VERDICT.replacen(part, instead, 1);
            assert!(
                complaint(FINDING, &verdict).contains(expected),
                "{}",
                complaint(FINDING, &verdict)
            );
        }
        let uncertain = VERDICT.replacen("violated", "inconclusive", 1);
        assert!(complaint(FINDING, &uncertain).contains("go together"));
    }
}
