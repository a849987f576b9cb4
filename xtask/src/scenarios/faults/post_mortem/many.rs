//! More is out than the kernel's memory has room to tell of.

use anyhow::{Context as _, Result, bail, ensure};

use super::{Guilty, SMALL_RING, die, discard, dump_memory, judge, overwrite, recover};
use crate::scenarios::lab::Lab;
use crate::scenarios::stream::Stream;
use crate::scenarios::{Method, Verdict};

/// References of a page each, beside the large one; more than are told.
const SMALL: u64 = 5000;
/// How many are taken at a time: the rings have room for so many.
const BATCH: u64 = 250;
/// How many references are told (docs/post-mortem.md).
const CAP: u64 = 4096;

/// Thousands of small pieces are taken beside a large one, and what was recorded of that is overwritten: of the largest it is known
/// who took them, and that others are missing is said.
pub(in crate::scenarios) fn taken_by_many(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let options = format!("{} --ring-size {SMALL_RING}", method.option());
    let mut holder = 0;
    let guilty = die(lab, &options, |lab, trace, allocated| {
        let lines = lab.guest.check(&format!(
            "echo $$; for batch in $(seq {}); do echo hold-many {} 4096 {BATCH} > /dev/p2ptest || exit 1; sleep 0.3; done",
            SMALL / BATCH,
            lab.card
        ))?;
        let pid = lines.first().context("the shell did not say who it is")?;
        holder = pid.parse().with_context(|| format!("{pid} is no pid"))?;
        overwrite(lab, trace, allocated)
    })?;
    let [core, kdump] = dump_memory(lab)?;
    let recovered = recover(&core, None)?;
    judge::guilty(&recovered.stream, &guilty, &lab.card)
        .and_then(|()| largest_are_told(&recovered.stream, &recovered.said, &guilty, holder))
        .with_context(|| format!("{}; it said: {}", core.display(), recovered.said.join(" | ")))?;
    discard(&[core, kdump])?;
    Ok(Verdict::Passed)
}

/// Expects the large piece and as many of the small ones as there is room for, each of whoever took it, and the rest as left out.
fn largest_are_told(stream: &Stream, said: &[String], guilty: &Guilty, holder: u32) -> Result<()> {
    let omitted = format!("the {} smallest references are there without who took them", SMALL + 1 - CAP);
    ensure!(said.iter().any(|line| line.contains(&omitted)), "it is not said that {omitted}");
    let finding = stream
        .findings
        .iter()
        .find(|finding| finding.rule.name() == "removed-before-drained")
        .context("there is no finding of the removal")?;
    let [small, large] = finding.holders.as_slice() else {
        bail!("the finding has not two takers: {finding:?}")
    };
    ensure!(
        large.tgid == Some(guilty.allocated.pid)
            && large.bytes == guilty.allocated.size
            && large.references == 1,
        "{large:?} is not {guilty:x?}"
    );
    ensure!(
        small.tgid == Some(holder) && small.references == CAP - 1 && small.bytes == (CAP - 1) * 4096,
        "{small:?} is not what process {holder} took, as far as there is room for it"
    );
    Ok(())
}
