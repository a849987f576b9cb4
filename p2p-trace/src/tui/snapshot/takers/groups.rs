//! References that were taken in the same way, as one row: a million become a few.

use std::collections::HashMap;

use p2p_trace_model::{
    event::Symbolize,
    state::{Device, Reference, Taken},
};

use super::{
    super::query::Grouping,
    row::{Row, Who},
};

/// References of a device that one task took in one way at one place.
pub(super) struct Groups {
    pub(super) rows: Vec<Row>,
    pub(super) index: HashMap<GroupKey, u32>,
}

pub(super) type GroupKey = (u32, u32, u8, bool);

pub(super) fn key_of(device: &Device, reference: &Reference) -> GroupKey {
    let (origin, pid) = reference.taker();
    let kind = match reference.taken {
        Taken::Allocation { .. } => 0,
        Taken::ScatterList { .. } => 1,
        Taken::Mmap { .. } => 2,
    };
    (origin, pid, kind, !device.is_sure(reference))
}

impl Groups {
    pub(super) fn of(device: &Device, symbols: &dyn Symbolize, counts: impl Fn(&Reference) -> bool) -> Self {
        let mut groups = Self {
            rows: Vec::new(),
            index: HashMap::new(),
        };
        // Who takes much mostly takes it in a row.
        let mut latest: Option<(GroupKey, u32)> = None;
        for (_, reference) in device.references().filter(|(_, reference)| counts(reference)) {
            let key = key_of(device, reference);
            let number = match latest {
                Some((same, number)) if same == key => number,
                _ => *groups.index.entry(key).or_insert_with(|| {
                    groups.rows.push(empty(device, reference, key.3, symbols));
                    groups.rows.len() as u32 - 1
                }),
            };
            latest = Some((key, number));
            groups.rows[number as usize].add(1, reference.count(), reference.bytes(), reference);
        }
        groups
    }
}

/// A group with nothing in it yet, of what this reference is of.
fn empty(device: &Device, reference: &Reference, unsure: bool, symbols: &dyn Symbolize) -> Row {
    let taken_by = device.taken_by(reference);
    let caller = taken_by.caller.and_then(|address| {
        let name = symbols
            .symbolize(address)
            .unwrap_or_else(|| format!("{address:#x}"));
        (!p2p_trace_model::event::is_return_trampoline(&name)).then_some(name)
    });
    Row {
        device: device.address(),
        who: taken_by.task.map_or(Who::Unknown, |task| {
            Who::Seen(task, taken_by.gone_since_ns.is_some())
        }),
        kind: reference.taken.name(),
        caller: caller.unwrap_or_default(),
        count: 0,
        references: 0,
        bytes: 0,
        oldest_ns: None,
        record: None,
        addr: None,
        cgroup: taken_by.cgroup,
        stack: taken_by.stack.to_vec(),
        unsure,
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
