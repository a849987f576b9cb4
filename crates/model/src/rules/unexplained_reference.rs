//! `unexplained-reference`: the kernel counts more references to a killed range than the allocations and mappings that were
//! seen explain. Such a reference to the range itself (`get_dev_pagemap`) or to a page was acquired bypassing the allocator.

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
const ADVICE: &str = "No allocation that was seen explains it. Look for code that acquires references to pages or ranges: O_DIRECT or \
                      RDMA that pins pages (pin_user_pages), get_dev_pagemap without put_dev_pagemap, a page passed to another \
                      user. `p2p-trace holders` lists candidates. If the trace began after the range was added, a user mapping \
                      that failed before the trace may have kept a reference (see leaked-reference).";
/// Why the coverage of the rule is partial.
const OF_MMAPS: &str = "failed user mappings may have kept the remaining references: see leaked-reference";

/// Creates this rule.
pub(super) fn rule() -> Surplus {
    Surplus::of(RULE, share, make)
}

/// The references that failed user mappings do not explain.
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
        failed => format!(", and {} failed", words::counted(failed, "user mapping")),
    };
    let message = format!(
        "the kernel counts {} of {}, of which known allocations and mappings explain {known}{failed}: at least {share} came \
         from elsewhere, such as get_dev_pagemap or a pinned page",
        words::counted(accounted.residual, "reference"),
        words::range(range, address),
    );
    blank(RULE, address, accounted.at, message, ADVICE)
        .about(range)
        .shown_by([range.steps.killed])
        .held_by(held)
}
