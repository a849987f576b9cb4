//! kdump-compressed dumps, as makedumpfile, QEMU and diskdump write them: a header with the size of everything else, one
//! with facts, two bitmaps (which pages the machine had, which of them the dump holds), a table with a descriptor for each
//! page that it holds, and the pages, each compressed by itself.

mod codec;
mod header;
mod lzo;
mod pages;

pub(super) use header::MAGIC;
pub(super) use pages::Pages;

/// Says what is wrong with a dump of this format.
fn malformed(what: impl Into<p2p_trace_model::text::Text>) -> super::CoreError {
    super::CoreError::Malformed { format: super::memory::Format::Kdump, what: what.into() }
}
