//! Findings and verdicts in a stream of `p2p-trace live --json`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

use super::product::{Answer, FindingLine, FindingState, HolderLine, VerdictLine};
use super::stream::Stream;

fn check_finding(finding: &FindingLine) -> Result<()> {
    let expected = if finding.withdrawn.is_some() { Answer::Inconclusive } else { Answer::Violated };
    ensure!(
        finding.verdict == expected,
        "the answer does not match the finding's state: {}",
        finding.verdict.name()
    );
    let bounds = [finding.range_start, finding.range_end].map(|bound| bound.is_some());
    ensure!(
        matches!((finding.pgmap.is_some(), bounds), (_, [false, false]) | (true, [true, true])),
        "the range is incomplete"
    );
    let state = match (&finding.withdrawn, finding.end_ns) {
        (Some(_), _) => FindingState::Withdrawn,
        (None, Some(_)) => FindingState::Closed,
        (None, None) => FindingState::Ongoing,
    };
    ensure!(finding.state == state, "its state is not {state:?}");
    ensure!(finding.end_ns.is_none_or(|end_ns| end_ns >= finding.start_ns), "it ends before it starts");
    ensure!(finding.occurrences > 0, "it has no occurrence");
    ensure!(
        !finding.message.is_empty() && !finding.advice.is_empty() && !finding.evidence.is_empty(),
        "it lacks a message, advice or evidence"
    );
    let first = finding.stack.first().and_then(|frame| frame.symbol.as_deref());
    ensure!(first.is_none_or(|symbol| !symbol.starts_with("bpf_")), "the stack begins in the tracer");
    finding.holders.iter().try_for_each(check_holder)
}

fn check_holder(holder: &HolderLine) -> Result<()> {
    // The rest of a partly freed allocation holds bytes and no reference.
    ensure!(holder.bytes > 0, "it holds no bytes: {holder:?}");
    ensure!(
        holder.tgid.is_some() == holder.comm.is_some() && holder.tgid.is_some() == holder.alive.is_some(),
        "the task is incomplete: {holder:?}"
    );
    ensure!(
        holder.caller.as_ref().is_none_or(|caller| !caller.contains("trampoline")),
        "the caller is the tracing's own: {holder:?}"
    );
    Ok(())
}

/// Checks a verdict against the number of reported findings.
fn check_verdict(verdict: &VerdictLine, findings: usize) -> Result<()> {
    ensure!(verdict.findings as usize == findings, "{findings} findings were reported");
    let is_sound = match verdict.verdict {
        Answer::Violated => findings > 0,
        Answer::Holds => findings == 0,
        Answer::Inconclusive | Answer::NotChecked => findings == 0 && !verdict.reasons.is_empty(),
    };
    ensure!(is_sound, "the verdict contradicts its findings or lacks a reason");
    Ok(())
}

impl Stream {
    /// The findings of a rule, the latest version of each, oldest first.
    pub(crate) fn findings_of<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = &'a FindingLine> {
        let latest: BTreeMap<_, _> = self.findings.iter().map(|finding| (finding.number, finding)).collect();
        let stands = move |finding: &&FindingLine| finding.rule.name() == rule && finding.withdrawn.is_none();
        latest.into_values().filter(stands)
    }

    /// The verdict of a rule for a device.
    pub(crate) fn verdict(&self, device: &str, rule: &str) -> Result<&VerdictLine> {
        let is_it =
            |verdict: &&VerdictLine| verdict.device.0.to_string() == device && verdict.rule.name() == rule;
        let known = self.verdicts.iter().find(is_it);
        known.with_context(|| format!("there is no verdict of {rule} for {device}"))
    }

    /// Checks that findings are complete, refer to events in the stream, and agree with the verdicts.
    pub(super) fn check_findings(&self) -> Result<()> {
        let ids: BTreeSet<_> = self.events.iter().map(|event| event.id.0).collect();
        for finding in &self.findings {
            let (number, rule, device) = (finding.number, finding.rule.name(), finding.device.0);
            let context = || format!("finding {number}, {rule} of {device}: {finding:?}");
            check_finding(finding).with_context(context)?;
            let records = finding.holders.iter().map(|holder| &holder.record);
            for id in finding.evidence.iter().chain(records).map(|id| id.0) {
                ensure!(ids.contains(&id), "{}: there is no event {id}", context());
            }
            self.verdict(&device.to_string(), rule)?;
        }
        for verdict in &self.verdicts {
            let rule = verdict.rule.name();
            let findings = self.findings_of(rule);
            let findings = findings.filter(|finding| finding.device == verdict.device).count();
            check_verdict(verdict, findings)
                .with_context(|| format!("{rule} of {}: {verdict:?}", verdict.device.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::stream::tests::stream;

    const FINDING: &str = r#"{"type":"finding","time":"","time_ns":9,"number":1,"rule":"stalled-drain","verdict":"violated","severity":"high",
        "device":"0000:03:00.0","pgmap":"0x1","range_start":"0x1000","range_end":"0x1fff","start":"x","start_ns":5,
        "state":"ongoing","occurrences":1,"message":"m","advice":"a","evidence":["0000000000000001:0:0"],"holders":[{"kind":"mmap","pid":7,
        "tgid":7,"comm":"sh","references":1,"bytes":4096,"since_ns":1,"alive":true,"record":"0000000000000001:0:0"}],"holders_omitted":0}"#;
    const VERDICT: &str = r#"{"type":"verdict","time":"","time_ns":9,"rule":"stalled-drain","device":"0000:03:00.0","verdict":"violated",
        "severity":"high","findings":1,"reasons":[]}"#;

    fn found(finding: &str, verdict: &str) -> Result<Stream> {
        let mut lines = stream(&[(5, 0, r#""kind":"kill""#)], "");
        let ended = finding.replacen("\"state\":\"ongoing\"", "\"state\":\"closed\",\"end_ns\":9", 1);
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
        assert_eq!(finding.state, FindingState::Closed);
        assert_eq!(stream.findings_of("double-kill").count(), 0);
        assert_eq!(stream.verdict("0000:03:00.0", "stalled-drain").unwrap().findings, 1);
        assert!(stream.verdict("0000:04:00.0", "stalled-drain").is_err());
    }

    #[test]
    fn rejects_contradictory_findings() {
        let complaint = |finding: &str, verdict: &str| format!("{:#}", found(finding, verdict).unwrap_err());
        for (part, instead, expected) in [
            (
                r#"evidence":["0000000000000001:0:0"#,
                r#"evidence":["0000000000000001:0:8"#,
                "there is no event",
            ),
            (r#"record":"0000000000000001:0:0"#, r#"record":"0000000000000001:0:8"#, "there is no event"),
            (r#""advice":"a""#, r#""advice":"""#, "advice"),
            (r#""alive":true,"#, "", "task is incomplete"),
            (r#""pgmap":"0x1","#, "", "range is incomplete"),
            (r#""severity":"high""#, r#""severity":"dire""#, "`dire` is not known"),
            (r#""verdict":"violated""#, r#""verdict":"holds""#, "does not match the finding's state"),
            (r#""start_ns":5"#, r#""start_ns":10"#, "before it starts"),
        ] {
            let finding = FINDING.replacen(part, instead, 1);
            assert_ne!(finding, FINDING, "{part}");
            assert!(complaint(&finding, VERDICT).contains(expected), "{}", complaint(&finding, VERDICT));
        }
        for (part, instead, expected) in [
            (r#""verdict":"violated""#, r#""verdict":"holds""#, "contradicts its findings"),
            (r#""findings":1"#, r#""findings":2"#, "1 findings were reported"),
            ("stalled-drain", "double-kill", "there is no verdict of stalled-drain"),
        ] {
            let verdict = VERDICT.replacen(part, instead, 1);
            assert!(complaint(FINDING, &verdict).contains(expected), "{}", complaint(FINDING, &verdict));
        }
        let uncertain = VERDICT.replacen("violated", "inconclusive", 1);
        assert!(complaint(FINDING, &uncertain).contains("contradicts its findings"));
    }
}
