//! How the tables can be ordered: by each of their columns, the largest, oldest, gravest or first in the alphabet first.

use std::{cmp::Ordering, sync::Arc};

use p2p_trace_model::rules::{Answer, Finding, Verdict};

use super::view_model::{DeviceRow, Timeline};

/// By which column, and which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Its place in the table; `None`: as it comes.
    pub(crate) column: Option<usize>,
    /// The other way round.
    pub(crate) reversed: bool,
}

impl Order {
    /// By the next of so many columns; behind the last as it comes.
    pub(super) const fn next(self, columns: usize) -> Self {
        let column = match self.column {
            None => Some(0),
            Some(column) if column + 1 < columns => Some(column + 1),
            Some(_) => None,
        };
        Self { column, reversed: false }
    }

    /// For the heading of a table.
    pub(crate) fn shown(self) -> Option<(usize, bool)> {
        self.column.map(|column| (column, self.reversed))
    }

    /// Puts a list in this order.
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

/// Which of two comes first by a column.
pub(super) type Compare<T> = fn(&T, &T) -> Ordering;

/// Those of the table of devices.
pub(super) const DEVICES: [Compare<DeviceRow>; 11] = [
    |a, b| a.address.cmp(&b.address),
    |a, b| named(a.name.as_ref(), b.name.as_ref()),
    |a, b| named(a.driver.as_ref(), b.driver.as_ref()),
    |a, b| a.state().cmp(b.state()),
    |a, b| b.size.cmp(&a.size),
    |a, b| b.allocated.cmp(&a.allocated),
    |a, b| b.references.cmp(&a.references),
    |a, b| named(a.oldest_ns, b.oldest_ns),
    |a, b| b.mapped.cmp(&a.mapped),
    |a, b| b.published.cmp(&a.published),
    |a, b| {
        let since = |row: &DeviceRow| row.pending.as_ref().map(|pending| pending.since_ns.unwrap_or(0));
        named(since(a), since(b))
    },
];

/// Those of the table of teardowns.
pub(super) const TEARDOWNS: [Compare<Timeline>; 6] = [
    |a, b| a.device.cmp(&b.device),
    |a, b| a.started_ns.cmp(&b.started_ns),
    |a, b| lasted(b).cmp(&lasted(a)),
    |a, b| standing(b).cmp(&standing(a)),
    |a, b| (b.wrong, b.incomplete).cmp(&(a.wrong, a.incomplete)),
    |a, b| named(a.task.map(|task| task.name()), b.task.map(|task| task.name())),
];

/// Those of the table of findings.
pub(super) const FINDINGS: [Compare<Arc<Finding>>; 7] = [
    |a, b| a.number.cmp(&b.number),
    |a, b| b.severity.cmp(&a.severity),
    |a, b| a.rule.name().cmp(b.rule.name()),
    |a, b| a.device.cmp(&b.device),
    |a, b| a.start_ns.cmp(&b.start_ns),
    |a, b| (a.is_closed(), b.occurrences).cmp(&(b.is_closed(), a.occurrences)),
    |a, b| a.message.cmp(&b.message),
];

/// Those of the table of rules.
pub(super) const RULES: [Compare<Verdict>; 6] = [
    |a, b| a.rule.name().cmp(b.rule.name()),
    |a, b| gravity(a.answer).cmp(&gravity(b.answer)),
    |a, b| a.device.cmp(&b.device),
    |a, b| b.rule.spec().severity.cmp(&a.rule.spec().severity),
    |a, b| b.findings.cmp(&a.findings),
    |a, b| a.reasons.cmp(&b.reasons),
];

/// What is not known comes last.
fn named<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
    (a.is_none(), a).cmp(&(b.is_none(), b))
}

/// A teardown that goes on has lasted longest.
const fn lasted(timeline: &Timeline) -> (bool, u64) {
    match timeline.ended {
        Some((_, end_ns)) => (false, end_ns.saturating_sub(timeline.started_ns)),
        None => (true, u64::MAX - timeline.started_ns),
    }
}

/// Blocked, under way, over.
const fn standing(timeline: &Timeline) -> u8 {
    match (&timeline.ended, &timeline.pending) {
        (None, Some(pending)) if pending.blocked => 2,
        (None, _) => 1,
        (Some(_), _) => 0,
    }
}

/// The worst first.
pub(super) const fn gravity(answer: Answer) -> u8 {
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
    fn columns_come_round_and_reverse() {
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
        assert_eq!(named(None, Some(1)), Ordering::Greater);
    }
}
