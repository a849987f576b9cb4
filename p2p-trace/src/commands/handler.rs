//! Answers to `p2p-trace holders` while this process traces.

#[cfg(feature = "trace")]
pub(super) use crate::serve::handler;

/// A build that cannot trace has no answers.
#[cfg(not(feature = "trace"))]
pub(super) const fn handler(
    _opened: &crate::run::Opened,
    _devices: &[String],
    _start: &p2p_trace_model::units::Clock,
) -> Option<Box<dyn crate::run::Answer>> {
    None
}
