//! The headline, which is always visible: the overall answer, and the current activity.

use std::sync::Arc;

use p2p_trace_model::{
    rules::{Answer, Finding, RuleId, Verdict},
    units::{Clock, duration},
};

use super::{devices::DeviceRow, teardown::waiting};

/// The overall answer, by severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// There are no findings, and everything requested was observed.
    Fine,
    /// There are no findings, but an unbind is blocked.
    Blocked,
    /// There are no findings, but something may have been missed.
    Inconclusive,
    /// There are findings.
    Violated,
}

impl Level {
    /// The displayed text.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fine => "nothing wrong so far",
            Self::Blocked => "no rule violated yet",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Violated => "VIOLATED",
        }
    }
}

/// The current activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Now {
    /// No teardown is under way.
    Calm,
    /// A teardown is under way.
    Teardown,
    /// A teardown that waits for references.
    Blocked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headline {
    /// The overall answer of all rules.
    pub(crate) level: Level,
    pub(crate) reason: String,
    /// The current activity.
    pub(crate) now: Now,
    /// The current activity as a sentence.
    pub(crate) activity: String,
    /// The number of rules that are checked, as far as their hooks are attached.
    pub(crate) checked: usize,
    pub(crate) rules: usize,
}

/// The data that the headline is derived from.
pub(super) struct Inputs<'a> {
    pub(super) devices: &'a [DeviceRow],
    pub(super) findings: &'a [Arc<Finding>],
    pub(super) verdicts: &'a [Verdict],
    /// Reasons that make every rule inconclusive, in sentences.
    pub(super) uncertainties: &'a [String],
    pub(super) clock: &'a Clock,
    pub(super) now_ns: u64,
}

impl Headline {
    /// Makes the headline inconclusive, because the dump is incomplete at some point of the run.
    pub(crate) fn uncertain(&mut self, reason: &str) {
        if self.level < Level::Inconclusive {
            self.level = Level::Inconclusive;
            self.reason = format!("the dump is incomplete: {reason} (every rule is inconclusive)");
        }
    }
}

pub(super) fn headline(inputs: &Inputs<'_>) -> Headline {
    let &Inputs { devices, verdicts, now_ns, .. } = inputs;
    let is_unchecked = |rule: RuleId| {
        let is_not = |verdict: &Verdict| verdict.rule == rule && verdict.answer == Answer::NotChecked;
        verdicts.iter().any(is_not)
    };
    let rules = RuleId::all().count();
    let checked = rules - RuleId::all().filter(|&rule| is_unchecked(rule)).count();
    let (now, activity) = now(devices, inputs.clock, now_ns);
    let inconclusive = inconclusive(inputs);
    let (level, reason) = if let Some(violated) = violated(inputs) {
        let inconclusive = inconclusive.map_or_else(String::new, |(_, of)| format!("; {of}"));
        (Level::Violated, format!("{violated}{inconclusive}"))
    } else if let Some((reason, of)) = inconclusive {
        (Level::Inconclusive, format!("{reason} ({of})"))
    } else if now == Now::Blocked {
        let reason = format!("an unbind is blocked (see below); {checked} of {rules} rules are checked");
        (Level::Blocked, reason)
    } else if devices.is_empty() {
        (Level::Fine, "no p2p memory seen yet".to_owned())
    } else if verdicts.is_empty() {
        (Level::Fine, "no rule evaluated yet".to_owned())
    } else {
        (Level::Fine, format!("{checked} of {rules} rules are checked"))
    };
    Headline { level, reason, now, activity, checked, rules }
}

/// Why rules are inconclusive, and which ones.
fn inconclusive(inputs: &Inputs<'_>) -> Option<(String, String)> {
    let inconclusive = inputs.verdicts.iter().filter(|verdict| verdict.answer == Answer::Inconclusive);
    let mut rules: Vec<_> = inconclusive.clone().map(|verdict| verdict.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let first = inconclusive.clone().find_map(|verdict| verdict.reasons.first());
    let of = match rules.as_slice() {
        // There are no verdicts before the first device is seen.
        [] if inputs.uncertainties.is_empty() => return None,
        [] => "every rule is inconclusive".to_owned(),
        [only] => format!("{} is inconclusive", only.name()),
        rules => format!("{} rules are inconclusive", rules.len()),
    };
    // A reason that affects all rules is the most informative.
    let reason = inputs.uncertainties.first().or(first);
    Some((reason.map_or("no reason known", String::as_str).to_owned(), of))
}

/// The findings that were not withdrawn.
fn standing(findings: &[Arc<Finding>]) -> impl Iterator<Item = &Finding> {
    findings.iter().map(Arc::as_ref).filter(|finding| finding.withdrawn.is_none())
}

/// The finding to show: the most severe one; among those, an ongoing one, then the latest.
fn worst(findings: &[Arc<Finding>]) -> Option<&Finding> {
    let rank = |finding: &&Finding| (finding.severity, !finding.is_closed(), finding.number);
    standing(findings).max_by_key(rank)
}

fn violated(inputs: &Inputs<'_>) -> Option<String> {
    let Some(worst) = worst(inputs.findings) else {
        // Findings from before the recording are only known by the rules' answers.
        let before = |verdict: &&Verdict| verdict.answer == Answer::Violated;
        let mut verdicts: Vec<_> = inputs.verdicts.iter().filter(before).collect();
        verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.rule.spec().severity));
        let (first, spec) = verdicts.first().map(|first| (first, first.rule.spec()))?;
        let more = more(verdicts.len());
        let (name, severity, device) = (spec.name, spec.severity.name(), first.device);
        return Some(format!("{name} ({severity}) of {device}, before the recording{more}"));
    };
    Some(found(worst, standing(inputs.findings).count(), inputs.now_ns))
}

fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        2 => "; 1 more finding".to_owned(),
        _ => format!("; {} more findings", count - 1),
    }
}

fn found(worst: &Finding, count: usize, now_ns: u64) -> String {
    let lasted = duration(worst.end_ns.unwrap_or(now_ns).saturating_sub(worst.start_ns));
    let state = match worst.end_ns {
        None => format!("ongoing, {lasted}"),
        Some(end_ns) => {
            let over = if end_ns > worst.start_ns { "ended " } else { "" };
            format!("{over}{} ago", duration(now_ns.saturating_sub(end_ns)))
        }
    };
    let more = more(count);
    let (rule, severity, device) = (worst.rule.name(), worst.severity.name(), worst.device);
    format!("{rule} ({severity}) of {device}, {state}{more}")
}

fn now(devices: &[DeviceRow], clock: &Clock, now_ns: u64) -> (Now, String) {
    let mut pending: Vec<_> = devices.iter().filter_map(|row| Some((row, row.pending.as_ref()?))).collect();
    pending.sort_by_key(|(row, pending)| (!pending.blocked, pending.since_ns, row.address));
    let Some(&(row, first)) = pending.first() else {
        return (Now::Calm, "no teardown under way".to_owned());
    };
    let by = first.task.map_or_else(String::new, |task| format!(" by {}[{}]", task.name(), task.tgid));
    let age = |since_ns: Option<u64>| since_ns.map(|since| duration(now_ns.saturating_sub(since)));
    let least = if first.at_least { "at least " } else { "" };
    let others = match pending.len() - 1 {
        0 => String::new(),
        1 => "; 1 more device".to_owned(),
        more => format!("; {more} more devices"),
    };
    let device = row.address;
    let text = if first.blocked {
        let waited = age(first.step_since_ns.or(first.since_ns))
            .map_or_else(String::new, |waited| format!(" {least}{waited}"));
        // The most important part comes first, since lines are short.
        let since = first
            .step_since_ns
            .map(|since| format!(", since {}", clock.time_of_day(since).get(..12).unwrap_or_default()));
        let unbind = first.task.map(|_| format!(", unbind{by}"));
        format!(
            "{device}: unbind waits{waited} {}{}{}{others}",
            waiting(first),
            since.unwrap_or_default(),
            unbind.unwrap_or_default()
        )
    } else {
        let lasts = age(first.since_ns).map_or_else(String::new, |lasts| format!(" for {least}{lasts}"));
        format!("{device}: unbind{by} under way{lasts}: {}{others}", first.step)
    };
    (if first.blocked { Now::Blocked } else { Now::Teardown }, text)
}
