//! The numbers of the records, and the reported losses: each record is shown or lost.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use p2p_trace_common::Ring;

use super::{LostLine, Stream};
use crate::scenarios::product::Reason;

/// The CPU of records that user space wrote.
const USER: u32 = u32::MAX;

impl Stream {
    /// Checks that each number of each hot ring occurs exactly once: shown as an event or reported as lost.
    /// (Numbers of the hot ring are even; those of the rare one are odd and partly used by stacks, which are
    /// shown with their events.)
    pub(super) fn check_numbers(&self) -> Result<()> {
        let mut numbers: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        let shown = self.events.iter().filter(|event| event.cpu != USER && event.seq % 2 == 0);
        let shown = shown.map(|event| (self.sharing.of_cpu(event.cpu), event.seq, event.seq));
        let numbered = self.losses.iter().filter(|loss| loss.ring == Ring::Hot);
        let lost = numbered.filter_map(|loss| Some((loss.cpu?, loss.first_seq, loss.last_seq)));
        for (cpu, first, last) in shown.chain(lost) {
            for number in (first..=last).step_by(2) {
                ensure!(numbers.entry(cpu).or_default().insert(number), "CPU {cpu}: {number} occurs twice");
            }
        }
        for (cpu, numbers) in &numbers {
            let expected = (0..).step_by(2).zip(numbers).find(|(expected, number)| expected != *number);
            ensure!(expected.is_none(), "CPU {cpu}: the first number of {expected:?} is missing");
        }
        self.check_losses()
    }

    /// Checks that the summary agrees with the reported losses, and that exactly those without a record have
    /// no CPU.
    fn check_losses(&self) -> Result<()> {
        let skipped = |loss: &&LostLine| loss.reason == Reason::Skipped;
        let count = |losses: &mut dyn Iterator<Item = &LostLine>| losses.map(|loss| loss.count).sum::<u64>();
        let counted = count(&mut self.losses.iter());
        let of_skipped = count(&mut self.losses.iter().filter(skipped));
        let summary = self.summary()?;
        let (lost, in_summary) = (summary.lost, summary.skipped);
        ensure!(
            (counted, of_skipped) == (lost, in_summary),
            "{counted} losses were reported, {of_skipped} of them skipped, but the summary has {lost} and {in_summary}"
        );
        let odd = self.losses.iter().find(|loss| skipped(loss) == loss.cpu.is_some());
        ensure!(odd.is_none(), "a loss lacks a CPU, or has one without a record: {odd:?}");
        Ok(())
    }
}
