//! What is out and who took it: a million references become a few groups, or the first of them in the order asked for.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, HashMap},
};

use super::query::{Column, Fields, Filter, Grouping, Query};
use crate::{
    event::{DeviceAddress, Id, Task},
    model::{Device, Model, Range, Reference, Taken},
    output::Symbolize,
};

/// Rows that are kept.
pub(crate) const MAX_ROWS: usize = 512;
/// Processes of one device that the rest of the screen can name.
const MAX_BLOCKING: usize = 4;

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Takers {
    /// In the order asked for.
    pub(crate) rows: Vec<Row>,
    /// Rows that match and are left out.
    pub(crate) left_out: u64,
    /// All that match: references, bytes.
    pub(crate) total: (u64, u64),
    /// Of each device, whatever was asked for.
    pub(crate) devices: BTreeMap<DeviceAddress, OfDevice>,
    /// When it was so, `CLOCK_BOOTTIME`.
    pub(crate) as_of_ns: u64,
}

/// What is out of one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfDevice {
    /// When the oldest was taken.
    pub(crate) oldest_ns: Option<u64>,
    /// What keeps its killed ranges from draining, by process, the largest first.
    pub(crate) blocking: Vec<Row>,
    /// Processes of those that are left out.
    pub(crate) blocking_left_out: usize,
}

/// Who took it. Who uses or pins it now is not observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A task, and whether its process was found to have exited.
    Seen(Task, bool),
    /// More than one process.
    Several(usize),
    /// The task was not told.
    Unknown,
    /// It was taken before the tracing began, or while records were lost.
    Unseen,
}

impl Who {
    /// `p2pdio[726]`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Seen(task, _) => format!("{}[{}]", task.name(), task.tgid),
            Self::Several(count) => format!("{count} processes"),
            Self::Unknown => "an unknown task".to_owned(),
            Self::Unseen => "not seen".to_owned(),
        }
    }

    /// Whether the process is still there, as far as that is known.
    pub(crate) const fn liveness(&self) -> &'static str {
        match self {
            Self::Seen(_, false) => "alive",
            Self::Seen(_, true) => "gone",
            Self::Several(_) | Self::Unknown | Self::Unseen => "-",
        }
    }
}

/// One line: a group of references, or one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Whose memory.
    pub(crate) device: DeviceAddress,
    /// Who took it.
    pub(crate) who: Who,
    /// Allocation, scatter list, mmap, or several kinds.
    pub(crate) kind: &'static str,
    /// The function that took it.
    pub(crate) caller: String,
    /// Allocations, lists, mmaps.
    pub(crate) count: u64,
    /// References to the range.
    pub(crate) references: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// When the oldest was taken; `None`: before it could be seen.
    pub(crate) oldest_ns: Option<u64>,
    /// The record of that.
    pub(crate) record: Option<Id>,
    /// Direct-map address, of one.
    pub(crate) addr: Option<u64>,
    /// Cgroup of the task.
    pub(crate) cgroup: Option<u64>,
    /// Return addresses, innermost first.
    pub(crate) stack: Vec<u64>,
    /// Records were lost since: it may have changed hands.
    pub(crate) unsure: bool,
}

impl Row {
    /// What tells it from other rows, from one snapshot to the next.
    pub(crate) fn key(&self) -> (DeviceAddress, String, Option<u64>, Option<Id>) {
        let record = self.record.filter(|_| self.count == 1);
        (self.device, self.who.name(), self.addr, record)
    }

    /// It matches, for a device of this name.
    pub(crate) fn matches(&self, filter: &Filter, device: &str) -> bool {
        filter.is_empty()
            || filter.matches(&Fields {
                device,
                process: &self.who.name(),
                caller: &self.caller,
                kind: self.kind,
            })
    }

    /// Which of two comes first.
    pub(crate) fn compare(&self, other: &Self, column: Column) -> Ordering {
        let order = match column {
            Column::Bytes => other.bytes.cmp(&self.bytes),
            Column::References => other.references.cmp(&self.references),
            // What was there before is the oldest.
            Column::Age => self.oldest_ns.cmp(&other.oldest_ns),
            Column::Process => self.who.name().cmp(&other.who.name()),
            Column::Kind => self.kind.cmp(other.kind),
            Column::Device => self.device.cmp(&other.device),
            Column::Caller => self.caller.cmp(&other.caller),
            Column::Address => self.addr.cmp(&other.addr),
        };
        let rest = || (self.device, Reverse(self.bytes), self.oldest_ns, self.record);
        order.then_with(|| rest().cmp(&(other.device, Reverse(other.bytes), other.oldest_ns, other.record)))
    }
}

/// Answers a query. `name` gives what a device is called for a filter.
pub(crate) fn takers(
    model: &Model,
    query: &Query,
    symbols: &dyn Symbolize,
    name: impl Fn(DeviceAddress) -> String,
    now_ns: u64,
) -> Takers {
    let mut answer = Takers {
        as_of_ns: now_ns,
        ..Takers::default()
    };
    let mut rows = Vec::new();
    for device in model.devices() {
        let label = name(device.address());
        let groups = Groups::of(device, symbols, |_| true);
        let unseen = unseen(device);
        let of_device = of_device(device, &groups, unseen.as_ref(), symbols);
        answer.devices.insert(device.address(), of_device);
        let matching = |row: &Row| row.matches(&query.filter, &label);
        let all = groups.rows.iter().chain(&unseen).filter(|row| matching(row));
        for row in all.clone() {
            answer.total.0 = answer.total.0.saturating_add(row.references);
            answer.total.1 = answer.total.1.saturating_add(row.bytes);
        }
        match query.grouping {
            Grouping::Flat => {
                let singles = Singles {
                    device,
                    groups: &groups,
                    query,
                };
                let (kept, left_out) = singles.first(matching);
                rows.extend(kept);
                rows.extend(unseen.into_iter().filter(matching));
                answer.left_out += left_out;
            }
            grouping => rows.extend(merged(all, grouping)),
        }
    }
    rows.sort_by(|a, b| ordered(a.compare(b, query.column), query));
    answer.left_out += rows.len().saturating_sub(MAX_ROWS) as u64;
    rows.truncate(MAX_ROWS);
    answer.rows = rows;
    answer
}

const fn ordered(order: Ordering, query: &Query) -> Ordering {
    if query.reversed { order.reverse() } else { order }
}

fn of_device(device: &Device, all: &Groups, unseen: Option<&Row>, symbols: &dyn Symbolize) -> OfDevice {
    let oldest_ns = all.rows.iter().filter_map(|row| row.oldest_ns).min();
    if !device.ranges().any(Range::is_draining) {
        return OfDevice {
            oldest_ns,
            ..OfDevice::default()
        };
    }
    let is_in_the_way = |reference: &Reference| {
        // Of one that is not known to be of another range it cannot be told.
        reference.count() > 0 && device.range_of(reference).is_none_or(Range::is_draining)
    };
    let groups = Groups::of(device, symbols, is_in_the_way);
    let mut blocking = merged(groups.rows.iter().chain(unseen), Grouping::Process);
    blocking.sort_by(|a, b| a.compare(b, Column::Bytes));
    let blocking_left_out = blocking.len().saturating_sub(MAX_BLOCKING);
    blocking.truncate(MAX_BLOCKING);
    OfDevice {
        oldest_ns,
        blocking,
        blocking_left_out,
    }
}

/// Memory of unknown takers, as one row.
fn unseen(device: &Device) -> Option<Row> {
    let bytes = device.preexisting_bytes();
    let count = device.preexisting().count() as u64;
    (bytes > 0).then(|| Row {
        device: device.address(),
        who: Who::Unseen,
        kind: "before",
        caller: String::new(),
        count,
        references: count,
        bytes,
        oldest_ns: None,
        record: None,
        addr: None,
        cgroup: None,
        stack: Vec::new(),
        unsure: false,
    })
}

/// References of a device that one task took in one way at one place.
struct Groups {
    rows: Vec<Row>,
    index: HashMap<GroupKey, u32>,
}

type GroupKey = (u32, u32, u8, bool);

fn key_of(device: &Device, reference: &Reference) -> GroupKey {
    let (origin, pid) = reference.taker();
    let kind = match reference.taken {
        Taken::Allocation { .. } => 0,
        Taken::ScatterList { .. } => 1,
        Taken::Mmap { .. } => 2,
    };
    (origin, pid, kind, !device.is_sure(reference))
}

impl Groups {
    fn of(device: &Device, symbols: &dyn Symbolize, counts: impl Fn(&Reference) -> bool) -> Self {
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
        (!crate::output::is_return_trampoline(&name)).then_some(name)
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

impl Row {
    fn add(&mut self, count: u64, references: u64, bytes: u64, reference: &Reference) {
        self.count += count;
        self.references = self.references.saturating_add(references);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.oldest_ns.is_none_or(|oldest| reference.at.time_ns < oldest) {
            self.oldest_ns = Some(reference.at.time_ns);
            self.record = Some(reference.at.id);
        }
    }

    /// Another group becomes part of this one.
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.references = self.references.saturating_add(other.references);
        self.bytes = self.bytes.saturating_add(other.bytes);
        if other
            .oldest_ns
            .is_some_and(|other| self.oldest_ns.is_none_or(|own| other < own))
        {
            (self.oldest_ns, self.record) = (other.oldest_ns, other.record);
        }
        if self.kind != other.kind {
            self.kind = "several";
        }
        if self.caller != other.caller {
            "several callers".clone_into(&mut self.caller);
        }
        if self.stack != other.stack {
            self.stack.clear();
        }
        self.unsure |= other.unsure;
    }
}

/// Rows of the same process or the same caller as one.
fn merged<'a, I: Iterator<Item = &'a Row>>(rows: I, grouping: Grouping) -> Vec<Row> {
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

/// The references of a device one by one, of which the first are wanted.
struct Singles<'a> {
    device: &'a Device,
    groups: &'a Groups,
    query: &'a Query,
}

impl Singles<'_> {
    /// The first [`MAX_ROWS`] of those that match, and how many more do.
    fn first(&self, matching: impl Fn(&Row) -> bool) -> (Vec<Row>, u64) {
        let fits: Vec<_> = self.groups.rows.iter().map(matching).collect();
        let mut kept: Vec<(u32, &Reference)> = Vec::with_capacity(2 * MAX_ROWS);
        let mut count = 0u64;
        let compare = |a: &(u32, &Reference), b: &(u32, &Reference)| ordered(self.compare(a, b), self.query);
        for (_, reference) in self.device.references() {
            let Some(&number) = self.groups.index.get(&key_of(self.device, reference)) else {
                continue;
            };
            if !fits[number as usize] {
                continue;
            }
            count += 1;
            kept.push((number, reference));
            if kept.len() == 2 * MAX_ROWS {
                kept.select_nth_unstable_by(MAX_ROWS, compare);
                kept.truncate(MAX_ROWS);
            }
        }
        kept.sort_unstable_by(compare);
        kept.truncate(MAX_ROWS);
        let left_out = count - kept.len() as u64;
        let rows = kept
            .into_iter()
            .map(|(number, reference)| self.row(number, reference));
        (rows.collect(), left_out)
    }

    fn row(&self, number: u32, reference: &Reference) -> Row {
        let mut row = Row {
            count: 0,
            references: 0,
            bytes: 0,
            oldest_ns: None,
            ..self.groups.rows[number as usize].clone()
        };
        row.add(1, reference.count(), reference.bytes(), reference);
        row.addr = reference.addr().or(match reference.taken {
            Taken::Mmap { user_addr, .. } => user_addr,
            Taken::Allocation { .. } | Taken::ScatterList { .. } => None,
        });
        row
    }

    /// As [`Row::compare`], without making rows of a million.
    fn compare(&self, a: &(u32, &Reference), b: &(u32, &Reference)) -> Ordering {
        let group = |of: &(u32, &Reference)| &self.groups.rows[of.0 as usize];
        let (one, other) = (a.1, b.1);
        let order = match self.query.column {
            Column::Bytes => other.bytes().cmp(&one.bytes()),
            Column::References => other.count().cmp(&one.count()),
            Column::Age | Column::Device => one.at.time_ns.cmp(&other.at.time_ns),
            Column::Process => group(a).who.name().cmp(&group(b).who.name()),
            Column::Kind => group(a).kind.cmp(group(b).kind),
            Column::Caller => group(a).caller.cmp(&group(b).caller),
            Column::Address => one.addr().cmp(&other.addr()),
        };
        order.then_with(|| {
            (Reverse(one.bytes()), one.at.time_ns, one.at.id).cmp(&(
                Reverse(other.bytes()),
                other.at.time_ns,
                other.at.id,
            ))
        })
    }
}
