//! The table of holders: references grouped into a few rows, or the first single references in the requested order.

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

pub(crate) use row::{Holder, Row};
use singles::Singles;

/// The maximum number of rows.
pub(crate) const MAX_ROWS: usize = 512;
/// The maximum number of blocking processes to name per device.
const MAX_BLOCKING: usize = 4;

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default)]
pub(crate) struct HolderTable {
    pub(crate) query: Query,
    /// The rows, in the requested order.
    pub(crate) rows: Vec<Row>,
    /// The number of matching rows that were omitted.
    pub(crate) omitted: u64,
    /// References and bytes of all matching rows.
    pub(crate) total: (u64, u64),
    /// Data of each device, independent of the query.
    pub(crate) devices: BTreeMap<DeviceAddress, OfDevice>,
    /// The time of the table (`CLOCK_BOOTTIME`).
    pub(crate) as_of_ns: u64,
}

/// The outstanding memory of a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfDevice {
    /// When the oldest outstanding memory was allocated.
    pub(crate) oldest_ns: Option<u64>,
    /// Whether the device or one of its holders matches the filter.
    pub(crate) matches: bool,
    /// The holders that keep its killed ranges from draining, by process, the largest first.
    pub(crate) blocking: Vec<Row>,
    /// The number of blocking processes that were omitted.
    pub(crate) blocking_omitted: usize,
}

/// Answers a query. `name` returns the text of a device that a filter matches.
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
        let preexisting = preexisting(device);
        let mut of_device = of_device(device, &grouped, preexisting.as_ref(), symbols);
        let matching = |row: &Row| row.matches(&query.filter, &label);
        of_device.matches =
            matches_itself(&query.filter, &label) || grouped.iter().chain(&preexisting).any(matching);
        answer.devices.insert(device.address(), of_device);
        let all = grouped.iter().chain(&preexisting).filter(|row| matching(row));
        for row in all.clone() {
            answer.total.0 = answer.total.0.saturating_add(row.references);
            answer.total.1 = answer.total.1.saturating_add(row.bytes);
        }
        match query.grouping {
            Grouping::Flat => {
                let singles = Singles { device, groups: &groups, rows: &grouped, query };
                let (kept, omitted) = singles.first(matching);
                rows.extend(kept);
                rows.extend(preexisting.into_iter().filter(matching));
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

/// Whether a device itself matches. `label` has its address and names.
pub(crate) fn matches_itself(filter: &Filter, label: &str) -> bool {
    filter.matches(&Fields { device: label, ..Fields::default() })
}

const fn ordered(order: Ordering, query: &Query) -> Ordering {
    if query.reversed { order.reverse() } else { order }
}

fn of_device(device: &Device, all: &[Row], preexisting: Option<&Row>, symbols: &dyn Symbolize) -> OfDevice {
    let oldest_ns = all.iter().filter_map(|row| row.oldest_ns).min();
    if !device.ranges().any(Range::is_draining) {
        return OfDevice { oldest_ns, ..OfDevice::default() };
    }
    let is_blocking = |reference: &Reference| {
        // A reference of an unknown range could belong to a draining one.
        reference.count() > 0 && device.range_of(reference).is_none_or(Range::is_draining)
    };
    let groups = groups::rows(device, &Groups::of(device, is_blocking), symbols);
    let mut blocking = merged(groups.iter().chain(preexisting), Grouping::Process);
    blocking.sort_by(|a, b| a.compare(b, Column::Bytes));
    let blocking_omitted = blocking.len().saturating_sub(MAX_BLOCKING);
    blocking.truncate(MAX_BLOCKING);
    OfDevice { oldest_ns, blocking, blocking_omitted, ..OfDevice::default() }
}

/// Memory of unknown holders, as one row.
fn preexisting(device: &Device) -> Option<Row> {
    let bytes = device.preexisting_bytes();
    let count = device.preexisting().count() as u64;
    (bytes > 0).then(|| Row {
        device: device.address(),
        holder: Holder::Preexisting,
        kind: "pre-existing",
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
