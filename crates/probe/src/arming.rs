//! When the armed hooks are attached, and what they compare with: from the first step of a teardown of a device that has memory out,
//! or more than one range, to its end. Pure; the session does what it says.

use p2p_trace_common::{
    Kind, Record,
    armed::{ArmedRange, stage},
    state, valid,
};

/// What the session must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Write the ranges into the table, and attach unless that is done.
    Arm,
    /// Nothing is left to watch: detach.
    Disarm,
}

/// A range of p2p memory.
#[derive(Clone, Copy, Debug)]
struct Range {
    pgmap: u64,
    /// Physical addresses, the last one included.
    bounds: [u64; 2],
    killed: bool,
    /// The last reference was dropped before the removal.
    drained: bool,
    /// It was dropped, before the removal or behind it.
    dropped: bool,
    /// Its driver hands out its pages itself.
    bypassed: bool,
    stage: u64,
}

/// A device that has some.
#[derive(Debug, Default)]
struct Device {
    /// As the records name it: see [`word`].
    word: u64,
    ranges: Vec<Range>,
    /// What opened the teardown that is under way.
    opened: Option<Kind>,
    /// Its ranges are to be watched.
    watched: bool,
}

/// The devices.
#[derive(Debug, Default)]
pub(crate) struct Arming {
    devices: Vec<Device>,
    /// Address of the first `struct page` and size of one, for page addresses; `None`: not known.
    vmemmap: Option<(u64, u64)>,
}

/// Bytes of a page on x86-64.
const PAGE: u64 = 4096;

/// The device of a record.
fn word(record: &Record) -> u64 {
    u64::from(record.domain) | u64::from(record.bus) << 32 | u64::from(record.devfn) << 40
}

impl Arming {
    /// With the base of the page array and the size of a `struct page`, where they are known.
    pub(crate) const fn new(vmemmap: Option<(u64, u64)>) -> Self {
        Self { devices: Vec::new(), vmemmap }
    }

    /// The ranges to compare with.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = ArmedRange> {
        let page_of = |address: u64| match self.vmemmap {
            Some((base, size)) => base.wrapping_add((address / PAGE).wrapping_mul(size)),
            None => 0,
        };
        let watched = self.devices.iter().filter(|device| device.watched);
        let all = watched.flat_map(|device| device.ranges.iter().map(|range| (device.word, range)));
        all.map(move |(device, &Range { pgmap, bounds: [start, last], stage, .. })| {
            let end = last.wrapping_add(1);
            let (page_start, page_end) = (page_of(start), page_of(end));
            ArmedRange { generation: 0, page_start, page_end, start, end, pgmap, device, stage }
        })
    }

    /// Takes note of a record.
    pub(crate) fn follow(&mut self, record: &Record) -> Option<Order> {
        let kind = record.kind()?;
        // Nearly all records are none of these.
        if matches!(kind, Kind::Alloc | Kind::Free | Kind::PageFree | Kind::Stack)
            || !record.has(valid::DEVICE)
        {
            return None;
        }
        let before = self.is_watching();
        let matters = self.take(kind, record);
        let after = self.is_watching();
        match (before, after) {
            (true, false) => Some(Order::Disarm),
            (_, true) if matters || !before => Some(Order::Arm),
            _ => None,
        }
    }

    fn is_watching(&self) -> bool {
        self.devices.iter().any(|device| device.watched)
    }

    /// True: the table is another one now.
    fn take(&mut self, kind: Kind, record: &Record) -> bool {
        let device = self.device(word(record));
        match kind {
            Kind::Memremap if record.number.cast_signed() >= 0 => {
                // Memory is added under the device's lock: a teardown is over.
                device.end();
                device.add(record, bounds(record))
            }
            Kind::RangeState => device.snapshot_end(record),
            // It has no p2p memory at this moment.
            Kind::DeviceState if record.has(valid::COUNT) && record.number == 0 => device.found_none(),
            Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease => device.open(kind, record),
            Kind::Kill if record.killed_ranges() != Some(0) => device.kill(record),
            Kind::Drained => {
                device.step(record, |range| {
                    range.drained = range.stage == stage::LISTED;
                    range.dropped = true;
                });
                false
            }
            Kind::Remove => device.step(record, |range| range.stage = range.stage.max(stage::REMOVED)),
            Kind::Unmapped => device.unmapped(record),
            Kind::Release => {
                device.ranges.iter_mut().for_each(|range| range.stage = stage::RELEASED);
                true
            }
            Kind::Released => device.gone(),
            Kind::Unbound => device.end(),
            // Before 6.0 the driver core's own function is not seen, and this is its last step.
            Kind::DevresReleased if device.opened != Some(Kind::Unbind) => device.end(),
            _ => false,
        }
    }

    fn device(&mut self, word: u64) -> &mut Device {
        let known = self.devices.iter().position(|device| device.word == word);
        let index = known.unwrap_or_else(|| {
            self.devices.push(Device { word, ..Device::default() });
            self.devices.len() - 1
        });
        &mut self.devices[index]
    }
}

/// The driver hands out pages itself: what is out is not known.
const fn is_bypassed(record: &Record) -> bool {
    record.has(valid::STATE) && record.small & state::BYPASSED != 0
}

/// The range that a record tells.
const fn bounds(record: &Record) -> Option<[u64; 2]> {
    let [start, last, ..] = record.words;
    if record.has(valid::RANGE | valid::PGMAP) && start < last { Some([start, last]) } else { None }
}

impl Device {
    fn find(&mut self, pgmap: u64) -> Option<&mut Range> {
        self.ranges.iter_mut().find(|range| range.pgmap == pgmap)
    }

    /// A range is there; one that was in its place is not.
    fn add(&mut self, record: &Record, bounds: Option<[u64; 2]>) -> bool {
        let Some(bounds) = bounds else { return false };
        let overlaps = |range: &Range| range.bounds[0] <= bounds[1] && bounds[0] <= range.bounds[1];
        self.ranges.retain(|range| range.pgmap != record.pgmap && !overlaps(range));
        let range = Range {
            pgmap: record.pgmap,
            bounds,
            killed: false,
            drained: false,
            dropped: false,
            bypassed: false,
            stage: stage::LISTED,
        };
        self.ranges.push(range);
        self.watched
    }

    /// A pull read shows a range of it.
    fn snapshot_end(&mut self, record: &Record) -> bool {
        if !record.has(valid::PHYSICAL | valid::PGMAP | valid::COUNT) || record.number == 0 {
            return false;
        }
        let start = record.words[0];
        let bounds = [start, start.wrapping_add(u64::from(record.number) * PAGE).wrapping_sub(1)];
        let is_dead = record.has(valid::STATE) && record.small & state::DEAD != 0;
        let known = self.find(record.pgmap).is_some_and(|range| range.bounds == bounds);
        let is_new = !known && self.add(record, Some(bounds));
        if let Some(range) = self.find(record.pgmap) {
            range.killed |= is_dead;
            range.bypassed = is_bypassed(record);
        }
        is_new
    }

    /// A teardown begins, or its next bracket does.
    fn open(&mut self, kind: Kind, record: &Record) -> bool {
        self.opened = self.opened.or(Some(kind));
        // With nothing out, and no other range that could be taken of while one is gone, nothing can go wrong.
        let nothing_allocated =
            record.has(valid::FLAG) && record.small == 0 && !self.ranges.iter().any(|range| range.bypassed);
        let at_most_one = record.has(valid::COUNT) && record.number <= 1;
        let was = self.watched;
        self.watched |= !(nothing_allocated && at_most_one);
        self.watched != was
    }

    fn kill(&mut self, record: &Record) -> bool {
        let is_known = self.find(record.pgmap).is_some_and(|range| !range.killed);
        if !is_known {
            self.add(record, bounds(record));
        }
        if let Some(range) = self.find(record.pgmap) {
            range.killed = true;
            range.bypassed |= is_bypassed(record);
            let nothing_allocated = record.has(valid::ALLOCATED) && record.words[2] == 0;
            self.watched |= !nothing_allocated || is_bypassed(record);
        }
        self.watched && !is_known
    }

    /// A step of a range.
    fn step(&mut self, record: &Record, change: impl FnOnce(&mut Range)) -> bool {
        self.find(record.pgmap).map(change).is_some() && self.watched
    }

    /// The end of a range. One that was removed before it had drained is watched on: what is out of it is out still. So is one of
    /// which the driver hands out the pages itself, with or without references of the range, and one that the pool points to while another one can be taken of.
    fn unmapped(&mut self, record: &Record) -> bool {
        let matters = self.step(record, |range| range.stage = range.stage.max(stage::UNMAPPED));
        let is_over = |range: &Range| range.stage >= stage::UNMAPPED && range.drained && !range.bypassed;
        if self.ranges.iter().all(is_over) { self.gone() } else { matters }
    }

    /// A read finds none of its memory. While the release waits for who still holds what was removed before its drain, as it did before
    /// Linux 5.2, that is not the end of it: the holder can still use it.
    fn found_none(&mut self) -> bool {
        let is_held = |range: &Range| range.killed && !range.dropped && range.stage >= stage::REMOVED;
        if self.watched && self.ranges.iter().any(is_held) { false } else { self.gone() }
    }

    /// Its memory is gone.
    fn gone(&mut self) -> bool {
        self.ranges.clear();
        std::mem::take(&mut self.watched)
    }

    /// The teardown is over, and with it what it had begun with.
    fn end(&mut self) -> bool {
        self.opened = None;
        self.ranges.retain(|range| !range.killed);
        std::mem::take(&mut self.watched)
    }
}

#[cfg(test)]
#[path = "arming_tests.rs"]
mod tests;
