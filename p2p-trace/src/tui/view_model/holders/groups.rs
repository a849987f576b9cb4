//! Groups references of the same holder into one row, so that a million references become a few rows.

use std::collections::HashMap;

use p2p_trace_model::{
    event::{Symbolize, is_return_trampoline},
    holders::{Group, Groups},
    state::Device,
};

use super::{
    super::query::Grouping,
    row::{Holder, Row},
};
use crate::render::Frame;

/// One row for each group.
pub(super) fn rows(device: &Device, groups: &Groups<'_>, symbols: &dyn Symbolize) -> Vec<Row> {
    let groups = groups.all().iter();
    groups.map(|group| row(device, group, symbols)).collect()
}

fn row(device: &Device, Group { holder, stack }: &Group<'_>, symbols: &dyn Symbolize) -> Row {
    let caller = holder.caller.and_then(|address| {
        let name = Frame::of(address, symbols).to_string();
        (!is_return_trampoline(&name)).then_some(name)
    });
    Row {
        device: device.address(),
        holder: holder
            .task
            .map_or(Holder::Unknown, |task| Holder::Task(task, holder.exited_since_ns.is_some())),
        kind: holder.kind.name(),
        caller: caller.unwrap_or_default(),
        count: holder.count,
        references: holder.references,
        bytes: holder.bytes,
        oldest_ns: Some(holder.since_ns),
        record: Some(holder.record),
        addr: None,
        cgroup: holder.cgroup,
        stack: stack.to_vec(),
        unsure: holder.unsure,
    }
}

/// Merges the rows of the same process, or of the same caller.
pub(super) fn merged<'a, I: Iterator<Item = &'a Row>>(rows: I, grouping: Grouping) -> Vec<Row> {
    type Key = (Option<(u32, String, bool)>, Option<String>, bool);
    let mut merged: Vec<(Row, Vec<Option<u32>>)> = Vec::new();
    let mut index = HashMap::<Key, usize>::new();
    for row in rows {
        let process = match &row.holder {
            Holder::Task(task, exited) => Some((task.tgid, task.name(), *exited)),
            _ => None,
        };
        let number = process.as_ref().map(|process| process.0);
        let is_preexisting = row.holder == Holder::Preexisting;
        let key = match grouping {
            Grouping::Caller => (None, Some(row.caller.clone()), is_preexisting),
            Grouping::Process | Grouping::Flat => (process, None, is_preexisting),
        };
        if let Some(&at) = index.get(&key) {
            let (group, processes) = &mut merged[at];
            group.merge(row);
            if !processes.contains(&number) {
                processes.push(number);
            }
        } else {
            index.insert(key, merged.len());
            merged.push((row.clone(), vec![number]));
        }
    }
    let finish = |(mut row, processes): (Row, Vec<Option<u32>>)| {
        if processes.len() > 1 {
            row.holder = Holder::Several(processes.len());
            row.cgroup = None;
        }
        row
    };
    merged.into_iter().map(finish).collect()
}
