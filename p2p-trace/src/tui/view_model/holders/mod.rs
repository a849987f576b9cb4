//! What is out and who took it: a million references become a few groups, or the first of them in the order asked for.

mod groups;
mod row;
mod singles;

use std::{cmp::Ordering, collections::BTreeMap};

use p2p_trace_model::{
    event::{DeviceAddress, Symbolize},
    holders::Groups,
    state::{Device, Model, Range, Reference},
};

use groups::merged;

use super::query::{Column, Fields, Filter, Grouping, Query};

pub(crate) use row::{Row, Who};
use singles::Singles;

/// Rows that are kept.
pub(crate) const MAX_ROWS: usize = 512;
/// Processes of one device that the rest of the screen can name.
const MAX_BLOCKING: usize = 4;

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default)]
pub(crate) struct HolderTable {
    pub(crate) query: Query,
    /// In the order asked for.
    pub(crate) rows: Vec<Row>,
    /// Rows that match and are left out.
    pub(crate) omitted: u64,
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
    /// It, or something that is out of it, matches the filter.
    pub(crate) matches: bool,
    /// What keeps its killed ranges from draining, by process, the largest first.
    pub(crate) blocking: Vec<Row>,
    /// Processes of those that are left out.
    pub(crate) blocking_omitted: usize,
}

/// Answers a query. `name` gives what a device is called for a filter.
pub(crate) fn holders(
    model: &Model,
    query: &Query,
    symbols: &dyn Symbolize,
    name: impl Fn(DeviceAddress) -> String,
    now_ns: u64,
) -> HolderTable {
    let mut answer = HolderTable { query: query.clone(), as_of_ns: now_ns, ..HolderTable::default() };
    let mut rows = Vec::new();
    for device in model.devices() {
        let label = name(device.address());
        let groups = Groups::of(device, |_| true);
        let grouped = groups::rows(device, &groups, symbols);
        let unseen = unseen(device);
        let mut of_device = of_device(device, &grouped, unseen.as_ref(), symbols);
        let matching = |row: &Row| row.matches(&query.filter, &label);
        of_device.matches =
            matches_itself(&query.filter, &label) || grouped.iter().chain(&unseen).any(matching);
        answer.devices.insert(device.address(), of_device);
        let all = grouped.iter().chain(&unseen).filter(|row| matching(row));
        for row in all.clone() {
            answer.total.0 = answer.total.0.saturating_add(row.references);
            answer.total.1 = answer.total.1.saturating_add(row.bytes);
        }
        match query.grouping {
            Grouping::Flat => {
                let singles = Singles { device, groups: &groups, rows: &grouped, query };
                let (kept, omitted) = singles.first(matching);
                rows.extend(kept);
                rows.extend(unseen.into_iter().filter(matching));
                answer.omitted += omitted;
            }
            grouping => rows.extend(merged(all, grouping)),
        }
    }
    rows.sort_by(|a, b| ordered(a.compare(b, query.column), query));
    answer.omitted += rows.len().saturating_sub(MAX_ROWS) as u64;
    rows.truncate(MAX_ROWS);
    answer.rows = rows;
    answer
}

/// A device matches by itself, whatever is out of it. `label`: address and names.
pub(crate) fn matches_itself(filter: &Filter, label: &str) -> bool {
    filter.matches(&Fields { device: label, ..Fields::default() })
}

const fn ordered(order: Ordering, query: &Query) -> Ordering {
    if query.reversed { order.reverse() } else { order }
}

fn of_device(device: &Device, all: &[Row], unseen: Option<&Row>, symbols: &dyn Symbolize) -> OfDevice {
    let oldest_ns = all.iter().filter_map(|row| row.oldest_ns).min();
    if !device.ranges().any(Range::is_draining) {
        return OfDevice { oldest_ns, ..OfDevice::default() };
    }
    let is_in_the_way = |reference: &Reference| {
        // Of one that is not known to be of another range it cannot be told.
        reference.count() > 0 && device.range_of(reference).is_none_or(Range::is_draining)
    };
    let groups = groups::rows(device, &Groups::of(device, is_in_the_way), symbols);
    let mut blocking = merged(groups.iter().chain(unseen), Grouping::Process);
    blocking.sort_by(|a, b| a.compare(b, Column::Bytes));
    let blocking_omitted = blocking.len().saturating_sub(MAX_BLOCKING);
    blocking.truncate(MAX_BLOCKING);
    OfDevice { oldest_ns, blocking, blocking_omitted, ..OfDevice::default() }
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
