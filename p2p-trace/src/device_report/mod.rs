//! The allocated memory of a device, its holders, and what an unbind would wait for.
//!
//! Who *allocated* memory is observed. Who uses or pins it now is not, and no report claims so: a task found by other
//! means (mappings, stacks) is a candidate, with the reason why.

#![forbid(unsafe_code)]

mod build;
#[cfg(test)]
mod build_tests;
mod candidate;
mod candidates;
mod holders;
mod host;
mod report;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod tests;
mod unbind;
mod verdict;

pub(crate) use build::{Facts, report};
pub(crate) use host::Host;
pub use report::{
    Answer, CanUnbind, Candidate, DeviceReport, Holder, LifeCycle, Preexisting, RangeReport, RangeState,
    References, Report, Residual, RunReport, Source, StepFrom, StepLine, TaskLine, UnbindReport, Why,
};
#[cfg(feature = "tui")]
pub(crate) use unbind::is_blocking;
pub(crate) use unbind::step_after;
pub(crate) use verdict::SECOND_LOOK;
