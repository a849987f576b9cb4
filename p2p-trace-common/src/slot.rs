//! The transport: rings of 128-byte slots, in an mmapable BPF array. Several CPUs may write into one ([`Sharing`]).
//!
//! A producer claims position `p` with an atomic fetch-add on the ring's head. It then claims slot
//! `p % slots` by exchanging its header for `busy(p)`. If a producer that was suspended for a
//! complete lap still owns the slot, or a younger producer already used it, the record is dropped
//! and counted. The producer then writes the record, whose last word repeats the low half of `p`,
//! and finally the header `committed(p)`.
//!
//! A record overwrites the oldest one, so that the array always holds the last `slots` records of
//! each ring and can be carved out of a memory dump. Overwritten records that the reader had not
//! read are lost; the positions say exactly how many. See `docs/adr/0001-transport.md`.

use crate::record::Record;

/// Size of a slot in bytes: header and record. Divides the page size, so that no record straddles a page.
pub const SLOT_SIZE: usize = 128;

/// Set in a slot's header while its record is being written.
pub const BUSY: u64 = 1 << 63;

/// One element of a ring's array.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slot {
    /// [`committed`] or [`busy`] of the position that this slot holds; 0: never written.
    pub header: u64,
    /// The record.
    pub record: Record,
}

/// The header of a slot whose record for `position` is complete.
#[inline(always)]
#[must_use]
pub const fn committed(position: u64) -> u64 {
    position.wrapping_add(1) & !BUSY
}

/// The header of a slot whose record for `position` is being written.
#[inline(always)]
#[must_use]
pub const fn busy(position: u64) -> u64 {
    committed(position) | BUSY
}

/// The last word of a record, which a reader compares with the header.
#[inline(always)]
#[must_use]
pub const fn guard(position: u64) -> u32 {
    position as u32
}

/// The rings of a CPU. Rare records have a ring of their own, where hot events cannot overwrite
/// them.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ring {
    /// Allocations, frees, page frees, maps.
    Hot = 0,
    /// Setup, teardown, uses of removed memory, and their stacks.
    Rare = 1,
}

/// Number of rings that a CPU writes into.
pub const RINGS: usize = 2;

/// Which CPUs write into the same rings. CPUs that share rings also share the numbering of their
/// records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    mask: u32,
}

impl Default for Sharing {
    fn default() -> Self {
        Self::NONE
    }
}

impl Sharing {
    /// Each CPU has rings of its own.
    pub const NONE: Self = Self { mask: u32::MAX };

    /// `cpus` CPUs share `rings` pairs of rings: CPU n and CPU n + `rings` write into the same
    /// pair. Nothing is shared if there are as many rings as CPUs, if `rings` is not a power of
    /// two, or if it is 0.
    #[must_use]
    pub const fn new(rings: u32, cpus: u32) -> Self {
        if rings < cpus && rings.is_power_of_two() { Self { mask: rings - 1 } } else { Self::NONE }
    }

    /// The mask that turns a CPU's number into that of its rings.
    #[must_use]
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// The rings of a CPU, named by the lowest CPU that writes into them.
    #[must_use]
    pub const fn of_cpu(self, cpu: u32) -> u32 {
        cpu & self.mask
    }

    /// Number of pairs of rings if CPUs share them, else 0: the argument of [`Sharing::new`].
    #[must_use]
    pub const fn shared(self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// Number of pairs of rings that `cpus` CPUs have.
    #[must_use]
    pub const fn rings(self, cpus: u32) -> u32 {
        if cpus <= self.mask { cpus } else { self.mask + 1 }
    }
}

impl Ring {
    /// Both rings.
    pub const ALL: [Self; RINGS] = [Self::Hot, Self::Rare];

    /// The sequence number of the record at `position`: unique per run and CPU over both rings,
    /// since hot records are even and rare ones odd. The numbers of one CPU have gaps where it
    /// shares a ring with others.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(self, position: u64) -> u64 {
        position << 1 | self as u64
    }

    /// The ring and position of a sequence number.
    #[must_use]
    pub const fn of_sequence(sequence: u64) -> (Self, u64) {
        let ring = if sequence & 1 == 0 { Self::Hot } else { Self::Rare };
        (ring, sequence >> 1)
    }
}

const _: () = {
    assert!(size_of::<Slot>() == SLOT_SIZE);
    assert!(4096 % SLOT_SIZE == 0);
    assert!(core::mem::offset_of!(Slot, record) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_encodes_position_and_completeness() {
        assert_eq!(committed(0), 1);
        assert_eq!(busy(0), BUSY | 1);
        assert_ne!(committed(7), committed(8));
        assert_eq!(busy(7) & !BUSY, committed(7));
    }

    #[test]
    fn cpus_share_rings_when_rings_are_fewer() {
        let shared = Sharing::new(4, 6);
        assert_eq!([0, 3, 4, 5].map(|cpu| shared.of_cpu(cpu)), [0, 3, 0, 1]);
        assert_eq!((shared.mask(), shared.shared(), shared.rings(6), shared.rings(2)), (3, 4, 4, 2));
        assert_eq!(Sharing::NONE.shared(), 0);
        for rings in [0, 3, 6, 8] {
            assert_eq!(Sharing::new(rings, 6), Sharing::NONE, "{rings}");
        }
        assert_eq!((Sharing::NONE.of_cpu(1023), Sharing::NONE.rings(1024)), (1023, 1024));
    }

    #[test]
    fn sequences_of_the_two_rings_never_collide() {
        for position in [0, 1, 2, 1 << 40] {
            for ring in Ring::ALL {
                assert_eq!(Ring::of_sequence(ring.sequence(position)), (ring, position));
            }
        }
        assert_ne!(Ring::Hot.sequence(3), Ring::Rare.sequence(3));
    }
}
