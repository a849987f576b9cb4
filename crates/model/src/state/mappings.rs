//! DMA mappings of p2p memory by other devices. Only kernels up to 5.19 have both functions
//! (`pci_p2pdma_map_sg_attrs` and `pci_p2pdma_unmap_sg_attrs`); on other kernels nothing is known about them.

use std::collections::{HashMap, VecDeque};

use super::reference::At;
use crate::event::{DeviceAddress, Event};

/// Limit on the unmaps without a map that are kept.
const MAX_UNMATCHED: usize = 16;

/// A scatter list that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The mapping device.
    pub client: Option<DeviceAddress>,
    /// The list's first `struct page`.
    pub page: u64,
    /// Entries of the list.
    pub entries: Option<u32>,
    /// The range's `struct dev_pagemap`.
    pub pgmap: Option<u64>,
    /// The first map of it.
    pub at: At,
    /// The number of times it is mapped.
    pub times: u32,
}

/// The mappings of a device's memory since both hooks were attached.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    live: HashMap<(Option<DeviceAddress>, u64), Mapping>,
    latest_unmatched: VecDeque<Mapping>,
}

impl Mappings {
    /// Mappings without an unmap, in no particular order. The hook is at the entry of the function, so failed
    /// maps are included.
    pub fn live(&self) -> impl Iterator<Item = &Mapping> {
        self.live.values()
    }

    /// The latest unmaps without a map.
    pub(crate) fn latest_unmatched(&self) -> impl DoubleEndedIterator<Item = &Mapping> {
        self.latest_unmatched.iter()
    }

    fn of(event: &Event, at: At) -> Option<Mapping> {
        event.page.map(|page| Mapping {
            client: event.client,
            page,
            entries: event.count,
            pgmap: event.pgmap,
            at,
            times: 1,
        })
    }

    pub(super) fn map(&mut self, event: &Event, at: At) {
        if let Some(mapping) = Self::of(event, at) {
            let known = self.live.entry((mapping.client, mapping.page));
            known.and_modify(|known| known.times = known.times.saturating_add(1)).or_insert(mapping);
        }
    }

    pub(super) fn unmap(&mut self, event: &Event, at: At) {
        let Some(mapping) = Self::of(event, at) else {
            return;
        };
        let key = (mapping.client, mapping.page);
        if let Some(known) = self.live.get_mut(&key) {
            known.times -= 1;
            if known.times == 0 {
                self.live.remove(&key);
            }
            return;
        }
        if self.latest_unmatched.len() == MAX_UNMATCHED {
            self.latest_unmatched.pop_front();
        }
        self.latest_unmatched.push_back(mapping);
    }
}
