//! What findings mean for the run: when they end it, and with which exit code.

use p2p_trace_model::rules::{self, Answer, Finding, Severity, Verdict};

use crate::exit::Exit;

/// What a user wants judged, and what is to follow from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExitPolicy {
    pub(super) rules: rules::Options,
    /// The exit code tells whether there was a finding at least that grave; `None`: it does not tell of findings.
    pub(super) fail_on: Option<Severity>,
    /// The first finding that is grave enough ends the run.
    pub(super) until_finding: bool,
}

impl ExitPolicy {
    /// These findings are what the run was to go on until.
    pub(super) fn is_enough(self, findings: &[Finding]) -> bool {
        let counts =
            |finding: &Finding| finding.withdrawn.is_none() && Some(finding.severity) >= self.threshold();
        self.until_finding && findings.iter().any(counts)
    }

    /// How the program ends when the gravest finding was `worst`, with `verdicts` once there are some. A run that was cut
    /// off before its end leaves open what they would have been.
    pub(super) fn exit(self, worst: Option<Severity>, omitted: u64, verdicts: Option<&[Verdict]>) -> Exit {
        let Some(threshold) = self.threshold() else {
            return Exit::Success;
        };
        if worst.is_some_and(|worst| worst >= threshold) {
            return Exit::Violated;
        }
        let is_open = |verdict: &Verdict| verdict.answer == Answer::Inconclusive;
        match verdicts {
            // How grave those are that are only counted is not known.
            Some(verdicts) if !verdicts.iter().any(is_open) && omitted == 0 => Exit::Success,
            _ => Exit::Inconclusive,
        }
    }

    /// From which severity on a finding is what the user waits for.
    fn threshold(self) -> Option<Severity> {
        let any = self.until_finding.then_some(Severity::Medium);
        self.fail_on.or(any)
    }
}
