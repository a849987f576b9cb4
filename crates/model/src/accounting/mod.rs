//! How much of what happened was delivered: what the kernel counted against what arrived, per hook.
//!
//! There are two witnesses. The kernel counts hits per hook, and the positions of the rings count records.
//! Both must tell the same; where they do not, the accounting says so instead of choosing one.

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
