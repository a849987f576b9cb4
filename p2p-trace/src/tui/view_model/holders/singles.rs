//! Rows for single references, limited to the first ones.

use std::cmp::{Ordering, Reverse};

use p2p_trace_model::{
    holders::Groups,
    state::{Allocated, Device, Reference},
};

use super::{
    super::query::{Column, Query},
    MAX_ROWS, ordered,
    row::Row,
};

/// The single references of a device.
pub(super) struct Singles<'a> {
    pub(super) device: &'a Device,
    pub(super) groups: &'a Groups<'a>,
    /// One row for each of the groups.
    pub(super) rows: &'a [Row],
    pub(super) query: &'a Query,
}

impl Singles<'_> {
    /// The first [`MAX_ROWS`] references that match, and how many more do.
    pub(super) fn first(&self, matching: impl Fn(&Row) -> bool) -> (Vec<Row>, u64) {
        let fits: Vec<_> = self.rows.iter().map(matching).collect();
        let mut kept: Vec<(usize, &Reference)> = Vec::with_capacity(2 * MAX_ROWS);
        let mut count = 0u64;
        let compare =
            |a: &(usize, &Reference), b: &(usize, &Reference)| ordered(self.compare(a, b), self.query);
        for (_, reference) in self.device.references() {
            let Some(number) = self.groups.place_of(reference) else {
                continue;
            };
            if !fits[number] {
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
        let omitted = count - kept.len() as u64;
        let rows = kept.into_iter().map(|(number, reference)| self.row(number, reference));
        (rows.collect(), omitted)
    }

    fn row(&self, number: usize, reference: &Reference) -> Row {
        Row {
            count: 1,
            references: reference.count(),
            bytes: reference.bytes(),
            oldest_ns: Some(reference.at.time_ns),
            record: Some(reference.at.id),
            addr: reference.addr().or(match reference.allocated {
                Allocated::Mmap { user_addr, .. } => user_addr,
                Allocated::Allocation { .. } | Allocated::ScatterList { .. } => None,
            }),
            ..self.rows[number].clone()
        }
    }

    /// Compares like [`Row::compare`], without building a row for each of a million references.
    fn compare(&self, a: &(usize, &Reference), b: &(usize, &Reference)) -> Ordering {
        let group = |of: &(usize, &Reference)| &self.rows[of.0];
        let (one, other) = (a.1, b.1);
        let order = match self.query.column {
            Column::Bytes => other.bytes().cmp(&one.bytes()),
            Column::References => other.count().cmp(&one.count()),
            Column::Age | Column::Device => one.at.time_ns.cmp(&other.at.time_ns),
            Column::Process => group(a).holder.name().cmp(&group(b).holder.name()),
            Column::Liveness => group(a).holder.liveness().cmp(group(b).holder.liveness()),
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
