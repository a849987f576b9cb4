//! References that were taken in the same way, as one row: a million become a few.

use std::collections::HashMap;

use p2p_trace_model::{
    event::{Symbolize, is_return_trampoline},
    holders::{Group, Groups},
    state::Device,
};

use super::{
    super::query::Grouping,
    row::{Row, Who},
};
use crate::render::Frame;

/// A row for each group.
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
        who: holder.task.map_or(Who::Unknown, |task| Who::Seen(task, holder.exited_since_ns.is_some())),
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

/// Rows of the same process or the same caller as one.
pub(super) fn merged<'a, I: Iterator<Item = &'a Row>>(rows: I, grouping: Grouping) -> Vec<Row> {
    type Key = (Option<(u32, String, bool)>, Option<String>, bool);
    let mut merged: Vec<(Row, Vec<Option<u32>>)> = Vec::new();
    let mut index = HashMap::<Key, usize>::new();
    for row in rows {
        let process = match &row.who {
            Who::Seen(task, gone) => Some((task.tgid, task.name(), *gone)),
            _ => None,
        };
        let number = process.as_ref().map(|process| process.0);
        let is_unseen = row.who == Who::Unseen;
        let key = match grouping {
            Grouping::Caller => (None, Some(row.caller.clone()), is_unseen),
            Grouping::Process | Grouping::Flat => (process, None, is_unseen),
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
    let whole = |(mut row, processes): (Row, Vec<Option<u32>>)| {
        if processes.len() > 1 {
            row.who = Who::Several(processes.len());
            row.cgroup = None;
        }
        row
    };
    merged.into_iter().map(whole).collect()
}
