//! Applies batches to a model.

use p2p_trace_model::{
    state::Model,
    stream::{Batch, assemble::Assembler, order::Order},
};

/// A model that is kept up to date with a session.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) model: Model,
    order: Order,
    assembler: Assembler,
    /// Everything up to this time has been applied.
    pub(super) reached_ns: u64,
}

impl Follower {
    /// Applies the records that the batch completes.
    pub(super) fn take(&mut self, batch: &Batch) {
        let Self { model, order, assembler, reached_ns } = self;
        order.release(batch, |item| {
            assembler.push(&item, |element| model.apply(element));
        });
        assembler.advance(batch.watermark_ns, |element| model.apply(element));
        *reached_ns = batch.watermark_ns;
    }
}
