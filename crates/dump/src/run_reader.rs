//! The files of one run as one stream: the items that a live session would have delivered, in the same order,
//! with losses in place of damaged or missing parts.

use std::{collections::VecDeque, io::Read};

use p2p_trace_common::Ring;
use p2p_trace_model::{
    event::{self, Loss, MAX_NAME, Names, user},
    pipeline::Slice,
    stream::{Diagnostic, order::Item},
};

use super::{
    checkpoint::Checkpoint,
    describe::{Diagnostics, Footer, Header, Reason, StatusChange},
    opened::Opened,
    reader::{Damage, Entry, MAX_DAMAGE, ReadError},
    records::{Counts, Records},
    redact::Redactor,
    repeats::Repeats,
};

/// The next item of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunItem {
    /// The state at the beginning of the dump: the first item, if present.
    Restore(Box<Checkpoint>),
    /// New records of the stream.
    Slice(Slice),
    /// A change of the tracing status.
    Status(Box<StatusChange>),
    /// Log statements of the kernel side.
    Diagnostics(Vec<Diagnostic>),
    /// A missing part that losses cannot describe: nothing is certain any more.
    Uncertainty(String),
    /// The end of the run, or of the available part.
    End(Box<End>),
}

/// How a dump ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With the end of the run.
    Complete(Footer),
    /// The run continues in a file that was not given.
    Continues,
    /// The end is missing: the recorder was killed, or the file was truncated.
    CutOff,
}

impl End {
    /// Description of the missing end, if it is missing.
    #[must_use]
    pub const fn lacks(&self) -> Option<&'static str> {
        match self {
            Self::Complete(_) => None,
            Self::Continues => Some("the run continues in a file that was not given"),
            Self::CutOff => Some("the dump breaks off before the end of the run"),
        }
    }
}

/// Reads the files of a run.
#[derive(Debug)]
pub struct RunReader<R> {
    files: VecDeque<Opened<R>>,
    current: Option<Opened<R>>,
    header: Header,
    names: Names,
    /// Counts of the run read so far; `None`: nothing was read.
    counts: Option<Counts>,
    reached_ns: u64,
    footer: Option<Footer>,
    /// Parts of the checkpoint at the beginning.
    restored: Checkpoint,
    queue: VecDeque<RunItem>,
    damage: Vec<Damage>,
    damaged: u64,
    unknown: Vec<u8>,
    /// `None` for a single file.
    repeats: Option<Repeats>,
    losses: user::Writer,
    redactor: Option<Redactor>,
    ended: bool,
}

impl<R: Read> RunReader<R> {
    /// Reads the files of one run, given in any order; `None` without files.
    #[must_use]
    pub fn new(mut files: Vec<Opened<R>>) -> Option<Self> {
        files.sort_by_key(|file| file.header.file);
        let header = files.first()?.header.clone();
        // Nothing precedes a run's first file.
        let counts = (header.file == 0).then(Counts::default);
        Some(Self {
            losses: user::Writer::new(header.status.run),
            reached_ns: header.start_ns,
            repeats: (files.len() > 1).then(Repeats::default),
            files: files.into(),
            current: None,
            header,
            names: Names::default(),
            counts,
            footer: None,
            restored: Checkpoint::default(),
            queue: VecDeque::new(),
            damage: Vec::new(),
            damaged: 0,
            unknown: Vec::new(),
            redactor: None,
            ended: false,
        })
    }

    /// Redacts everything that is delivered, and the header. Call it before reading the first item.
    #[must_use]
    pub fn redacted(mut self, redactor: Redactor) -> Self {
        self.header = redactor.header(self.header);
        self.losses = user::Writer::new(self.header.status.run);
        self.redactor = Some(redactor);
        self
    }

    /// The header of the run's first file.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Names of addresses; they are added while the run is read.
    #[must_use]
    pub fn names(&self) -> Names {
        self.names.clone()
    }

    /// The damage found so far, up to the limit.
    #[cfg(test)]
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Number of damaged parts so far.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Messages about the damage found so far.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<_> = self.damage.iter().map(ToString::to_string).collect();
        let more = self.damaged.saturating_sub(complaints.len() as u64);
        if more > 0 {
            complaints.push(format!("{more} more damaged parts"));
        }
        let unknown =
            |kind: &u8| format!("blocks of kind {kind} were skipped: this version does not support them");
        complaints.extend(self.unknown.iter().map(unknown));
        let (cut, omitted) = self.names.limited();
        if cut > 0 {
            complaints.push(format!("{cut} symbol names were truncated to {MAX_NAME} bytes"));
        }
        if omitted > 0 {
            complaints.push(format!("{omitted} symbol names exceed the limit and were dropped"));
        }
        complaints
    }

    /// Messages about repeated parts, which count once.
    #[must_use]
    pub fn repeats(&self) -> &[String] {
        self.repeats.as_ref().map_or(&[], Repeats::messages)
    }

    /// The next item; `None` behind the end.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn next_item(&mut self) -> Result<Option<RunItem>, ReadError> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(file) = &mut self.current else {
                match self.files.pop_front() {
                    Some(file) => self.begin(file),
                    None => self.end(),
                }
                continue;
            };
            let entry = match file.early.pop_front() {
                Some(entry) => Some(entry),
                None => file.reader.next_entry()?,
            };
            if let Some(entry) = entry {
                self.take(entry);
            } else {
                self.current = None;
                if let Some(repeats) = &mut self.repeats {
                    self.footer = repeats.end(self.footer.take());
                }
            }
        }
    }

    fn begin(&mut self, file: Opened<R>) {
        if let Some(repeats) = &mut self.repeats {
            repeats.begin(&file.name, file.header.file, self.footer.as_ref());
        }
        self.current = Some(file);
    }

    fn take(&mut self, entry: Entry) {
        let entry = if let Some(redactor) = &self.redactor { redactor.entry(entry) } else { entry };
        match entry {
            // A flight recorder joins segments: the footer of the previous one is not the end.
            Entry::Header(header) => {
                self.footer = None;
                if let Some(repeats) = &mut self.repeats {
                    repeats.header(header.file);
                }
            }
            Entry::Symbols(symbols) => {
                for (address, name) in symbols.names {
                    self.names.learn(address.0, name);
                }
            }
            Entry::Records(records) => self.records(records),
            Entry::Status(change) => {
                if self.repeats.as_mut().is_some_and(|repeats| repeats.knows_status(self.counts)) {
                    return;
                }
                if let Some(counts) = &mut self.counts {
                    counts.statuses = counts.statuses.wrapping_add(1);
                }
                self.queue.push_back(RunItem::Status(change));
            }
            Entry::Checkpoint(checkpoint) => self.checkpoint(*checkpoint),
            Entry::Diagnostics(_)
                if self.repeats.as_ref().is_some_and(|repeats| repeats.is_repeating(self.counts)) => {}
            Entry::Diagnostics(Diagnostics { messages }) => {
                self.queue.push_back(RunItem::Diagnostics(messages));
            }
            // The footer of an early copy, which says nothing about the end.
            Entry::Footer(footer)
                if self.repeats.is_some()
                    && self.counts.is_some_and(|counts| footer.counts.is_before(&counts)) => {}
            Entry::Footer(footer) => self.footer = Some(*footer),
            Entry::Unknown(kind) if self.unknown.contains(&kind) => {}
            Entry::Unknown(kind) => self.unknown.push(kind),
            Entry::Damage(damage) => {
                let damage = match &mut self.repeats {
                    Some(repeats) => repeats.damage(damage),
                    None => Some(damage),
                };
                self.complain(damage);
            }
        }
    }

    fn complain(&mut self, damages: impl IntoIterator<Item = Damage>) {
        for damage in damages {
            self.damaged += 1;
            if self.damage.len() < MAX_DAMAGE {
                self.damage.push(damage);
            }
        }
    }

    fn records(&mut self, records: Records) {
        if let Some(repeats) = &mut self.repeats {
            let mark = Repeats::mark(&records);
            if repeats.knows(&mark, &records) {
                return;
            }
            let damage = repeats.learn(mark);
            self.complain(damage);
        }
        self.footer = None;
        let Records { before, mut slices } = records;
        let first_ns = slices
            .first()
            .map_or(self.reached_ns, |slice| slice.items.first().map_or(slice.watermark_ns, Item::time_ns));
        let Some(missing) = self.missing(before, first_ns) else {
            return;
        };
        let mut counts = before;
        for slice in &slices {
            slice.items.iter().for_each(|item| counts.add(item));
            self.reached_ns = self.reached_ns.max(slice.watermark_ns);
        }
        self.counts = Some(counts);
        if let Some(first) = slices.first_mut() {
            first.items.splice(..0, missing);
        }
        self.queue.extend(slices.into_iter().map(RunItem::Slice));
    }

    /// The losses in front of a point with the counts `before`; `None` if that point was already passed.
    fn missing(&mut self, before: Counts, first_ns: u64) -> Option<Vec<Item>> {
        let Some(counts) = self.counts else {
            self.mark_uncertain(
                "the dump begins in the middle of the run, and its checkpoint cannot be read",
            );
            return Some(Vec::new());
        };
        let gap = |before: u64, now: u64| before.wrapping_sub(now).cast_signed();
        let (hot, rare) = (gap(before.hot, counts.hot), gap(before.rare, counts.rare));
        let user = gap(before.user, counts.user);
        if hot < 0 || rare < 0 || user < 0 {
            self.mark_uncertain("a part of the dump is repeated, or its files are not consecutive");
            return None;
        }
        if user > 0 {
            self.mark_uncertain(format!(
                "{user} of the tracer's own records (ticks, snapshots, hook changes) are missing from the dump"
            ));
        }
        if before.statuses != counts.statuses {
            self.mark_uncertain("a status change is missing from the dump");
        }
        let mut missing = Vec::new();
        for (ring, count) in [(Ring::Hot, hot), (Ring::Rare, rare)] {
            if count > 0 {
                let from_ns = self.reached_ns.min(first_ns);
                let loss = Loss {
                    reason: event::Reason::Damaged,
                    ..Loss::skipped(ring, count.cast_unsigned(), from_ns, first_ns)
                };
                missing.push(Item::Record(self.losses.loss(&loss)));
            }
        }
        Some(missing)
    }

    /// Only a reader that has read nothing before needs a checkpoint.
    fn checkpoint(&mut self, part: Checkpoint) {
        if let Some(repeats) = &mut self.repeats {
            repeats.checkpoint(part.head.counts);
        }
        if self.counts.is_some() || part.head.part != self.restored.head.part {
            return;
        }
        let (counts, parts, time_ns) = (part.head.counts, part.head.parts, part.head.time_ns);
        let next = part.head.part.wrapping_add(1);
        self.restored.records.extend(part.records);
        self.restored.head = part.head;
        self.restored.head.part = next;
        if next == parts {
            self.counts = Some(counts);
            self.reached_ns = self.reached_ns.max(time_ns);
            let restored = Box::new(std::mem::take(&mut self.restored));
            self.queue.push_back(RunItem::Restore(restored));
        }
    }

    fn mark_uncertain(&mut self, why: impl Into<String>) {
        self.queue.push_back(RunItem::Uncertainty(why.into()));
    }

    fn end(&mut self) {
        self.ended = true;
        let end = match self.footer.take() {
            Some(footer) => {
                let missing = self.missing(footer.counts, self.reached_ns).unwrap_or_default();
                if !missing.is_empty() {
                    self.last(missing);
                }
                match footer.reason {
                    Reason::End => End::Complete(footer),
                    Reason::Rotated => End::Continues,
                    Reason::Broken => End::CutOff,
                }
            }
            None => End::CutOff,
        };
        match end {
            End::Complete(_) => {}
            End::Continues => self.last(Vec::new()),
            End::CutOff => {
                self.last(Vec::new());
                self.mark_uncertain(End::CutOff.lacks().unwrap_or_default());
            }
        }
        self.queue.push_back(RunItem::End(Box::new(end)));
    }

    /// Nothing follows: records that wait for their stack are released.
    fn last(&mut self, items: Vec<Item>) {
        self.queue.push_back(RunItem::Slice(Slice { items, watermark_ns: u64::MAX }));
    }
}
