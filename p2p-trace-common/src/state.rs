//! What is said of a range: what state its reference is in, in `small` of a record of kind `range_state` and in `number` of one of
//! kind `remove`. [`POOLED`] and [`BYPASSED`] are in `small` of a `kill`, too, and of what opens a teardown, where the lowest bit is
//! that memory is out.

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

/// The range's `dev_pagemap` has p2pdma's own operations: what is out of it is what the pool counts.
pub const POOLED: u16 = 1 << 4;
/// It has others: the driver hands out the pages itself, and the pool counts nothing of that. With neither bit it is not
/// known.
pub const BYPASSED: u16 = 1 << 5;

/// Where in `small` the number of the chunk begins; chunks are counted in the order in which the pool tries
/// them, the newest first.
pub const CHUNK_SHIFT: u32 = 8;
