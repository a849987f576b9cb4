//! DMA mappings by another device, as on kernels with functions for both map and unmap.

use p2p_trace_common::{Hook, Kind};

use super::{Kernel, Token, struct_page};
use crate::event::DeviceAddress;

/// The mapping device.
pub(super) const CLIENT: DeviceAddress = DeviceAddress::from_devfn(0, 9, 0);

impl Kernel {
    /// `pci_p2pdma_map_sg_attrs`, for memory that is not mapped yet.
    pub fn map(&mut self, token: Token, pid: u32) {
        let Some(held) = self.outstanding.get_mut(&token).filter(|held| !held.mapped) else {
            return;
        };
        held.mapped = true;
        self.map_event(token, Kind::Map, Hook::MapSg, pid);
    }

    /// `pci_p2pdma_unmap_sg_attrs`.
    pub fn unmap(&mut self, token: Token, pid: u32) {
        self.map_event(token, Kind::Unmap, Hook::UnmapSg, pid);
        if let Some(held) = self.outstanding.get_mut(&token) {
            held.mapped = false;
        }
    }

    /// The device, first address, and pgmap of outstanding memory.
    pub fn place_of(&self, token: Token) -> (usize, u64, u64) {
        let held = &self.outstanding[&token];
        let mut ranges = self.devices[held.device].ranges.iter();
        let range = ranges.find(|range| range.contains(held.pages[0])).unwrap();
        (held.device, held.pages[0], range.pgmap)
    }

    fn map_event(&mut self, token: Token, kind: Kind, hook: Hook, pid: u32) {
        let (device, addr, pgmap) = self.place_of(token);
        self.event(device, kind, hook, pid, |event| {
            event.page = Some(struct_page(addr));
            event.pgmap = Some(pgmap);
            event.client = Some(CLIENT);
            event.count = Some(1);
        });
    }
}
