//! How findings affect a run: when they end it, and with which exit code.

use p2p_trace_model::rules::{self, Answer, Finding, Severity, Verdict};

use crate::exit::Exit;

/// When findings end a run, and how they set the exit code.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExitPolicy {
    pub(super) rules: rules::Options,
    /// A finding of at least this severity sets the exit code; `None`: findings do not affect it.
    pub(super) fail_on: Option<Severity>,
    /// The first finding that counts ends the run.
    pub(super) until_finding: bool,
}

impl ExitPolicy {
    /// Whether these findings end the run.
    pub(super) fn is_enough(self, findings: &[Finding]) -> bool {
        let counts =
            |finding: &Finding| finding.withdrawn.is_none() && Some(finding.severity) >= self.threshold();
        self.until_finding && findings.iter().any(counts)
    }

    /// The exit code of a run whose most severe finding is `worst`. `verdicts` is `None` for a run that was cut off: the rules are
    /// inconclusive then.
    pub(super) fn exit(self, worst: Option<Severity>, omitted: u64, verdicts: Option<&[Verdict]>) -> Exit {
        let Some(threshold) = self.threshold() else {
            return Exit::Success;
        };
        if worst.is_some_and(|worst| worst >= threshold) {
            return Exit::Violated;
        }
        let is_open = |verdict: &Verdict| verdict.answer == Answer::Inconclusive;
        match verdicts {
            // The severity of omitted findings is unknown.
            Some(verdicts) if !verdicts.iter().any(is_open) && omitted == 0 => Exit::Success,
            _ => Exit::Inconclusive,
        }
    }

    /// The lowest severity that counts.
    fn threshold(self) -> Option<Severity> {
        let any = self.until_finding.then_some(Severity::Medium);
        self.fail_on.or(any)
    }
}
