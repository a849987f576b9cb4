//! An index of the ranges of all devices by location, by `dev_pagemap`, and by the reference that was killed,
//! so that no lookup iterates over all ranges. Entries of ended ranges stay until a sweep, so callers must
//! check that a range found here is still valid.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{device::Device, range::Stage};
use crate::event::{DeviceAddress, Range};

/// A range, by its device and generation.
type Named = (DeviceAddress, u32);

/// Minimum number of entries before a sweep.
const SPARE: usize = 4096;
/// Limit on the ranges kept per reference. Two that share it already violate a rule.
const MAX_SHARING: usize = 64;
/// Limit on the entries at one location that are checked for ended ranges.
const MAX_LOOKED_AT: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct RangeIndex {
    owners: HashMap<u64, BTreeSet<DeviceAddress>>,
    /// By the logarithm of their size, so that long ranges do not slow down the search for short ones.
    by_size: BTreeMap<u32, BTreeSet<(u64, Named)>>,
    references: HashMap<u32, VecDeque<Named>>,
    entered: usize,
    /// Number of entries that triggers a sweep.
    most: usize,
}

impl RangeIndex {
    /// The devices that have or had a range of this pgmap, by address.
    pub(super) fn owners(&self, pgmap: u64) -> impl Iterator<Item = DeviceAddress> {
        self.owners.get(&pgmap).into_iter().flatten().copied()
    }

    /// The ranges that may overlap this one, and possibly others.
    pub(super) fn near(&self, range: Range) -> impl Iterator<Item = Named> {
        self.by_size.iter().flat_map(move |(&log, places)| {
            let longest = u64::MAX >> (63 - log.min(63));
            let from = range.start.saturating_sub(longest);
            places.range((from, LEAST)..=(range.end, MOST)).map(|&(_, named)| named)
        })
    }

    /// The latest ranges whose kill named this reference, by device, the latest first.
    pub(super) fn sharing(&self, reference: u32) -> Vec<Named> {
        let mut sharing: Vec<_> = self.references.get(&reference).into_iter().flatten().copied().collect();
        sharing.sort_by_key(|&(device, generation)| (device, std::cmp::Reverse(generation)));
        sharing
    }

    pub(super) fn own(&mut self, pgmap: u64, device: DeviceAddress) {
        self.entered += usize::from(self.owners.entry(pgmap).or_default().insert(device));
    }

    /// Records the location of a range. `is_over` returns whether another range of the same device is over.
    pub(super) fn place(&mut self, range: Range, named: Named, is_over: impl Fn(u32) -> bool) {
        let log = range.size().checked_ilog2().unwrap_or(63);
        let places = self.by_size.entry(log).or_default();
        // A device that is bound repeatedly has its ranges in the same place each time.
        let same = places.range((range.start, LEAST)..=(range.start, MOST)).take(MAX_LOOKED_AT);
        let over: Vec<_> = same
            .copied()
            .filter(|&(_, (device, generation))| device == named.0 && is_over(generation))
            .collect();
        for key in over {
            places.remove(&key);
        }
        places.insert((range.start, named));
        self.entered += 1;
    }

    pub(super) fn kill(&mut self, reference: u32, named: Named) {
        let sharing = self.references.entry(reference).or_default();
        if sharing.contains(&named) {
            return;
        }
        if sharing.len() == MAX_SHARING {
            sharing.pop_front();
        }
        sharing.push_back(named);
        self.entered += 1;
    }

    /// Removes entries of ended ranges once these are the majority.
    pub(super) fn sweep(&mut self, devices: &BTreeMap<DeviceAddress, Device>) {
        if self.entered < self.most.max(SPARE) {
            return;
        }
        let mut rebuilt = Self::default();
        for (&address, device) in devices {
            for range in device.ranges() {
                let named = (address, range.id.generation);
                if range.stage() < Stage::Released {
                    rebuilt.own(range.id.pgmap, address);
                }
                if let Some(physical) = range.physical.filter(|_| range.stage() < Stage::Removed) {
                    rebuilt.place(physical, named, |_| false);
                }
                if let Some(reference) = range.reference {
                    rebuilt.kill(reference, named);
                }
            }
        }
        rebuilt.most = 2 * rebuilt.entered;
        *self = rebuilt;
    }
}

const LEAST: Named = (DeviceAddress { domain: 0, bus: 0, device: 0, function: 0 }, 0);
const MOST: Named =
    (DeviceAddress { domain: u32::MAX, bus: u8::MAX, device: u8::MAX, function: u8::MAX }, u32::MAX);
