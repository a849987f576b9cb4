//! Times and sizes as they are written.

mod clock;
mod size;

pub use clock::Clock;
pub use size::{bytes, duration};
