//! Detects repeated parts of a run: the same file twice, a copy, an early copy of a file that has grown
//! since, or overlapping files. Each part counts once.

use std::{collections::HashSet, hash::BuildHasher as _};

use foldhash::fast::FixedState;
use p2p_trace_model::text::Text;

use super::{
    describe::Footer,
    reader::{Damage, MAX_DAMAGE},
    records::{Counts, Records},
};

/// The parts of the files read so far. Not used for a single file, where a repetition is damage.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Blocks of records that were read: their place in the run and their content.
    seen: HashSet<(Counts, u64)>,
    /// Counts of the run at the current place of the file, if known.
    at: Option<Counts>,
    file: Option<File>,
    messages: Vec<String>,
}

/// The file that is being read.
#[derive(Debug)]
struct File {
    name: Text,
    number: u32,
    /// True if the previous file had the same number.
    again: bool,
    repeated: u64,
    is_new: bool,
    /// How the previous file ended.
    footer: Option<Footer>,
    /// Damage found before any new block.
    damage: Vec<Damage>,
}

/// Identifies a block.
type Mark = (Counts, u64);

impl Repeats {
    /// Begins a file; `footer` is that of the previous one.
    pub(super) fn begin(&mut self, name: &Text, number: u32, footer: Option<&Footer>) {
        let again = self.file.take().is_some_and(|file| file.number == number);
        self.at = (number == 0).then(Counts::default);
        self.file = Some(File {
            name: name.clone(),
            number,
            again,
            repeated: 0,
            is_new: false,
            footer: footer.cloned(),
            damage: Vec::new(),
        });
    }

    /// Handles a header within a file: of a segment from the beginning of the run, or from a later point.
    pub(super) fn header(&mut self, number: u32) {
        self.at = (number == 0).then(Counts::default);
    }

    /// Handles a checkpoint, which shows the place in the run.
    pub(super) const fn checkpoint(&mut self, counts: Counts) {
        self.at = Some(counts);
    }

    /// The mark of a block of records.
    pub(super) fn mark(records: &Records) -> Mark {
        (records.before, FixedState::default().hash_one(records.to_bytes()))
    }

    /// True if the block was already read.
    pub(super) fn knows(&mut self, mark: &Mark, records: &Records) -> bool {
        self.at = Some(behind(records));
        let knows = self.seen.contains(mark);
        if let Some(file) = self.file.as_mut().filter(|_| knows) {
            file.repeated += 1;
        }
        knows
    }

    /// Marks a block as read; returns the damage in front of it.
    pub(super) fn learn(&mut self, mark: Mark) -> Vec<Damage> {
        self.seen.insert(mark);
        let Some(file) = &mut self.file else { return Vec::new() };
        file.is_new = true;
        std::mem::take(&mut file.damage)
    }

    /// True if a status at this place was already read, given the counts of the run.
    pub(super) const fn knows_status(&mut self, counts: Option<Counts>) -> bool {
        let (Some(at), Some(counts)) = (&mut self.at, counts) else {
            return false;
        };
        at.statuses = at.statuses.wrapping_add(1);
        at.statuses <= counts.statuses
    }

    /// True if nothing at this place is new, given the counts of the run.
    pub(super) fn is_repeating(&self, counts: Option<Counts>) -> bool {
        let is_behind = self.at.zip(counts).is_some_and(|(at, counts)| at.is_before(&counts));
        is_behind || self.file.as_ref().is_some_and(|file| file.repeated > 0 && !file.is_new)
    }

    /// Keeps damage while nothing is new; returns damage that must be reported now.
    pub(super) fn damage(&mut self, damage: Damage) -> Option<Damage> {
        match &mut self.file {
            Some(file) if file.repeated > 0 && !file.is_new && file.damage.len() < MAX_DAMAGE => {
                file.damage.push(damage);
                None
            }
            _ => Some(damage),
        }
    }

    /// Ends a file with this footer; returns the footer of the run as known so far.
    pub(super) fn end(&mut self, footer: Option<Footer>) -> Option<Footer> {
        let Some(file) = &mut self.file else { return footer };
        if file.repeated > 0 || file.again && !file.is_new {
            let (name, blocks) = (&file.name, file.repeated);
            self.messages.push(if file.is_new {
                let many = if blocks == 1 { "1 block" } else { &format!("{blocks} blocks") };
                format!("{many} of {name} also occur in another file of the run: counted once")
            } else {
                format!("all records of {name} are in other files of the run as well: counted once")
            });
        }
        if file.is_new || footer.is_some() || file.repeated == 0 && !file.again {
            return footer;
        }
        // The end of a copy says nothing about the run.
        file.footer.take()
    }

    /// Messages about repeated parts.
    pub(super) fn messages(&self) -> &[String] {
        &self.messages
    }
}

/// Counts behind a block of records.
fn behind(records: &Records) -> Counts {
    let mut counts = records.before;
    records.slices.iter().flat_map(|slice| &slice.items).for_each(|item| counts.add(item));
    counts
}
