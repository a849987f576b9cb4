//! Decides when the armed hooks are attached and which ranges they compare addresses with: from the first step of a teardown
//! of a device that has outstanding memory, or more than one range, to the end of the teardown. Pure; the session carries out
//! the orders.

use p2p_trace_common::{
    Kind, Record,
    armed::{ArmedRange, stage},
    state, valid,
};

/// An order to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Write the ranges into the table, and attach the hooks unless they are attached already.
    Arm,
    /// No range is left to watch: detach.
    Disarm,
}

/// A range of p2p memory.
#[derive(Clone, Copy, Debug)]
struct Range {
    pgmap: u64,
    /// Physical addresses; the last one is included.
    bounds: [u64; 2],
    killed: bool,
    /// The last reference was dropped before the removal.
    drained: bool,
    /// The last reference was dropped, before or after the removal.
    dropped: bool,
    /// The driver allocates the range's pages itself.
    bypassed: bool,
    stage: u64,
}

/// A device with p2p memory.
#[derive(Debug, Default)]
struct Device {
    /// The device's address as records encode it: see [`word`].
    word: u64,
    ranges: Vec<Range>,
    /// The record that opened the current teardown.
    opened: Option<Kind>,
    /// The armed hooks are to watch the ranges.
    watched: bool,
}

/// The state of all devices, from which orders are derived.
#[derive(Debug, Default)]
pub(crate) struct Arming {
    devices: Vec<Device>,
    /// Address of the first `struct page` and the size of one, to compute page addresses; `None` if unknown.
    vmemmap: Option<(u64, u64)>,
}

/// Bytes of a page on x86-64.
const PAGE: u64 = 4096;

/// The device of a record, packed into one word.
fn word(record: &Record) -> u64 {
    u64::from(record.domain) | u64::from(record.bus) << 32 | u64::from(record.devfn) << 40
}

impl Arming {
    /// `vmemmap` is the base of the page array and the size of a `struct page`, if known.
    pub(crate) const fn new(vmemmap: Option<(u64, u64)>) -> Self {
        Self { devices: Vec::new(), vmemmap }
    }

    /// The ranges to compare addresses with.
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

    /// Updates the state from a record; returns the order that follows from it.
    pub(crate) fn follow(&mut self, record: &Record) -> Option<Order> {
        let kind = record.kind()?;
        // Nearly all records are of these kinds, which do not matter here.
        if matches!(kind, Kind::Alloc | Kind::Free | Kind::PageFree | Kind::Stack)
            || !record.has(valid::DEVICE)
        {
            return None;
        }
        let before = self.is_watching();
        let matters = self.apply(kind, record);
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

    /// Returns true if the table of ranges has changed.
    fn apply(&mut self, kind: Kind, record: &Record) -> bool {
        let device = self.device(word(record));
        match kind {
            Kind::Memremap if record.number.cast_signed() >= 0 => {
                // Memory is added under the device's lock, so a teardown is over.
                device.end();
                device.add(record, bounds(record))
            }
            Kind::RangeState => device.range_state(record),
            // The device has no p2p memory at this moment.
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
            Kind::Released => device.clear(),
            Kind::Unbound => device.end(),
            // Before 6.0 the driver core's function is not hooked, and this is the last step.
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

/// The driver allocates pages itself, so the number of outstanding pages is unknown.
const fn is_bypassed(record: &Record) -> bool {
    record.has(valid::STATE) && record.small & state::BYPASSED != 0
}

/// The range that a record describes.
const fn bounds(record: &Record) -> Option<[u64; 2]> {
    let [start, last, ..] = record.words;
    if record.has(valid::RANGE | valid::PGMAP) && start < last { Some([start, last]) } else { None }
}

impl Device {
    fn find(&mut self, pgmap: u64) -> Option<&mut Range> {
        self.ranges.iter_mut().find(|range| range.pgmap == pgmap)
    }

    /// Adds a range; it replaces ranges that it overlaps.
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

    /// A snapshot shows a range of the device.
    fn range_state(&mut self, record: &Record) -> bool {
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

    /// A teardown, or a further bracket of it, begins.
    fn open(&mut self, kind: Kind, record: &Record) -> bool {
        self.opened = self.opened.or(Some(kind));
        // With no outstanding memory, and no other range to allocate from while one is gone, nothing can go wrong.
        let nothing_allocated =
            record.has(valid::FLAG) && record.small == 0 && !self.ranges.iter().any(|range| range.bypassed);
        let at_most_one = record.has(valid::COUNT) && record.number <= 1;
        let was_watched = self.watched;
        self.watched |= !(nothing_allocated && at_most_one);
        self.watched != was_watched
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

    /// A teardown step of a range.
    fn step(&mut self, record: &Record, change: impl FnOnce(&mut Range)) -> bool {
        self.find(record.pgmap).map(change).is_some() && self.watched
    }

    /// The end of a range. A range that was removed before it drained stays watched, because its memory is still outstanding. So
    /// does a range whose pages the driver allocates itself, with or without references to the range, and a range that the pool
    /// still points to while memory can be allocated from another range.
    fn unmapped(&mut self, record: &Record) -> bool {
        let matters = self.step(record, |range| range.stage = range.stage.max(stage::UNMAPPED));
        let is_over = |range: &Range| range.stage >= stage::UNMAPPED && range.drained && !range.bypassed;
        if self.ranges.iter().all(is_over) { self.clear() } else { matters }
    }

    /// A snapshot finds no p2p memory. Before Linux 5.2 the release waits for holders of memory that was removed before it drained;
    /// during that wait the teardown is not over, since the holder can still use the memory.
    fn found_none(&mut self) -> bool {
        let is_held = |range: &Range| range.killed && !range.dropped && range.stage >= stage::REMOVED;
        if self.watched && self.ranges.iter().any(is_held) { false } else { self.clear() }
    }

    /// The device's memory is gone.
    fn clear(&mut self) -> bool {
        self.ranges.clear();
        std::mem::take(&mut self.watched)
    }

    /// The teardown is over, and so are the ranges that it killed.
    fn end(&mut self) -> bool {
        self.opened = None;
        self.ranges.retain(|range| !range.killed);
        std::mem::take(&mut self.watched)
    }
}

#[cfg(test)]
#[path = "arming_tests.rs"]
mod tests;
