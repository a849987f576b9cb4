//! The stream of records: delivered in batches, sorted by time, and assembled into elements.

pub mod assemble;
mod batch;
mod diagnostic;
pub mod order;

pub use batch::Batch;
pub use diagnostic::{Diagnostic, Level};

/// The maximum difference between the clocks of two CPUs. The kernel side reads `ktime_get_boot_fast_ns`,
/// which may step by the error that a clock update corrects (`kernel/time/timekeeping.c`: at most a few
/// microseconds).
pub const CLOCK_SLACK_NS: u64 = 100_000;
