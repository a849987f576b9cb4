//! `leaked-reference`: a killed range has a reference that only a failed user mapping of it explains. Before 6220694c52a5
//! `p2pmem_alloc_mmap` keeps its own reference to the range when `vm_insert_page` fails, and the unbind never ends.

use super::{
    context::blank,
    finding::Finding,
    findings::Findings,
    rule::RuleId,
    surplus::{Reading, Surplus},
    words,
};
use crate::{holders::Holders, state::FailedMmap};

const RULE: RuleId = RuleId::LeakedReference;
const ADVICE: &str = "This reference cannot be dropped: the unbind waits until the machine is restarted. Use a kernel with \
                      6220694c52a5, whose p2pmem_alloc_mmap drops it. If this kernel has that commit, the reference came \
                      from elsewhere: see unexplained-reference.";
/// The most failed calls that a finding shows.
const MAX_SHOWN: usize = 8;

/// Creates this rule.
pub(super) fn rule() -> Surplus {
    Surplus::of(RULE, share, make)
}

/// At most one reference per failed call.
fn share(reading: &Reading<'_>, _: &mut Findings) -> u64 {
    let failed = reading.range.failed_mmaps.iter().len() as u64;
    reading.least.min(failed)
}

fn make(reading: &Reading<'_>, share: u64) -> Finding {
    let &Reading { device, range, ref accounted, .. } = reading;
    let address = device.address();
    let held = Holders::of(device, Some(range.id));
    let known = words::counted(held.references, "reference");
    let failed: Vec<&FailedMmap> = range.failed_mmaps.iter().collect();
    let calls = failed.last().map_or_else(String::new, |last| {
        let task = words::task(last.task.as_ref());
        let age = words::between(last.at.time_ns, accounted.at.time_ns);
        let often = match failed.len() {
            1 => String::new(),
            all => format!(" {all} times, the last"),
        };
        format!("as it did{often} for {task} {age} before ({})", last.error)
    });
    let message = format!(
        "the kernel counts {} of {}, of which known allocations and mappings explain {known}: {share} more fits a kernel \
         without 6220694c52a5, which keeps a reference when p2pmem_alloc_mmap fails while inserting pages, {calls}",
        words::counted(accounted.residual, "reference"),
        words::range(range, address),
    );
    let shown = failed.iter().take(MAX_SHOWN).map(|failed| Some(failed.at));
    blank(RULE, address, accounted.at, message, ADVICE)
        .about(range)
        .shown_by(shown.chain([range.steps.killed]))
        .held_by(held)
}
