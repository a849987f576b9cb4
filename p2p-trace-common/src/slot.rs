//! The transport: one ring of 128-byte slots per CPU, in an mmapable BPF array.
//!
//! A producer claims position `p` with an atomic fetch-add on the CPU's head, then slot `p % slots` by
//! exchanging its header for `busy(p)`; where a producer that was suspended for a whole lap still has it, or
//! a younger one has had it, the record is dropped and counted. It writes the record, whose last word
//! repeats the low half of `p`, and the header `committed(p)`. It overwrites the oldest record, so that the
//! array always holds the last `slots` records of each CPU and can be carved out of a memory dump; what the
//! reader had not read by then is lost, and the positions say exactly how much. See
//! `docs/adr/0001-transport.md`.

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

/// The rings. Rare records have one of their own, which hot events cannot overwrite.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ring {
    /// Allocations, frees, page frees, maps.
    Hot = 0,
    /// Set-up, teardown, uses of removed memory, and their stacks.
    Rare = 1,
}

/// Number of rings per CPU.
pub const RINGS: usize = 2;

impl Ring {
    /// Both rings.
    pub const ALL: [Self; RINGS] = [Self::Hot, Self::Rare];

    /// The sequence number of the record at `position`: unique per run and CPU over both rings, since hot
    /// records are even and rare ones odd.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(self, position: u64) -> u64 {
        position << 1 | self as u64
    }

    /// The ring and position that a sequence number stands for.
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
    fn a_header_names_its_position_and_whether_it_is_complete() {
        assert_eq!(committed(0), 1);
        assert_eq!(busy(0), BUSY | 1);
        assert_ne!(committed(7), committed(8));
        assert_eq!(busy(7) & !BUSY, committed(7));
    }

    #[test]
    fn sequences_of_the_two_rings_never_meet() {
        for position in [0, 1, 2, 1 << 40] {
            for ring in Ring::ALL {
                assert_eq!(Ring::of_sequence(ring.sequence(position)), (ring, position));
            }
        }
        assert_ne!(Ring::Hot.sequence(3), Ring::Rare.sequence(3));
    }
}
