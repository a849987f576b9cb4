//! More references are outstanding than the crash image has room for.

use anyhow::{Context as _, Result, bail, ensure};

use super::{FatalUse, SMALL_RING, checks, die, discard, dump_memory, overwrite, recover};
use crate::scenarios::lab::Lab;
use crate::scenarios::stream::Stream;
use crate::scenarios::{Method, Verdict};

/// References of one page each, in addition to the large one; more than the crash image holds.
const SMALL: u64 = 5000;
/// Allocations at a time: the rings have room for this many.
const BATCH: u64 = 250;
/// Capacity of the crash image in references (docs/post-mortem.md).
const CAP: u64 = 4096;

/// Thousands of small allocations join a large one, and the records of all are overwritten: the holders of
/// the largest references are known, and the output reports that others are missing.
pub(in crate::scenarios) fn many_holders(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let options = format!("{} --ring-size {SMALL_RING}", method.option());
    let mut holder = 0;
    let fatal = die(lab, &options, |lab, trace, allocated| {
        let lines = lab.guest.check(&format!(
            "echo $$; for batch in $(seq {}); do echo hold-many {} 4096 {BATCH} > /dev/p2ptest || exit 1; sleep 0.3; done",
            SMALL / BATCH,
            lab.card
        ))?;
        let pid = lines.first().context("the shell did not print its pid")?;
        holder = pid.parse().with_context(|| format!("invalid pid {pid}"))?;
        overwrite(lab, trace, allocated)
    })?;
    let [core, kdump] = dump_memory(lab)?;
    let recovered = recover(&core, None)?;
    checks::has_fatal_use(&recovered.stream, &fatal, &lab.card)
        .and_then(|()| reports_largest(&recovered.stream, &recovered.messages, &fatal, holder))
        .with_context(|| {
            format!("{}; recover printed: {}", core.display(), recovered.messages.join(" | "))
        })?;
    discard(&[core, kdump])?;
    Ok(Verdict::Passed)
}

/// Expects the holder of the large allocation and of as many small ones as fit, and a message about the
/// omitted rest.
fn reports_largest(stream: &Stream, messages: &[String], fatal: &FatalUse, holder: u32) -> Result<()> {
    let omitted = format!("the {} smallest references have no holder", SMALL + 1 - CAP);
    ensure!(messages.iter().any(|line| line.contains(&omitted)), "the messages lack `{omitted}`");
    let finding = stream
        .findings
        .iter()
        .find(|finding| finding.rule.name() == "removed-before-drained")
        .context("there is no finding of the removal")?;
    let [small, large] = finding.holders.as_slice() else {
        bail!("the finding does not have two holders: {finding:?}")
    };
    ensure!(
        large.tgid == Some(fatal.allocated.pid)
            && large.bytes == fatal.allocated.size
            && large.references == 1,
        "{large:?} is not {fatal:x?}"
    );
    ensure!(
        small.tgid == Some(holder) && small.references == CAP - 1 && small.bytes == (CAP - 1) * 4096,
        "{small:?} does not match the allocations of process {holder} that fit"
    );
    Ok(())
}
