//! The stream of records: delivered in batches, put into the order of time, put together to elements.

pub mod assemble;
mod batch;
mod diagnostic;
pub mod order;

pub use batch::Batch;
pub use diagnostic::{Diagnostic, Level};

/// How far clocks of two CPUs may be apart. The kernel side reads `ktime_get_boot_fast_ns`, which may step
/// by the error that a clock update corrects (`kernel/time/timekeeping.c`: at most some microseconds).
pub const CLOCK_SLACK_NS: u64 = 100_000;
