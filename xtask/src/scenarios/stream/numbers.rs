//! The numbers of the records, and what was reported as lost: each record is shown or lost.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use p2p_trace_common::Ring;

use super::{LostLine, Stream};
use crate::scenarios::product::Reason;

/// The CPU of what user space wrote itself.
const USER: u32 = u32::MAX;

impl Stream {
    /// Checks that the numbers of each hot ring are all there, each once: shown as an event or reported as
    /// lost. (Numbers of the hot ring are even; those of the rare one are odd and partly taken by stacks, which are
    /// shown with their events.)
    pub(super) fn check_numbers(&self) -> Result<()> {
        let mut numbers: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        let shown = self.events.iter().filter(|event| event.cpu != USER && event.seq % 2 == 0);
        let shown = shown.map(|event| (self.sharing.of_cpu(event.cpu), event.seq, event.seq));
        let numbered = self.losses.iter().filter(|loss| loss.ring == Ring::Hot);
        let lost = numbered.filter_map(|loss| Some((loss.cpu?, loss.first_seq, loss.last_seq)));
        for (cpu, first, last) in shown.chain(lost) {
            for number in (first..=last).step_by(2) {
                ensure!(numbers.entry(cpu).or_default().insert(number), "CPU {cpu}: {number} is there twice");
            }
        }
        for (cpu, numbers) in &numbers {
            let expected = (0..).step_by(2).zip(numbers).find(|(expected, number)| expected != *number);
            ensure!(expected.is_none(), "CPU {cpu}: {expected:?}: the first of the two numbers is missing");
        }
        self.check_losses()
    }

    /// Checks that the summary tells of the losses that were reported, and that only those have no CPU that were never
    /// written.
    fn check_losses(&self) -> Result<()> {
        let skipped = |loss: &&LostLine| loss.reason == Reason::Skipped;
        let count = |losses: &mut dyn Iterator<Item = &LostLine>| losses.map(|loss| loss.count).sum::<u64>();
        let counted = count(&mut self.losses.iter());
        let of_skipped = count(&mut self.losses.iter().filter(skipped));
        let summary = self.summary()?;
        let (lost, in_the_end) = (summary.lost, summary.skipped);
        ensure!(
            (counted, of_skipped) == (lost, in_the_end),
            "losses of {counted}, of them {of_skipped} skipped, were reported, but {lost} and {in_the_end} in the end"
        );
        let odd = self.losses.iter().find(|loss| skipped(loss) == loss.cpu.is_some());
        ensure!(odd.is_none(), "a loss has no CPU, or should have none: {odd:?}");
        Ok(())
    }
}
