//! Who answers `p2p-trace holders` while this process traces.

#[cfg(feature = "trace")]
mod desk;

use p2p_trace_model::units::Clock;

use crate::drive::{Answer, Opened};

/// Whoever answers questions about a session that is limited to `devices` (none: all), if that is possible: a tracer goes on
/// without.
#[cfg(feature = "trace")]
pub(super) fn answering(opened: &Opened, devices: &[String], start: &Clock) -> Option<Box<dyn Answer>> {
    let limits = desk::Limits::of_host(devices);
    match desk::Answering::open(limits, opened.session.status().kernel, start) {
        Ok(answering) => Some(Box::new(answering)),
        Err(error) => {
            tracing::info!("`p2p-trace holders` cannot ask this tracer: {error}");
            None
        }
    }
}

/// Nobody.
#[cfg(not(feature = "trace"))]
pub(super) const fn answering(
    _opened: &Opened,
    _devices: &[String],
    _start: &Clock,
) -> Option<Box<dyn Answer>> {
    None
}
