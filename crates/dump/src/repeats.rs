//! What was given more than once of a run: a file twice, a copy of one, an early copy of one that has grown since, or files that
//! overlap. It counts once.

use std::{collections::HashSet, hash::BuildHasher as _};

use foldhash::fast::FixedState;
use p2p_trace_model::text::Text;

use super::{
    describe::Footer,
    reader::{Damage, MAX_DAMAGE},
    records::{Counts, Records},
};

/// What is known of the files so far; nothing where there is only one, in which whatever is there twice is a fault.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Blocks of records that were taken in: where each begins in the run, and what it holds.
    seen: HashSet<(Counts, u64)>,
    /// Where the current file has come to in the run, as far as it is known.
    at: Option<Counts>,
    file: Option<File>,
    said: Vec<String>,
}

/// The file that is being read.
#[derive(Debug)]
struct File {
    name: Text,
    number: u32,
    /// Its number is that of the file before.
    again: bool,
    repeated: u64,
    is_new: bool,
    /// How the file before ended.
    footer: Option<Footer>,
    /// What could not be read of it while it told nothing new.
    damage: Vec<Damage>,
}

/// The bytes of a block can be told apart by it.
type Mark = (Counts, u64);

impl Repeats {
    /// A file begins, and the one before ended so.
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

    /// A header within a file: of a segment that begins at the beginning of the run, or elsewhere.
    pub(super) fn header(&mut self, number: u32) {
        self.at = (number == 0).then(Counts::default);
    }

    /// A checkpoint tells where the file is.
    pub(super) const fn checkpoint(&mut self, counts: Counts) {
        self.at = Some(counts);
    }

    /// What a block of records is known by.
    pub(super) fn mark(records: &Records) -> Mark {
        (records.before, FixedState::default().hash_one(records.to_bytes()))
    }

    /// The block was taken in already.
    pub(super) fn knows(&mut self, mark: &Mark, records: &Records) -> bool {
        self.at = Some(behind(records));
        let knows = self.seen.contains(mark);
        if let Some(file) = self.file.as_mut().filter(|_| knows) {
            file.repeated += 1;
        }
        knows
    }

    /// The block is taken in; gives what could not be read in front of it.
    pub(super) fn learn(&mut self, mark: Mark) -> Vec<Damage> {
        self.seen.insert(mark);
        let Some(file) = &mut self.file else { return Vec::new() };
        file.is_new = true;
        std::mem::take(&mut file.damage)
    }

    /// A status that stands there was told already, when the run had come to `counts`.
    pub(super) const fn knows_status(&mut self, counts: Option<Counts>) -> bool {
        let (Some(at), Some(counts)) = (&mut self.at, counts) else {
            return false;
        };
        at.statuses = at.statuses.wrapping_add(1);
        at.statuses <= counts.statuses
    }

    /// Nothing of what stands there is new, when the run had come to `counts`.
    pub(super) fn is_repeating(&self, counts: Option<Counts>) -> bool {
        let is_behind = self.at.zip(counts).is_some_and(|(at, counts)| at.is_before(&counts));
        is_behind || self.file.as_ref().is_some_and(|file| file.repeated > 0 && !file.is_new)
    }

    /// Keeps what cannot be read where nothing is new; gives it back where it must be told.
    pub(super) fn damage(&mut self, damage: Damage) -> Option<Damage> {
        match &mut self.file {
            Some(file) if file.repeated > 0 && !file.is_new && file.damage.len() < MAX_DAMAGE => {
                file.damage.push(damage);
                None
            }
            _ => Some(damage),
        }
    }

    /// The file is over, and ended so; gives how what is known of the run ends.
    pub(super) fn end(&mut self, footer: Option<Footer>) -> Option<Footer> {
        let Some(file) = &mut self.file else { return footer };
        if file.repeated > 0 || file.again && !file.is_new {
            let (name, blocks) = (&file.name, file.repeated);
            self.said.push(if file.is_new {
                let many = if blocks == 1 { "1 block" } else { &format!("{blocks} blocks") };
                format!("{many} of {name} were given before, in another file of the run: counted once")
            } else {
                format!(
                    "{name} has no record that was not given before, in another file of the run: counted once"
                )
            });
        }
        if file.is_new || footer.is_some() || file.repeated == 0 && !file.again {
            return footer;
        }
        // The end of a copy says nothing of the run.
        file.footer.take()
    }

    /// What was given more than once, in sentences.
    pub(super) fn said(&self) -> &[String] {
        &self.said
    }
}

/// Where a block of records ends.
fn behind(records: &Records) -> Counts {
    let mut counts = records.before;
    records.slices.iter().flat_map(|slice| &slice.items).for_each(|item| counts.add(item));
    counts
}
