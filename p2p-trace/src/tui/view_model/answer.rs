//! Is anything wrong now? The line that is always visible.

use std::sync::Arc;

use p2p_trace_model::{
    rules::{Answer, Finding, RuleId, Verdict},
    units::{Clock, duration},
};

use super::{devices::DeviceRow, teardown::waiting};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing was found, and everything that was asked for was seen.
    Fine,
    /// Nothing was found, but an unbind is blocked.
    Blocked,
    /// Nothing was found, but something can have been missed.
    Inconclusive,
    /// Something was found.
    Violated,
}

impl Level {
    /// The word on the screen.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fine => "nothing wrong so far",
            Self::Blocked => "no rule violated yet",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Violated => "VIOLATED",
        }
    }
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Now {
    /// No teardown.
    Calm,
    Teardown,
    /// A teardown that waits for references.
    Blocked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headline {
    /// What the rules come to, taken together.
    pub(crate) level: Level,
    pub(crate) why: String,
    /// What goes on.
    pub(crate) now: Now,
    /// The same in a sentence.
    pub(crate) what: String,
    /// Rules that are checked, as far as their hooks are there.
    pub(crate) checked: usize,
    pub(crate) rules: usize,
}

/// What the answer follows from.
pub(super) struct Judged<'a> {
    pub(super) devices: &'a [DeviceRow],
    pub(super) findings: &'a [Arc<Finding>],
    pub(super) verdicts: &'a [Verdict],
    /// Why no rule can be sure, in sentences.
    pub(super) uncertainties: &'a [String],
    pub(super) clock: &'a Clock,
    pub(super) now_ns: u64,
}

impl Headline {
    /// The same where the dump lacks something at whatever time, so that nothing can be said of the run: why.
    pub(crate) fn uncertain(&mut self, why: &str) {
        if self.level < Level::Inconclusive {
            self.level = Level::Inconclusive;
            self.why = format!("the dump is incomplete: {why} (no rule can be sure of the run)");
        }
    }
}

pub(super) fn headline(judged: &Judged<'_>) -> Headline {
    let &Judged { devices, verdicts, now_ns, .. } = judged;
    let unchecked = |rule: RuleId| {
        let is_not = |verdict: &Verdict| verdict.rule == rule && verdict.answer == Answer::NotChecked;
        verdicts.iter().any(is_not)
    };
    let rules = RuleId::all().count();
    let checked = rules - RuleId::all().filter(|&rule| unchecked(rule)).count();
    let (now, what) = now(devices, judged.clock, now_ns);
    let unsure = unsure(judged);
    let (level, why) = if let Some(violated) = violated(judged) {
        let unsure = unsure.map_or_else(String::new, |(_, of)| format!("; {of}"));
        (Level::Violated, format!("{violated}{unsure}"))
    } else if let Some((reason, of)) = unsure {
        (Level::Inconclusive, format!("{reason} ({of})"))
    } else if now == Now::Blocked {
        let why = format!("an unbind is blocked: see below; {checked} of {rules} rules are checked");
        (Level::Blocked, why)
    } else if devices.is_empty() {
        (Level::Fine, "no p2p memory seen yet".to_owned())
    } else if verdicts.is_empty() {
        (Level::Fine, "nothing judged yet".to_owned())
    } else {
        (Level::Fine, format!("{checked} of {rules} rules are checked"))
    };
    Headline { level, why, now, what, checked, rules }
}

/// Why not everything that was asked for can be told, and which rules that is about.
fn unsure(judged: &Judged<'_>) -> Option<(String, String)> {
    let unsure = judged.verdicts.iter().filter(|verdict| verdict.answer == Answer::Inconclusive);
    let mut rules: Vec<_> = unsure.clone().map(|verdict| verdict.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let first = unsure.clone().find_map(|verdict| verdict.reasons.first());
    let of = match rules.as_slice() {
        // Before any device was seen there are no verdicts.
        [] if judged.uncertainties.is_empty() => return None,
        [] => "no rule can be sure".to_owned(),
        [only] => format!("{} cannot be sure", only.name()),
        rules => format!("{} rules cannot be sure", rules.len()),
    };
    // What bears on all rules says most.
    let reason = judged.uncertainties.first().or(first);
    Some((reason.map_or("no reason known", String::as_str).to_owned(), of))
}

/// Those that were not withdrawn.
fn standing(findings: &[Arc<Finding>]) -> impl Iterator<Item = &Finding> {
    findings.iter().map(Arc::as_ref).filter(|finding| finding.withdrawn.is_none())
}

/// What goes on comes before what is over, then the gravest, then the latest.
fn worst(findings: &[Arc<Finding>]) -> Option<&Finding> {
    let rank = |finding: &&Finding| (finding.severity, !finding.is_closed(), finding.number);
    standing(findings).max_by_key(rank)
}

fn violated(judged: &Judged<'_>) -> Option<String> {
    let Some(worst) = worst(judged.findings) else {
        // What the rules found before the recording begins is known by their answers only.
        let before = |verdict: &&Verdict| verdict.answer == Answer::Violated;
        let mut verdicts: Vec<_> = judged.verdicts.iter().filter(before).collect();
        verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.rule.spec().severity));
        let (first, spec) = verdicts.first().map(|first| (first, first.rule.spec()))?;
        let more = more(verdicts.len());
        let (name, severity, device) = (spec.name, spec.severity.name(), first.device);
        return Some(format!("{name} ({severity}) of {device}, before what is recorded{more}"));
    };
    Some(found(worst, standing(judged.findings).count(), judged.now_ns))
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
        None => format!("goes on for {lasted}"),
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
        // What matters comes first: lines are short.
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
