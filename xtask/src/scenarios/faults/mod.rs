//! Faults for real: what a driver or the kernel does wrong with p2p memory, done by the test module in a guest.
//!
//! The functions of [`injection`] commit them and tell what was done, by whom and where, for comparison with what the
//! tracer makes of it.

mod chunks;
mod exits;
mod frees;
mod injection;
pub(crate) mod post_mortem;
mod race;
mod stalls;
mod told;
mod uses;
mod worn;

pub(super) use chunks::{UNRECORDED, dead_chunk, fatal_dead_chunk, racing_allocations};
pub(super) use exits::exit_codes;
pub(super) use frees::{partial_free, put_without_get, wrong_frees};
pub(super) use injection::SIZE;
pub(super) use post_mortem::{kdump, post_mortem, taken_by_many, taken_long_ago};
pub(super) use race::race_2018;
pub(super) use stalls::{stalled_by_allocation, stalled_in_driver};
pub(super) use told::told_in_time;
pub(super) use uses::{late_uses, mapped_to_death};
pub(super) use worn::late_map_after_races;
