//! What the tests of several modules share: a simulated kernel, and what they show it with.

pub(crate) mod judging;
pub(crate) mod samples;
pub(crate) mod simulate;
pub(crate) mod status;
