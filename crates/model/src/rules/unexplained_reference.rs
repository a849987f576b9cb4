//! `unexplained-reference`: the kernel counts more references of a killed range than the allocations and mappings that were
//! seen explain. Somebody took one of the range itself (`get_dev_pagemap`) or of a page, behind the allocator.

use super::{
    context::blank,
    finding::Finding,
    findings::Findings,
    rule::RuleId,
    surplus::{Reading, Surplus},
    words,
};
use crate::holders::Holders;

const RULE: RuleId = RuleId::UnexplainedReference;
const ADVICE: &str = "No allocation that was seen is behind it. Look for who takes references of pages or ranges: O_DIRECT or RDMA \
                      that pins pages (pin_user_pages), get_dev_pagemap without put_dev_pagemap, a page passed on. \
                      `p2p-trace holders` lists candidates. If the trace began later than the range was added: a user mapping \
                      that failed before can have kept one (see leaked-reference).";
/// Why it holds in part.
const OF_MMAPS: &str = "what is left over may be kept by user mappings that failed: see leaked-reference";

/// The check of this rule.
pub(super) fn check() -> Surplus {
    Surplus::of(RULE, share, make)
}

/// What user mappings that failed do not explain.
fn share(reading: &Reading<'_>, findings: &mut Findings) -> u64 {
    let Some(kept) = reading.range.failed_mmaps.most_kept() else {
        return 0;
    };
    if kept > 0 {
        findings.remark(RULE, reading.device.address(), OF_MMAPS);
    }
    reading.least.saturating_sub(kept)
}

fn make(reading: &Reading<'_>, share: u64) -> Finding {
    let &Reading { device, range, ref accounted, .. } = reading;
    let address = device.address();
    let held = Holders::of(device, Some(range.id));
    let known = words::counted(held.references, "reference");
    let failed = match range.failed_mmaps.iter().len() as u64 {
        0 => String::new(),
        failed => format!(", and {} that failed", words::counted(failed, "user mapping")),
    };
    let message = format!(
        "the kernel counts {} of {}, of which the allocations and mappings that are known explain {known}{failed}: at least \
         {share} came from elsewhere, as by get_dev_pagemap or a pinned page",
        words::counted(accounted.residual, "reference"),
        words::range(range, address),
    );
    blank(RULE, address, accounted.at, message, ADVICE)
        .about(range)
        .shown_by([range.steps.killed])
        .held_by(held)
}
