//! What the rules came to for a dump, as text and as JSON.

mod report;
mod text;

use p2p_trace_model::event::Names;

pub use report::{CheckReport, DumpEnding};
pub(crate) use report::{json, report};
pub(crate) use text::text;

use super::Context;
use crate::run::evaluate::Outcome;

/// What the events of a dump are shown with.
pub(crate) fn context<'a>(outcome: &Outcome, names: &'a Names) -> Context<'a> {
    Context::new(outcome.header.clock, &outcome.header.status, names)
}
