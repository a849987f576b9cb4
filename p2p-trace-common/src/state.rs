//! State of a range's reference: bits in `small` of a record of kind `range_state` and in `number`
//! of one of kind `remove`. [`POOLED`] and [`BYPASSED`] are also in `small` of a `kill` and of the
//! records that open a teardown; there the lowest bit says that memory is allocated.

/// One atomic counter holds the reference count, so that the count is the kernel's own total.
/// Otherwise the count is a sum over per-CPU counters that may have been changing.
pub const ATOMIC: u16 = 1 << 0;
/// The reference was killed: `percpu_ref_kill` has run, and the range takes no new references.
pub const DEAD: u16 = 1 << 1;
/// The reference was shut down (`percpu_ref_exit`): the range is being removed or is gone. The only
/// count is the one that this call left behind.
pub const EXITED: u16 = 1 << 2;
/// The owner of the pool's chunk is no longer a range of this device: its `dev_pagemap` was freed
/// while the pool still points to it. Neither the pgmap nor the count is known.
pub const FREED: u16 = 1 << 3;

/// The range's `dev_pagemap` has p2pdma's own operations: the pool counts all of its allocated
/// memory.
pub const POOLED: u16 = 1 << 4;
/// The `dev_pagemap` has other operations: the driver allocates the pages itself, and the pool
/// counts none of them. Neither bit set means not known.
pub const BYPASSED: u16 = 1 << 5;

/// Lowest bit of the chunk's number in `small`. Chunks are numbered in the order in which the pool
/// tries them, the newest first.
pub const CHUNK_SHIFT: u32 = 8;
