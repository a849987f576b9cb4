//! Redaction: a dump that can be shared. Identities and places are replaced; events and the rules' answers
//! stay.
//!
//! [`TABLE`] lists the treatment of each field.

#[cfg(test)]
mod documented;
mod keyed;
mod moved;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use p2p_trace_common::{Kind, Record, record::COMM_LEN, valid};
use p2p_trace_model::{
    accounting::{HookStatus, Status},
    event::{
        layout::{Layout, Number},
        user,
        words::{from_record, from_stack, to_record, to_stack},
    },
    names::Hex,
    pipeline::Slice,
    rules::{Found, RuleState},
    stream::{Diagnostic, order::Item},
    units::Clock,
};

use super::{
    checkpoint::{Checkpoint, Head},
    describe::{Diagnostics, Header, StatusChange, Symbols},
    reader::{Damage, Entry},
    records::Records,
};
use keyed::Key;
use moved::Moved;
use table::Treatment;
pub use table::{Fate, Row, TABLE};

/// Replaces sentences that can contain names.
const OMITTED: &str = "reason omitted: redacted";

/// Redacts consistently for as long as it exists: use one for all files of a run. Its pseudonyms are
/// unpredictable.
#[derive(Clone)]
pub struct Redactor {
    key: Key,
    moved: Moved,
}

/// Its key would undo the redaction, so it never appears in messages.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// A redactor with a new random key.
    #[must_use]
    pub fn random() -> Self {
        let key = Key::random();
        Self { moved: Moved::by(&key), key }
    }

    /// Redacts a virtual address.
    #[must_use]
    pub const fn address(&self, address: u64) -> u64 {
        self.moved.address(address)
    }

    /// Redacts the content of a block.
    #[must_use]
    pub fn entry(&self, entry: Entry) -> Entry {
        match entry {
            Entry::Header(header) => Entry::Header(Box::new(self.header(*header))),
            Entry::Records(Records { before, slices }) => {
                let slices = slices.into_iter().map(|slice| self.slice(slice)).collect();
                Entry::Records(Records { before, slices })
            }
            Entry::Status(change) => {
                let StatusChange { time_ns, status } = *change;
                Entry::Status(Box::new(StatusChange { time_ns, status: self.status(status) }))
            }
            Entry::Symbols(Symbols { names }) => {
                let names = names.into_iter().map(|(Hex(at), name)| (Hex(self.address(at)), name));
                Entry::Symbols(Symbols { names: names.collect() })
            }
            Entry::Checkpoint(checkpoint) => Entry::Checkpoint(Box::new(self.checkpoint(*checkpoint))),
            Entry::Diagnostics(Diagnostics { messages }) => {
                let messages = messages.into_iter().map(|diagnostic| self.diagnostic(&diagnostic)).collect();
                Entry::Diagnostics(Diagnostics { messages })
            }
            // It quotes unreadable content.
            Entry::Damage(Damage::Malformed { offset, kind, why: _ }) => {
                Entry::Damage(Damage::Malformed { offset, kind, why: OMITTED.into() })
            }
            // Counts, times and numbers.
            Entry::Footer(_) | Entry::Unknown(_) | Entry::Damage(_) => entry,
        }
    }

    /// Redacts a header.
    #[must_use]
    pub fn header(&self, header: Header) -> Header {
        let Header { origin, file, clock, start_ns, stall_after_ns, host: _, redacted: _, status } = header;
        let Clock { boottime_ns, realtime_ns, utc_offset_s: _ } = clock;
        Header {
            origin,
            file,
            clock: Clock { boottime_ns, realtime_ns, utc_offset_s: 0 },
            start_ns,
            stall_after_ns,
            host: None,
            redacted: true,
            status: self.status(status),
        }
    }

    /// Redacts a status.
    #[must_use]
    pub fn status(&self, status: Status) -> Status {
        let Status { version, kernel, boot_id, run, cpus, rings, accounting, hooks, devices } = status;
        let hook = |hook: HookStatus| {
            let HookStatus { hook, function, method, state, required, error, lost_without } = hook;
            let error = error.map(|_| OMITTED.into());
            HookStatus { hook, function, method, state, required, error, lost_without }
        };
        Status {
            version,
            kernel,
            boot_id: self.key.boot(&boot_id),
            run: self.key.run(run),
            cpus,
            rings,
            accounting,
            hooks: hooks.into_iter().map(hook).collect(),
            devices,
        }
    }

    /// Redacts a slice.
    #[must_use]
    pub fn slice(&self, mut slice: Slice) -> Slice {
        for item in &mut slice.items {
            if let Item::Record(record) = item {
                *record = self.record(*record);
            }
        }
        slice
    }

    /// Redacts a log statement of the kernel side.
    #[must_use]
    pub fn diagnostic(&self, diagnostic: &Diagnostic) -> Diagnostic {
        let Diagnostic { time_ns, level, text } = diagnostic;
        Diagnostic { time_ns: *time_ns, level: *level, text: self.moved.text(text).into() }
    }

    /// Redacts a checkpoint.
    #[must_use]
    pub fn checkpoint(&self, checkpoint: Checkpoint) -> Checkpoint {
        let Checkpoint { head, records } = checkpoint;
        let Head { part, parts, time_ns, counts, rules, reached_ns, tally, omitted } = head;
        let RuleState { lost_hot, lost_rare, skipped, found } = rules;
        let redacted = |found: Found| {
            let Found { rule, device, findings, open, uncertainties } = found;
            let uncertainties = uncertainties.first().map(|_| OMITTED.into()).into_iter().collect();
            Found { rule, device, findings, open, uncertainties }
        };
        let found = found.into_iter().map(redacted).collect();
        let rules = RuleState { lost_hot, lost_rare, skipped, found };
        let head = Head { part, parts, time_ns, counts, rules, reached_ns, tally, omitted };
        Checkpoint { head, records: records.into_iter().map(|record| self.record(record)).collect() }
    }

    /// Redacts a record.
    #[must_use]
    pub fn record(&self, record: Record) -> Record {
        let run = self.key.run(record.run);
        let record = Record { run, ..record };
        match record.kind() {
            Some(Kind::Stack) => {
                let mut stack = to_stack(&from_record(&record));
                for frame in &mut stack.frames {
                    *frame = self.address(*frame);
                }
                to_record(&from_stack(&stack))
            }
            Some(kind) => self.of_kind(kind, record),
            // Only a later version knows the meaning of its fields.
            None => {
                let Record { kind, hook, flags, cpu, seq, time_ns, guard, .. } = record;
                Record { kind, hook, flags, cpu, seq, time_ns, guard, ..user::blank(run) }
            }
        }
    }

    fn of_kind(&self, kind: Kind, mut record: Record) -> Record {
        if record.has(valid::TASK) {
            record.pid = self.key.task(record.pid);
            record.tgid = self.key.task(record.tgid);
            record.comm = self.key.name(record.comm);
        } else {
            (record.pid, record.tgid, record.comm) = (0, 0, [0; COMM_LEN]);
        }
        record.pgmap = if record.has(valid::PGMAP) { self.address(record.pgmap) } else { 0 };
        let layout = Layout::of(kind);
        if layout.number == Number::ReferenceOrCount && record.has(valid::REFERENCE) {
            record.number = self.key.reference(record.number);
        }
        // The words of a loss are record numbers and times, without validity flags.
        if kind != Kind::Loss {
            for (value, meaning) in record.words.iter_mut().zip(layout.words) {
                let is_there = record.valid & meaning.flag() != 0;
                let treatment = if is_there { Treatment::of(meaning) } else { Treatment::Removed };
                *value = self.word(treatment, *value);
            }
        }
        record
    }

    fn word(&self, treatment: Treatment, value: u64) -> u64 {
        match treatment {
            Treatment::Kept => value,
            Treatment::Removed => 0,
            Treatment::Virtual => self.address(value),
            Treatment::Page => self.moved.page(value),
            Treatment::Physical => self.moved.physical(value),
            Treatment::Cgroup => self.key.cgroup(value),
        }
    }
}
