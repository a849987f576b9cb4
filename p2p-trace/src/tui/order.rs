//! Orders of the tables. Each column puts the largest, oldest, most severe or alphabetically first item first.

use std::{cmp::Ordering, sync::Arc};

use p2p_trace_model::rules::{Answer, Finding, Verdict};

use super::view_model::{DeviceRow, Timeline};

/// The column that orders a table, and the direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// The index of the column; `None` for the default order.
    pub(crate) column: Option<usize>,
    /// Whether the order is reversed.
    pub(crate) reversed: bool,
}

impl Order {
    /// The order by the next of `columns` columns; after the last one, the default order.
    pub(super) const fn next(self, columns: usize) -> Self {
        let column = match self.column {
            None => Some(0),
            Some(column) if column + 1 < columns => Some(column + 1),
            Some(_) => None,
        };
        Self { column, reversed: false }
    }

    /// Column and direction, for the heading of a table.
    pub(crate) fn shown(self) -> Option<(usize, bool)> {
        self.column.map(|column| (column, self.reversed))
    }

    /// Sorts a list.
    pub(super) fn apply<T>(self, list: &mut [&T], columns: &[Compare<T>]) {
        let compare = self.column.and_then(|column| columns.get(column));
        if let Some(compare) = compare {
            list.sort_by(|a, b| {
                let order = compare(a, b);
                if self.reversed { order.reverse() } else { order }
            });
        } else if self.reversed {
            list.reverse();
        }
    }
}

/// Compares two items by a column.
pub(super) type Compare<T> = fn(&T, &T) -> Ordering;

/// The columns of the table of devices.
pub(super) const DEVICES: [Compare<DeviceRow>; 11] = [
    |a, b| a.address.cmp(&b.address),
    |a, b| none_last(a.name.as_ref(), b.name.as_ref()),
    |a, b| none_last(a.driver.as_ref(), b.driver.as_ref()),
    |a, b| a.state().cmp(b.state()),
    |a, b| b.size.cmp(&a.size),
    |a, b| b.allocated.cmp(&a.allocated),
    |a, b| b.references.cmp(&a.references),
    |a, b| none_last(a.oldest_ns, b.oldest_ns),
    |a, b| b.mapped.cmp(&a.mapped),
    |a, b| b.published.cmp(&a.published),
    |a, b| {
        let since = |row: &DeviceRow| row.pending.as_ref().map(|pending| pending.since_ns.unwrap_or(0));
        none_last(since(a), since(b))
    },
];

/// The columns of the table of teardowns.
pub(super) const TEARDOWNS: [Compare<Timeline>; 6] = [
    |a, b| a.device.cmp(&b.device),
    |a, b| a.started_ns.cmp(&b.started_ns),
    |a, b| age_rank(b).cmp(&age_rank(a)),
    |a, b| progress(b).cmp(&progress(a)),
    |a, b| (b.wrong, b.incomplete).cmp(&(a.wrong, a.incomplete)),
    |a, b| none_last(a.task.map(|task| task.name()), b.task.map(|task| task.name())),
];

/// The columns of the table of findings.
pub(super) const FINDINGS: [Compare<Arc<Finding>>; 7] = [
    |a, b| a.number.cmp(&b.number),
    |a, b| b.severity.cmp(&a.severity),
    |a, b| a.rule.name().cmp(b.rule.name()),
    |a, b| a.device.cmp(&b.device),
    |a, b| a.start_ns.cmp(&b.start_ns),
    |a, b| (a.is_closed(), b.occurrences).cmp(&(b.is_closed(), a.occurrences)),
    |a, b| a.message.cmp(&b.message),
];

/// The columns of the table of rules.
pub(super) const RULES: [Compare<Verdict>; 6] = [
    |a, b| a.rule.name().cmp(b.rule.name()),
    |a, b| answer_rank(a.answer).cmp(&answer_rank(b.answer)),
    |a, b| a.device.cmp(&b.device),
    |a, b| b.rule.spec().severity.cmp(&a.rule.spec().severity),
    |a, b| b.findings.cmp(&a.findings),
    |a, b| a.reasons.cmp(&b.reasons),
];

/// Compares two values; unknown ones come last.
fn none_last<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
    (a.is_none(), a).cmp(&(b.is_none(), b))
}

/// Ranks teardowns by duration; an ongoing one ranks above all that have ended.
const fn age_rank(timeline: &Timeline) -> (bool, u64) {
    match timeline.ended {
        Some((_, end_ns)) => (false, end_ns.saturating_sub(timeline.started_ns)),
        None => (true, u64::MAX - timeline.started_ns),
    }
}

/// Ranks teardowns: blocked, under way, ended.
const fn progress(timeline: &Timeline) -> u8 {
    match (&timeline.ended, &timeline.pending) {
        (None, Some(pending)) if pending.blocked => 2,
        (None, _) => 1,
        (Some(_), _) => 0,
    }
}

/// Ranks answers, the worst first.
pub(super) const fn answer_rank(answer: Answer) -> u8 {
    match answer {
        Answer::Violated => 0,
        Answer::Inconclusive => 1,
        Answer::Holds => 2,
        Answer::NotChecked => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_through_columns_and_reverses() {
        let columns: [Compare<u32>; 2] = [|a, b| a.cmp(b), |a, b| (a % 10).cmp(&(b % 10))];
        let mut order = Order::default();
        let mut lists = Vec::new();
        for _ in 0..3 {
            let mut list = vec![&21, &12, &30];
            order.apply(&mut list, &columns);
            lists.push(list);
            order = order.next(columns.len());
        }
        assert_eq!(lists, [[&21, &12, &30], [&12, &21, &30], [&30, &21, &12]]);
        assert_eq!(order, Order::default());
        order.reversed = true;
        let mut list = vec![&1, &2];
        order.apply(&mut list, &columns);
        assert_eq!(list, [&2, &1]);
        assert_eq!(none_last(None, Some(1)), Ordering::Greater);
    }
}
