//! The results of the rules for a dump, as text and as JSON.

mod report;
mod text;

use p2p_trace_model::event::Names;

pub use report::{CheckReport, DumpEnding};
pub(crate) use report::{json, report};
pub(crate) use text::text;

use super::Context;
use crate::run::evaluate::Outcome;

/// The context for the events of a dump.
pub(crate) fn context<'a>(outcome: &Outcome, names: &'a Names) -> Context<'a> {
    Context::new(outcome.header.clock, &outcome.header.status, names)
}
