//! The report of a run, for the people who fix the problem: as text for a mail, or as a page.
//!
//! A collector observes a run and keeps the contents of a [`Story`]. The views, [`markdown`] and [`html`], are pure
//! functions of it. The numbers are those of `check --json`: the story contains that report.

mod collect;
mod columns;
mod evidence;
mod facts;
mod html;
mod lanes;
mod markdown;
mod phrase;
#[cfg(test)]
mod samples;
mod sentence;
mod story;
#[cfg(test)]
mod tests;
mod uses;
mod watch;

pub(crate) use collect::{Collector, Subject};
pub(crate) use html::html;
pub(crate) use markdown::markdown;
pub(crate) use story::Story;
