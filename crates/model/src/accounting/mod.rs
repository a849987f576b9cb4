//! Compares what the kernel counted with what was delivered, per hook.
//!
//! There are two independent counts. The kernel counts hits per hook, and the positions of the rings count
//! records. Both must agree; where they do not, the accounting reports it instead of choosing one.

mod status;
mod tally;
#[cfg(test)]
mod tally_tests;
mod totals;

pub use status::{
    Accounting, Device, HookState, HookStatus, MissedQuality, RingSizes, SequenceQuality, Status,
};
pub use tally::{HookTally, Outcome, Tally};
pub use totals::{Position, Shortfalls, Totals};
