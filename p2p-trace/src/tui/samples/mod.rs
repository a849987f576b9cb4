//! Sample runs for tests of the dashboard.

mod runs;
mod story;

pub(super) use runs::{blocked, busy, bypassed, empty, million, stalled, wrong};
pub(super) use story::{CODE, Story, header, status};

pub(super) use p2p_trace_model::testing::samples::{CLOCK, SECOND, code};
