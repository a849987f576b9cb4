//! The lists of the views, filtered and ordered. Both drawing and cursor movement use them.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher as _},
    sync::Arc,
};

use p2p_trace_model::{
    event::{DeviceAddress, Event, Symbolize as _, Task},
    rules::{Finding, Verdict},
};

use super::{
    history::Entry,
    order,
    state::{App, View},
    view_model::{Column, DeviceRow, Fields, Row, Timeline, matches_itself},
};
use crate::render::text::action;

/// The devices that match, or that have a holder that matches.
pub(crate) fn devices(app: &App) -> Vec<&DeviceRow> {
    let filter = &app.query.filter;
    let holders = &app.view_model.holders;
    let matches = |row: &&DeviceRow| {
        if filter.is_empty() {
            return true;
        }
        let label = row.label();
        // The table may still be the answer to an earlier filter.
        let of_device = (holders.query.filter == *filter).then(|| holders.devices.get(&row.address));
        if let Some(of_device) = of_device {
            of_device.is_some_and(|of| of.matches)
        } else {
            let mut rows = holders.rows.iter().filter(|allocated| allocated.device == row.address);
            matches_itself(filter, &label) || rows.any(|allocated| allocated.matches(filter, &label))
        }
    };
    let mut devices: Vec<_> = app.view_model.devices.iter().filter(matches).collect();
    app.order_of(View::Overview).apply(&mut devices, &order::DEVICES);
    devices
}

/// Address and names of a device, as matched by a filter.
fn label(app: &App, device: DeviceAddress) -> String {
    app.view_model.device(device).map_or_else(|| device.to_string(), DeviceRow::label)
}

/// The rows of holders that match, in order.
pub(crate) fn rows(app: &App) -> Vec<&Row> {
    let holders = &app.view_model.holders;
    if holders.query == app.query {
        return holders.rows.iter().collect();
    }
    let filter = &app.query.filter;
    let is_answered = holders.query.filter == *filter;
    let matching =
        |row: &&Row| is_answered || filter.is_empty() || row.matches(filter, &label(app, row.device));
    let mut rows: Vec<_> = holders.rows.iter().filter(matching).collect();
    let (column, reversed) = app.order();
    rows.sort_by(|a, b| {
        let order = a.compare(b, column);
        if reversed { order.reverse() } else { order }
    });
    rows
}

/// A task, as matched by a filter.
fn name(task: &Task) -> String {
    format!("{}[{}]", task.name(), task.tgid)
}

/// The teardowns that match, pending ones first, then the latest.
pub(crate) fn teardowns(app: &App) -> Vec<&Timeline> {
    let matches = |timeline: &&Timeline| {
        let waits_for = timeline.pending.iter().flat_map(|pending| &pending.waits_for);
        let tasks = timeline.lines.iter().filter_map(|line| line.task.as_ref());
        let processes: Vec<_> = timeline
            .task
            .iter()
            .chain(tasks)
            .map(name)
            .chain(waits_for.clone().map(|row| row.holder.name()))
            .collect();
        let callers: Vec<_> = waits_for.map(|row| row.caller.as_str()).collect();
        let kinds: Vec<_> = timeline.lines.iter().map(|line| line.name).collect();
        app.query.filter.matches(&Fields {
            device: &label(app, timeline.device),
            process: &processes.join(" "),
            caller: &callers.join(" "),
            kind: &kinds.join(" "),
        })
    };
    let mut teardowns: Vec<_> = app.view_model.teardowns.iter().collect();
    if !app.query.filter.is_empty() {
        teardowns.retain(matches);
    }
    app.order_of(View::Teardowns).apply(&mut teardowns, &order::TEARDOWNS);
    teardowns
}

/// The findings that match, newest first.
pub(crate) fn findings(app: &App) -> Vec<&Arc<Finding>> {
    let matches = |finding: &&Arc<Finding>| {
        let holders = finding.holders.iter();
        let mut processes: Vec<_> =
            holders.clone().filter_map(|holder| holder.task.as_ref()).map(name).collect();
        // Other tasks are named only in the message.
        processes.push(finding.message.clone());
        let callers: Vec<_> =
            holders.filter_map(|holder| app.view_model.names.symbolize(holder.caller?)).collect();
        app.query.filter.matches(&Fields {
            device: &label(app, finding.device),
            process: &processes.join(" "),
            caller: &callers.join(" "),
            kind: &format!("{} {}", finding.rule.name(), finding.severity.name()),
        })
    };
    let mut findings: Vec<_> = app.view_model.findings.iter().rev().collect();
    if !app.query.filter.is_empty() {
        findings.retain(matches);
    }
    app.order_of(View::Findings).apply(&mut findings, &order::FINDINGS);
    findings
}

/// The events that match, oldest first.
pub(crate) fn events(app: &App) -> impl DoubleEndedIterator<Item = &Entry> {
    app.view_model.log.entries().filter(move |entry| is_shown(app, entry))
}

fn is_shown(app: &App, entry: &Entry) -> bool {
    match (entry, &app.evidence) {
        (Entry::Event(event), Some((_, ids))) => ids.contains(&event.id),
        (Entry::Loss(_), Some(_)) => false,
        // Losses affect everything shown.
        (Entry::Loss(_), None) => true,
        (Entry::Event(event), None) => app.query.filter.is_empty() || matches(app, event),
    }
}

fn matches(app: &App, event: &Event) -> bool {
    let device = event.device.map_or_else(String::new, |device| label(app, device));
    let process = event.task.as_ref().map_or_else(String::new, name);
    let caller = event.caller.and_then(|caller| app.view_model.names.symbolize(caller));
    app.query.filter.matches(&Fields {
        device: &device,
        process: &process,
        caller: caller.as_deref().unwrap_or_default(),
        kind: &format!("{} {}", action(event.kind), event.kind.name()),
    })
}

pub(crate) const fn time_of(entry: &Entry) -> u64 {
    match entry {
        Entry::Event(event) => event.time_ns,
        Entry::Loss(loss) => loss.from_ns,
    }
}

/// The verdicts that match, the worst first.
pub(crate) fn verdicts(app: &App) -> Vec<&Verdict> {
    let matches = |verdict: &&Verdict| {
        app.query.filter.matches(&Fields {
            device: &label(app, verdict.device),
            kind: &format!("{} {}", verdict.rule.name(), verdict.answer.name()),
            ..Fields::default()
        })
    };
    let mut verdicts: Vec<_> = app.view_model.verdicts.iter().collect();
    if !app.query.filter.is_empty() {
        verdicts.retain(matches);
    }
    verdicts.sort_by_key(|verdict| (order::answer_rank(verdict.answer), verdict.rule, verdict.device));
    app.order_of(View::Rules).apply(&mut verdicts, &order::RULES);
    verdicts
}

/// The number of columns that can order a view's list; 0 if none can.
pub(crate) const fn columns(view: View) -> usize {
    match view {
        View::Overview => order::DEVICES.len(),
        View::Allocated => Column::ALL.len(),
        View::Teardowns => order::TEARDOWNS.len(),
        View::Findings => order::FINDINGS.len(),
        View::Rules => order::RULES.len(),
        View::Events | View::Rates => 0,
    }
}

/// The number of lines in a view's list.
pub(crate) fn count(app: &App, view: View) -> usize {
    match view {
        View::Overview => devices(app).len(),
        View::Allocated => rows(app).len(),
        View::Teardowns => teardowns(app).len(),
        View::Findings => findings(app).len(),
        View::Events => events(app).count(),
        View::Rates => 0,
        View::Rules => verdicts(app).len(),
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

/// A key that identifies the item on a line across view models.
pub(crate) fn key(app: &App, view: View, index: usize) -> Option<u64> {
    match view {
        View::Overview => devices(app).get(index).map(|row| hash(row.address)),
        View::Allocated => rows(app).get(index).map(|row| hash(row.key())),
        View::Teardowns => {
            teardowns(app).get(index).map(|timeline| hash((timeline.device, timeline.started_ns)))
        }
        View::Findings => findings(app).get(index).map(|finding| u64::from(finding.number)),
        View::Events => events(app).nth(index).map(entry_key),
        View::Rates => None,
        View::Rules => verdicts(app).get(index).map(|verdict| hash((verdict.rule, verdict.device))),
    }
}

/// The line of the item with this key.
pub(crate) fn find(app: &App, view: View, wanted: u64) -> Option<usize> {
    match view {
        View::Overview => devices(app).iter().position(|row| hash(row.address) == wanted),
        View::Allocated => rows(app).iter().position(|row| hash(row.key()) == wanted),
        View::Teardowns => {
            teardowns(app).iter().position(|timeline| hash((timeline.device, timeline.started_ns)) == wanted)
        }
        View::Findings => findings(app).iter().position(|finding| u64::from(finding.number) == wanted),
        View::Events => events(app).position(|entry| entry_key(entry) == wanted),
        View::Rates => None,
        View::Rules => {
            verdicts(app).iter().position(|verdict| hash((verdict.rule, verdict.device)) == wanted)
        }
    }
}
