//! What the rules find in the stream, when that ends the run, and with which exit code.

use crate::{
    account::Status,
    event::assemble::Element,
    exit::Exit,
    model::Model,
    rules::{self, Answer, Finding, Rules, Severity, Verdict},
};

/// What a user wants judged, and what is to follow from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judging {
    pub(super) rules: rules::Options,
    /// The exit code tells whether there was a finding at least that grave; `None`: it does not tell of findings.
    pub(super) fail_on: Option<Severity>,
    /// The first finding that is grave enough ends the run.
    pub(super) until_finding: bool,
}

impl Judging {
    /// From which severity on a finding is what the user waits for.
    fn threshold(&self) -> Option<Severity> {
        let any = self.until_finding.then_some(Severity::Medium);
        self.fail_on.or(any)
    }
}

/// The rules at work.
pub(super) struct Judge {
    rules: Rules,
    judging: Judging,
    /// The verdicts, once the run has come to its end.
    verdicts: Option<Vec<Verdict>>,
}

impl Judge {
    pub(super) fn new(judging: Judging, status: &Status) -> Self {
        Self {
            rules: Rules::new(judging.rules, &status.hooks),
            judging,
            verdicts: None,
        }
    }

    /// What is attached has changed.
    pub(super) fn update(&mut self, status: &Status) {
        self.rules.set_hooks(&status.hooks);
    }

    /// Judges the element that the model has just taken in; gives the findings that are new or have changed.
    pub(super) fn apply(&mut self, model: &Model, element: &Element) -> Vec<Finding> {
        self.rules.apply(model, element)
    }

    /// These findings are what the run was to go on until.
    pub(super) fn is_enough(&self, findings: &[Finding]) -> bool {
        self.judging.until_finding && findings.iter().any(|finding| self.counts(finding))
    }

    /// The run is over: gives what has happened again since it was told. Then the verdicts are there.
    pub(super) fn end(&mut self, model: &Model) -> Vec<Finding> {
        let rest = self.rules.rest(model);
        self.verdicts = Some(self.rules.verdicts(model));
        rest
    }

    /// What every rule came to for every device; none before the end.
    pub(super) fn verdicts(&self) -> &[Verdict] {
        self.verdicts.as_deref().unwrap_or_default()
    }

    /// Findings that are only counted.
    pub(super) const fn left_out(&self) -> u64 {
        self.rules.omitted()
    }

    /// How the program ends. A run that was cut off before its end leaves open what its verdicts would have been.
    pub(super) fn exit(&self) -> Exit {
        if self.judging.threshold().is_none() {
            return Exit::Holds;
        }
        if self.rules.findings().iter().any(|finding| self.counts(finding)) {
            return Exit::Violated;
        }
        let is_open = |verdict: &Verdict| verdict.answer == Answer::Inconclusive;
        match &self.verdicts {
            // How grave those are that are only counted is not known.
            Some(verdicts) if !verdicts.iter().any(is_open) && self.left_out() == 0 => Exit::Holds,
            _ => Exit::Inconclusive,
        }
    }

    fn counts(&self, finding: &Finding) -> bool {
        self.judging
            .threshold()
            .is_some_and(|threshold| finding.severity >= threshold)
    }
}
