//! The dashboard: holders of p2p memory, teardowns and their steps, and findings, live or from a dump.
//!
//! One thread processes the stream and publishes a view model at a fixed rate; another thread draws the latest view model
//! and reads keys. Neither waits for the other. The drawn screen depends on the state alone.

mod detail;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod history;
mod keymap;
mod lists;
mod live;
mod measure;
mod order;
mod replay;
mod run;
#[cfg(test)]
mod samples;
mod shared;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "../../tests/terminal/shell.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod shell;
mod state;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;
mod time;
mod typing;
mod view_model;
mod views;

pub(crate) use live::Dashboard;
#[doc(hidden)]
pub use measure::Measured;
pub(crate) use replay::Replay;
pub(crate) use run::run_with_dashboard;
pub(crate) use terminal::obstacle;
#[cfg(test)]
pub(crate) use tests::every_screen;
pub(crate) use theme::Theme;
#[cfg(test)]
pub(crate) use view_model::Level;
