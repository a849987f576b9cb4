//! The dashboard: who took p2p memory, what a teardown waits for, what was found, live or from a dump.
//!
//! One thread takes the stream in and publishes a snapshot at a fixed rate; another one draws the
//! latest and reads keys. Neither waits for the other. What is drawn follows from the state alone.

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
#[expect(dead_code, reason = "the tests of the program need more of it")]
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
pub(crate) use run::beside;
pub(crate) use terminal::obstacle;
#[cfg(test)]
pub(crate) use tests::every_screen;
pub(crate) use theme::Theme;
#[cfg(test)]
pub(crate) use view_model::Level;
