//! kdump-compressed dumps, as makedumpfile, QEMU and diskdump write them: a header with the size of
//! everything else, one with facts, two bitmaps (the pages of the machine, and those in the dump), a table
//! with a descriptor for each page in the dump, and the pages, each compressed separately.

mod codec;
mod header;
mod lzo;
mod pages;

pub(super) use header::MAGIC;
pub(super) use pages::Pages;

/// An error about a dump of this format.
fn malformed(problem: impl Into<p2p_trace_model::text::Text>) -> super::CoreError {
    super::CoreError::Malformed { format: super::memory::Format::Kdump, problem: problem.into() }
}
