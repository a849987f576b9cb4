//! What state a range's reference is in: in `small` of a record of kind `range_state`, in `number` of one of kind `remove`.

/// The reference is counted by one atomic counter, so that the count is the kernel's own total. Else it is
/// a sum over per-CPU counters that may have been moving.
pub const ATOMIC: u16 = 1 << 0;
/// The reference was killed: `percpu_ref_kill` has run, the range takes no new references.
pub const DEAD: u16 = 1 << 1;
/// The reference was given up (`percpu_ref_exit`): the range is being removed, or is gone. There is no count but what that left
/// of it.
pub const EXITED: u16 = 1 << 2;
/// What the chunk of the pool belongs to is not a range of this device any more: its `dev_pagemap` was freed
/// while the pool still points to it. Neither pgmap nor count are known.
pub const FREED: u16 = 1 << 3;

/// Where in `small` the number of the chunk begins; chunks are counted in the order in which the pool tries
/// them, the newest first.
pub const CHUNK_SHIFT: u32 = 8;
