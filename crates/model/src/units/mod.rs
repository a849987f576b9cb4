//! Formats times and sizes.

mod clock;
mod size;

pub use clock::Clock;
pub use size::{bytes, duration};
