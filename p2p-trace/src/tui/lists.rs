//! What the lists hold, after filter and order: for drawing and for the cursor alike.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher as _},
    sync::Arc,
};

use super::{
    keeper::Entry,
    snapshot::{DeviceRow, Fields, Row},
    state::{App, View},
};
use crate::{
    event::{DeviceAddress, Event},
    output::{Symbolize as _, text::action},
    rules::{Answer, Finding, Verdict},
};

/// The devices that match.
pub(crate) fn devices(app: &App) -> Vec<&DeviceRow> {
    // A filter by process or caller is none of devices.
    app.snapshot.devices.iter().collect()
}

/// The references that match, in order.
pub(crate) fn rows(app: &App) -> Vec<&Row> {
    let snapshot = &app.snapshot;
    let label = |address: DeviceAddress| {
        snapshot
            .device(address)
            .map_or_else(|| address.to_string(), DeviceRow::label)
    };
    let matching =
        |row: &&Row| app.query.filter.is_empty() || row.matches(&app.query.filter, &label(row.device));
    let mut rows: Vec<_> = snapshot.takers.rows.iter().filter(matching).collect();
    let (column, reversed) = app.order();
    rows.sort_by(|a, b| {
        let order = a.compare(b, column);
        if reversed { order.reverse() } else { order }
    });
    rows
}

/// The findings that match, newest first.
pub(crate) fn findings(app: &App) -> Vec<&Arc<Finding>> {
    let matches = |finding: &&Arc<Finding>| {
        let device = finding.device.to_string();
        app.query.filter.matches(&Fields {
            device: &device,
            process: &finding.message,
            caller: "",
            kind: finding.rule.name(),
        })
    };
    app.snapshot.findings.iter().rev().filter(matches).collect()
}

/// The events that match, oldest first.
pub(crate) fn events(app: &App) -> impl Iterator<Item = &Entry> {
    app.snapshot
        .log
        .entries()
        .filter(move |entry| is_shown(app, entry))
}

fn is_shown(app: &App, entry: &Entry) -> bool {
    match (entry, &app.evidence) {
        (Entry::Event(event), Some((_, ids))) => ids.contains(&event.id),
        (Entry::Loss(_), Some(_)) => false,
        // Losses bear on all that is shown.
        (Entry::Loss(_), None) => true,
        (Entry::Event(event), None) => app.query.filter.is_empty() || matches(app, event),
    }
}

fn matches(app: &App, event: &Event) -> bool {
    let device = event.device.map_or_else(String::new, |device| {
        app.snapshot
            .device(device)
            .map_or_else(|| device.to_string(), DeviceRow::label)
    });
    let process = event
        .task
        .map_or_else(String::new, |task| format!("{}[{}]", task.name(), task.tgid));
    let caller = event
        .caller
        .and_then(|caller| app.snapshot.names.symbolize(caller));
    app.query.filter.matches(&Fields {
        device: &device,
        process: &process,
        caller: caller.as_deref().unwrap_or_default(),
        kind: &format!("{} {}", action(event.kind), event.kind.name()),
    })
}

/// When it was.
pub(crate) const fn time_of(entry: &Entry) -> u64 {
    match entry {
        Entry::Event(event) => event.time_ns,
        Entry::Loss(loss) => loss.from_ns,
    }
}

/// What the rules come to, the worst first.
pub(crate) fn verdicts(app: &App) -> Vec<&Verdict> {
    let rank = |answer: Answer| match answer {
        Answer::Violated => 0,
        Answer::Inconclusive => 1,
        Answer::NotChecked => 3,
        Answer::Holds => 2,
    };
    let mut verdicts: Vec<_> = app.snapshot.verdicts.iter().collect();
    verdicts.sort_by_key(|verdict| (rank(verdict.answer), verdict.rule, verdict.device));
    verdicts
}

/// Lines of a view's list.
pub(crate) fn count(app: &App, view: View) -> usize {
    match view {
        View::Overview => devices(app).len(),
        View::Taken => rows(app).len(),
        View::Teardowns => app.snapshot.teardowns.len(),
        View::Findings => findings(app).len(),
        View::Events => events(app).count(),
        View::Rates => 0,
        View::Rules => app.snapshot.verdicts.len(),
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn entry_key(entry: &Entry) -> u64 {
    match entry {
        Entry::Event(event) => hash(event.id),
        Entry::Loss(loss) => hash((loss.cpu, loss.first, loss.from_ns)),
    }
}

/// What tells the thing on a line from all others, from one snapshot to the next.
pub(crate) fn key(app: &App, view: View, index: usize) -> Option<u64> {
    match view {
        View::Overview => devices(app).get(index).map(|row| hash(row.address)),
        View::Taken => rows(app).get(index).map(|row| hash(row.key())),
        View::Teardowns => app
            .snapshot
            .teardowns
            .get(index)
            .map(|timeline| hash((timeline.device, timeline.started_ns))),
        View::Findings => findings(app).get(index).map(|finding| u64::from(finding.number)),
        View::Events => events(app).nth(index).map(entry_key),
        View::Rates => None,
        View::Rules => verdicts(app)
            .get(index)
            .map(|verdict| hash((verdict.rule, verdict.device))),
    }
}

/// The line that it is on now.
pub(crate) fn find(app: &App, view: View, wanted: u64) -> Option<usize> {
    match view {
        View::Overview => devices(app).iter().position(|row| hash(row.address) == wanted),
        View::Taken => rows(app).iter().position(|row| hash(row.key()) == wanted),
        View::Teardowns => app
            .snapshot
            .teardowns
            .iter()
            .position(|timeline| hash((timeline.device, timeline.started_ns)) == wanted),
        View::Findings => findings(app)
            .iter()
            .position(|finding| u64::from(finding.number) == wanted),
        View::Events => events(app).position(|entry| entry_key(entry) == wanted),
        View::Rates => None,
        View::Rules => verdicts(app)
            .iter()
            .position(|verdict| hash((verdict.rule, verdict.device)) == wanted),
    }
}
