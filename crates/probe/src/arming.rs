//! When the armed hooks are attached: from a kill with references outstanding to the end of a teardown
//! that ran clean. Pure; the session does what it says.

use p2p_trace_common::{Kind, Record, counters::ArmedRange, valid};

/// What the session must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Write the ranges into the table, and attach unless that is done.
    Arm,
    /// Nothing is left to watch: detach.
    Disarm,
}

/// A range that is being torn down.
#[derive(Clone, Copy, Debug)]
struct Dying {
    range: ArmedRange,
    /// The last reference was dropped before the removal.
    drained: bool,
    /// The struct pages are gone.
    removed: bool,
}

/// The ranges to watch.
#[derive(Debug, Default)]
pub(crate) struct Arming {
    dying: Vec<Dying>,
    /// Address of the first `struct page` and size of one, for page addresses; `None`: not known.
    vmemmap: Option<(u64, u64)>,
}

/// Bytes of a page on x86-64.
const PAGE: u64 = 4096;

impl Arming {
    /// With the base of the page array and the size of a `struct page`, where they are known.
    pub(crate) const fn new(vmemmap: Option<(u64, u64)>) -> Self {
        Self { dying: Vec::new(), vmemmap }
    }

    /// The ranges to compare with.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = ArmedRange> {
        self.dying.iter().map(|dying| ArmedRange { removed: u64::from(dying.removed), ..dying.range })
    }

    /// Takes note of a record.
    pub(crate) fn follow(&mut self, record: &Record) -> Option<Order> {
        match record.kind()? {
            // A kill with nothing allocated is over before anything could be attached.
            Kind::Kill if !(record.has(valid::TAKEN) && record.words[2] == 0) => self.begin(record),
            Kind::Drained => {
                for dying in self.dying.iter_mut().filter(|dying| dying.range.pgmap == record.pgmap) {
                    dying.drained = !dying.removed;
                }
                None
            }
            Kind::Remove => {
                let mut order = None;
                for dying in self.dying.iter_mut().filter(|dying| dying.range.pgmap == record.pgmap) {
                    dying.removed = true;
                    // The table says so.
                    order = Some(Order::Arm);
                }
                order
            }
            // A range that was removed before it had drained is watched to the end of the run.
            Kind::Unmapped => {
                let before = self.dying.len();
                self.dying.retain(|dying| dying.range.pgmap != record.pgmap || !dying.drained);
                match (before, self.dying.len()) {
                    (before, after) if before == after => None,
                    (_, 0) => Some(Order::Disarm),
                    _ => Some(Order::Arm),
                }
            }
            _ => None,
        }
    }

    fn begin(&mut self, record: &Record) -> Option<Order> {
        if !record.has(valid::RANGE | valid::PGMAP) || record.words[0] >= record.words[1] {
            return None;
        }
        let [start, end, ..] = record.words;
        let page_of = |address: u64| match self.vmemmap {
            Some((base, size)) => base.wrapping_add((address / PAGE).wrapping_mul(size)),
            None => 0,
        };
        let range = ArmedRange {
            page_start: page_of(start),
            page_end: page_of(end.wrapping_add(1)),
            start,
            end,
            pgmap: record.pgmap,
            device: u64::from(record.domain) | u64::from(record.bus) << 32 | u64::from(record.devfn) << 40,
            removed: 0,
        };
        self.dying.retain(|dying| dying.range.pgmap != range.pgmap);
        self.dying.push(Dying { range, drained: false, removed: false });
        Some(Order::Arm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_model::event::user::blank;

    fn record(kind: Kind, taken: u64) -> Record {
        Record {
            kind: kind as u8,
            valid: valid::RANGE | valid::PGMAP | valid::TAKEN,
            pgmap: 7,
            words: [0x1000, 0x2fff, taken, 0],
            ..blank(1)
        }
    }

    #[test]
    fn a_clean_teardown_with_references_arms_and_disarms() {
        let mut arming = Arming::new(Some((0xffff_ea00_0000_0000, 64)));
        assert_eq!(arming.follow(&record(Kind::Kill, 4096)), Some(Order::Arm));
        let range = arming.ranges().next().unwrap();
        assert_eq!(range.page_start, 0xffff_ea00_0000_0040);
        assert_eq!(range.page_end, 0xffff_ea00_0000_00c0);
        assert_eq!(arming.follow(&record(Kind::Drained, 0)), None);
        assert_eq!(range.removed, 0);
        assert_eq!(arming.follow(&record(Kind::Remove, 0)), Some(Order::Arm));
        assert_eq!(arming.ranges().next().unwrap().removed, 1);
        assert_eq!(arming.follow(&record(Kind::Unmapped, 0)), Some(Order::Disarm));
    }

    #[test]
    fn nothing_allocated_arms_nothing() {
        let mut arming = Arming::new(None);
        assert_eq!(arming.follow(&record(Kind::Kill, 0)), None);
        assert_eq!(arming.follow(&record(Kind::Unmapped, 0)), None);
    }

    #[test]
    fn a_range_removed_before_its_drain_stays_watched() {
        let mut arming = Arming::new(None);
        arming.follow(&record(Kind::Kill, 4096));
        arming.follow(&record(Kind::Remove, 0));
        arming.follow(&record(Kind::Drained, 0));
        assert_eq!(arming.follow(&record(Kind::Unmapped, 0)), None);
        assert_eq!(arming.ranges().count(), 1);
    }
}
