//! Is anything wrong now? The line that is always visible.

use std::sync::Arc;

use super::{devices::DeviceRow, teardown::waiting};
use crate::{
    output::{Clock, text::duration},
    rules::{Answer, Finding, Rule, Verdict},
};

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
    /// A teardown.
    Teardown,
    /// A teardown that waits for references.
    Blocked,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headline {
    /// What the rules come to, taken together.
    pub(crate) level: Level,
    /// Why.
    pub(crate) why: String,
    /// What goes on.
    pub(crate) now: Now,
    /// The same in a sentence.
    pub(crate) what: String,
    /// Rules that are checked, as far as their hooks are there.
    pub(crate) checked: usize,
    /// All rules.
    pub(crate) rules: usize,
}

pub(super) fn headline(
    devices: &[DeviceRow],
    findings: &[Arc<Finding>],
    verdicts: &[Verdict],
    clock: &Clock,
    now_ns: u64,
) -> Headline {
    let unsure: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.answer == Answer::Inconclusive)
        .collect();
    let unchecked = |rule: Rule| {
        let is_not = |verdict: &Verdict| verdict.rule == rule && verdict.answer == Answer::NotChecked;
        verdicts.iter().any(is_not)
    };
    let rules = Rule::all().count();
    let checked = rules - Rule::all().filter(|&rule| unchecked(rule)).count();
    let (now, what) = now(devices, clock, now_ns);
    let (level, why) = if let Some(worst) = worst(findings) {
        (Level::Violated, violated(worst, findings.len(), now_ns))
    } else if let Some(first) = unsure.first() {
        let reason = first.reasons.first().map_or("no reason known", String::as_str);
        let mut rules: Vec<_> = unsure.iter().map(|verdict| verdict.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let of = match rules.as_slice() {
            [only] => only.name().to_owned(),
            rules => format!("{} rules cannot be sure", rules.len()),
        };
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
    Headline {
        level,
        why,
        now,
        what,
        checked,
        rules,
    }
}

/// What goes on comes before what is over, then the gravest, then the latest.
fn worst(findings: &[Arc<Finding>]) -> Option<&Finding> {
    let rank = |finding: &&Arc<Finding>| (finding.severity, !finding.is_closed(), finding.number);
    findings.iter().max_by_key(rank).map(Arc::as_ref)
}

fn violated(worst: &Finding, count: usize, now_ns: u64) -> String {
    let lasted = duration(worst.end_ns.unwrap_or(now_ns).saturating_sub(worst.start_ns));
    let state = match worst.end_ns {
        None => format!("goes on for {lasted}"),
        Some(end_ns) => {
            let over = if end_ns > worst.start_ns { "ended " } else { "" };
            format!("{over}{} ago", duration(now_ns.saturating_sub(end_ns)))
        }
    };
    let more = match count {
        0 | 1 => String::new(),
        2 => "; 1 more finding".to_owned(),
        _ => format!("; {} more findings", count - 1),
    };
    let (rule, severity, device) = (worst.rule.name(), worst.severity.name(), worst.device);
    format!("{rule} ({severity}) of {device}, {state}{more}")
}

fn now(devices: &[DeviceRow], clock: &Clock, now_ns: u64) -> (Now, String) {
    let mut pending: Vec<_> = devices
        .iter()
        .filter_map(|row| Some((row, row.pending.as_ref()?)))
        .collect();
    pending.sort_by_key(|(row, pending)| (!pending.blocked, pending.since_ns, row.address));
    let Some(&(row, first)) = pending.first() else {
        return (Now::Calm, "no teardown under way".to_owned());
    };
    let by = first
        .task
        .map_or_else(String::new, |task| format!(" by {}[{}]", task.name(), task.tgid));
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
        let since = first.step_since_ns.map(|since| {
            format!(
                ", since {}",
                clock.time_of_day(since).get(..12).unwrap_or_default()
            )
        });
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
    (
        if first.blocked {
            Now::Blocked
        } else {
            Now::Teardown
        },
        text,
    )
}
