//! Phrases common to several views.

use std::fmt;

use p2p_trace_model::{accounting::RingSizes, event::Range, state::RangeId, units::bytes};

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

/// Replaces the pool's counts if a driver bypasses the pool, because its outstanding memory is unknown.
pub(crate) const BYPASSED: &str = "allocated by the driver itself";

/// `3 references`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// `18 MiB: 2 of 8 MiB for frequent events, 2 of 1 MiB for teardowns`.
pub(crate) fn rings(sizes: &RingSizes, cpus: u32) -> String {
    let RingSizes { hot, rare, count } = *sizes;
    let [hot, rare] = [hot, rare].map(bytes);
    if count == 0 {
        return format!("{hot} hot, {rare} rare per CPU");
    }
    let total = bytes(sizes.total());
    let shared = if count < cpus { format!(", shared by {cpus} CPUs") } else { String::new() };
    format!("{total}: {count} of {hot} for frequent events, {count} of {rare} for teardowns{shared}")
}

/// The physical addresses of a range, or its pgmap.
pub(crate) fn range(id: RangeId, physical: Option<Range>) -> String {
    physical.map_or_else(
        || format!("pgmap {:#x}", id.pgmap),
        |physical| format!("{:#x}-{:#x}", physical.start, physical.end),
    )
}

/// The counts of a hook in one line: hits, delivered, lost. Runs that the kernel skipped are not hits, and count as
/// lost.
pub(crate) fn account(name: &str, [hits, delivered, lost]: [u64; 3], skipped: Option<u64>) -> String {
    let skipped = skipped.unwrap_or_default();
    let all = lost.saturating_add(skipped);
    let of_these = if skipped > 0 { format!(" ({skipped} skipped by the kernel)") } else { String::new() };
    format!("{name}: {hits} hits, {delivered} delivered, {all} lost{of_these}")
}
