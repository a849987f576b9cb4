//! Real faults: errors of a driver or the kernel with p2p memory, injected by the test module in a guest.
//!
//! The functions of [`injection`] inject them and return the processes and addresses, for comparison with the
//! tracer's output.

mod chunks;
mod exits;
mod frees;
mod injection;
pub(crate) mod post_mortem;
mod race;
mod repeated_races;
mod reporting;
mod stalls;
mod uses;

pub(super) use chunks::{UNRECORDED, dead_chunk, fatal_dead_chunk, racing_allocations};
pub(super) use exits::exit_codes;
pub(super) use frees::{partial_free, put_without_get, wrong_frees};
pub(super) use injection::SIZE;
pub(super) use post_mortem::{allocated_long_ago, kdump, many_holders, post_mortem};
pub(super) use race::race_2018;
pub(super) use repeated_races::late_map_after_races;
pub(super) use reporting::reported_in_time;
pub(super) use stalls::{stalled_by_allocation, stalled_in_driver};
pub(super) use uses::{late_uses, mapped_to_death};
