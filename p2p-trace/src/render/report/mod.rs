//! What a run came to, for whoever has to mend it: a report that can be pasted into a mail, or read as a page.
//!
//! A collector listens to a run and keeps what a [`Story`] tells. The views, [`markdown`] and [`html`], are pure
//! functions of it. The figures are those of `check --json`: the story carries that report.

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
