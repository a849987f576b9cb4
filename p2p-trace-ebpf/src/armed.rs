//! The table of ranges that the armed hooks compare with: see `p2p_trace_common::armed`.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{macros::map, maps::Array};
use p2p_trace_common::armed::{ArmedRange, ArmedTable, MAX_ARMED, stage};

use crate::{device::Address, memory, ring::MMAPABLE};

#[map]
static ARMED: Array<ArmedTable> = Array::with_max_entries(1, MMAPABLE);

/// Reads one field, which user space may change at any time.
macro_rules! field {
    ($pointer:expr, $field:ident) => {
        // SAFETY: the pointer is to a map value of this type.
        unsafe { read_volatile(&raw const (*$pointer).$field) }
    };
}

/// The address to look up in the ranges.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    Page(u64),
    Physical(u64),
}

impl Target {
    #[inline(always)]
    fn is_of(self, range: *const ArmedRange) -> bool {
        match self {
            Self::Page(page) => field!(range, page_start) <= page && page < field!(range, page_end),
            Self::Physical(address) => field!(range, start) <= address && address < field!(range, end),
        }
    }
}

/// A range found in the table.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) device: u64,
    pub(crate) pgmap: u64,
    /// Physical address one past the last byte.
    pub(crate) end: u64,
    /// Its pages were removed.
    pub(crate) removed: bool,
}

impl Found {
    /// Placeholder for no range.
    pub(crate) const NONE: Self = Self { device: 0, pgmap: 0, end: 0, removed: false };
}

/// The table.
#[derive(Clone, Copy)]
pub(crate) struct Table(*mut ArmedTable);

impl Table {
    #[inline(always)]
    pub(crate) fn get() -> Option<Self> {
        ARMED.get_ptr_mut(0).map(Self)
    }

    /// False if the address is certainly in no range, which holds for nearly all mapped memory.
    #[inline(always)]
    pub(crate) fn may_hold(self, target: Target) -> bool {
        match target {
            Target::Page(page) => field!(self.0, page_start) <= page && page < field!(self.0, page_end),
            Target::Physical(address) => field!(self.0, start) <= address && address < field!(self.0, end),
        }
    }

    #[inline(always)]
    fn place(self, index: usize) -> *mut ArmedRange {
        // SAFETY: callers pass an index below the number of entries.
        unsafe { (&raw mut (*self.0).ranges).cast::<ArmedRange>().add(index) }
    }

    /// True if the address is in some range.
    #[inline(always)]
    pub(crate) fn holds(self, target: Target) -> bool {
        self.may_hold(target) && place_of(target) < MAX_ARMED
    }

    /// The range that contains the address. A range whose entry is being written counts as absent.
    #[inline(always)]
    pub(crate) fn find(self, target: Target) -> Option<Found> {
        // The verifier treats an argument of the traced function as a pointer, which no global
        // function accepts.
        let target = match target {
            Target::Page(page) => Target::Page(memory::number(page)),
            Target::Physical(_) => target,
        };
        let index = place_of(target);
        if index >= MAX_ARMED {
            return None;
        }
        let range = self.place(index);
        let generation = field!(range, generation);
        let is_of = target.is_of(range);
        let found = Found {
            device: field!(range, device),
            pgmap: field!(range, pgmap),
            end: field!(range, end),
            removed: field!(range, stage) >= stage::REMOVED,
        };
        let is_whole = generation & 1 == 0 && field!(range, generation) == generation;
        (is_of && is_whole).then_some(found)
    }
}

/// Index of the first entry that contains the address; [`MAX_ARMED`] if none does.
#[inline(always)]
fn place_of(target: Target) -> usize {
    match target {
        Target::Page(page) => place_of_page(page) as usize,
        Target::Physical(address) => place_of_physical(address) as usize,
    }
}

/// As [`place_of`]. A global function, so that the verifier follows its loop once, not for every
/// entry of a scatter list.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_of_page(page: u64) -> u64 {
    first_place(Target::Page(page))
}

/// As [`place_of_page`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_of_physical(address: u64) -> u64 {
    first_place(Target::Physical(address))
}

#[inline(always)]
fn first_place(target: Target) -> u64 {
    let none = MAX_ARMED as u64;
    let Some(table) = Table::get() else { return none };
    let used = field!(table.0, used);
    let mut index = 0;
    while index < MAX_ARMED {
        if index as u64 >= used {
            return none;
        }
        if target.is_of(table.place(index)) {
            return index as u64;
        }
        index += 1;
    }
    none
}

/// Raises the stage of a range. False if it is not in the table.
#[inline(always)]
pub(crate) fn advance(pgmap: u64, to: u64) -> bool {
    let Some(table) = Table::get() else { return false };
    let used = field!(table.0, used);
    let mut index = 0;
    while index < MAX_ARMED {
        if index as u64 >= used {
            return false;
        }
        let range = table.place(index);
        if field!(range, pgmap) == pgmap && field!(range, end) != 0 {
            raise(range, to);
            return true;
        }
        index += 1;
    }
    false
}

#[inline(always)]
fn raise(range: *mut ArmedRange, to: u64) {
    if field!(range, stage) < to {
        // SAFETY: the pointer is to a map value of this type.
        unsafe { write_volatile(&raw mut (*range).stage, to) }
    }
}

/// Raises the stage of all ranges of a device.
#[inline(always)]
pub(crate) fn advance_device(device: Address, to: u64) {
    let Some(table) = Table::get() else { return };
    let used = field!(table.0, used);
    let mut index = 0;
    while index < MAX_ARMED {
        if index as u64 >= used {
            return;
        }
        let range = table.place(index);
        if field!(range, device) == device.0 {
            raise(range, to);
        }
        index += 1;
    }
}

/// The pgmap of a range of this device that is gone while the pool still points to it.
#[inline(always)]
pub(crate) fn dead_chunk(device: Address) -> Option<u64> {
    let table = Table::get()?;
    let used = field!(table.0, used);
    let mut index = 0;
    while index < MAX_ARMED {
        if index as u64 >= used {
            return None;
        }
        let range = table.place(index);
        if field!(range, device) == device.0 && field!(range, stage) == stage::UNMAPPED {
            return Some(field!(range, pgmap));
        }
        index += 1;
    }
    None
}
