//! What several views say in the same words.

use std::fmt;

use p2p_trace_model::{event::Range, state::RangeId};

use super::Frame;

/// The symbol, else the address.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.symbol {
            Some(symbol) => f.write_str(symbol),
            None => write!(f, "{:#x}", self.addr),
        }
    }
}

/// `3 references`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Physical addresses, or what else names a range.
pub(crate) fn range(id: RangeId, physical: Option<Range>) -> String {
    physical.map_or_else(
        || format!("pgmap {:#x}", id.pgmap),
        |physical| format!("{:#x}-{:#x}", physical.start, physical.end),
    )
}
