//! Building and writing of records.

use p2p_trace_common::{
    Hook, Kind, Ring,
    record::{FLAG_ARMED, FLAG_KPROBE, FLAG_STACK, MAGIC, SCHEMA},
    statement::What,
    valid,
};

use crate::{
    config::{setting, wide_setting},
    context::Context,
    device::Address,
    pgmap::Range,
    reference::References,
    ring, say, stack, task,
    task::Task,
};

/// A record under construction: the part that depends on its kind. Fields as in
/// `p2p_trace_common::Record`.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    kind: Kind,
    hook: Hook,
    valid: u32,
    device: u64,
    pgmap: u64,
    words: [u64; 4],
    number: u32,
    small: u16,
    flags: u8,
}

impl Event {
    /// An event without any known field.
    #[inline(always)]
    pub(crate) const fn new(kind: Kind, hook: Hook) -> Self {
        Self { kind, hook, valid: 0, device: 0, pgmap: 0, words: [0; 4], number: 0, small: 0, flags: 0 }
    }

    #[inline(always)]
    pub(crate) const fn device(mut self, address: Option<Address>) -> Self {
        if let Some(address) = address {
            self.device = address.0;
            self.valid |= valid::DEVICE;
        }
        self
    }

    /// Sets a device that was already turned into a word, with its validity.
    #[inline(always)]
    pub(crate) const fn device_word(mut self, word: u64, bits: u32) -> Self {
        self.device = word;
        self.valid |= bits;
        self
    }

    #[inline(always)]
    pub(crate) const fn pgmap(mut self, pgmap: u64) -> Self {
        if pgmap != 0 {
            self.pgmap = pgmap;
            self.valid |= valid::PGMAP;
        }
        self
    }

    /// Sets word `index`, with the validity bit for its meaning.
    #[inline(always)]
    pub(crate) const fn word(mut self, index: usize, bit: u32, value: u64) -> Self {
        self.words[index] = value;
        self.valid |= bit;
        self
    }

    /// As [`Self::word`], if there is a value.
    #[inline(always)]
    pub(crate) const fn word_if(self, index: usize, bit: u32, value: Option<u64>) -> Self {
        if let Some(value) = value { self.word(index, bit, value) } else { self }
    }

    /// Sets the caller, which is word 2 in most kinds.
    #[inline(always)]
    pub(crate) fn caller<C: Context>(self, context: &C) -> Self {
        self.word_if(2, valid::CALLER, context.caller())
    }

    /// Sets the current task's cgroup, word 3 of allocations.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> Self {
        self.word(3, valid::CGROUP, task::cgroup())
    }

    /// Sets the first and last address in words 0 and 1.
    #[inline(always)]
    pub(crate) const fn range(self, range: Option<Range>) -> Self {
        if let Some(range) = range {
            self.word(0, valid::RANGE, range.start).word(1, valid::RANGE, range.end)
        } else {
            self
        }
    }

    /// Sets the reference count in word 3.
    #[inline(always)]
    pub(crate) const fn references(self, references: Option<References>) -> Self {
        let Some(references) = references else { return self };
        let bits = if references.is_estimate { valid::REFS | valid::REFS_ESTIMATE } else { valid::REFS };
        self.word(3, bits, references.count)
    }

    #[inline(always)]
    pub(crate) const fn number(mut self, bit: u32, value: u32) -> Self {
        self.number = value;
        self.valid |= bit;
        self
    }

    #[inline(always)]
    pub(crate) const fn small(mut self, bit: u32, value: u16) -> Self {
        self.small = value;
        self.valid |= bit;
        self
    }

    /// Marks a record of a hook that is attached only while a teardown is pending.
    #[inline(always)]
    pub(crate) const fn armed(mut self) -> Self {
        self.flags |= FLAG_ARMED;
        self
    }

    /// Marks a record of a hook that was reached through a kprobe.
    #[inline(always)]
    pub(crate) const fn kprobe(mut self, is_kprobe: bool) -> Self {
        if is_kprobe {
            self.flags |= FLAG_KPROBE;
        }
        self
    }

    /// Writes a record about the current task into the hot ring.
    #[inline(always)]
    pub(crate) fn emit_hot<C: Context>(self, context: &C) {
        let stacks = if self.hook.takes_memory() { setting!(stacks_taking) } else { setting!(stacks_other) };
        let stacks = stacks != 0;
        self.write(context, Ring::Hot, Some(Task::current()), stacks);
    }

    /// As above, but never with a stack.
    #[inline(always)]
    pub(crate) fn emit_frequent<C: Context>(self, context: &C) {
        self.write(context, Ring::Hot, Some(Task::current()), false);
    }

    /// Writes a record about the current task into the rare ring.
    #[inline(always)]
    pub(crate) fn emit_rare<C: Context>(self, context: &C) {
        let stacks = setting!(stacks_rare) != 0;
        self.write(context, Ring::Rare, Some(Task::current()), stacks);
    }

    /// Writes a hot record about `task` outside the context of a hook. Its hits were already
    /// counted.
    #[inline(always)]
    pub(crate) fn emit_for(self, task: Task) {
        self.record(Ring::Hot, None, Some(task), false);
    }

    /// Writes a rare record without a stack about `task`, or about no task.
    #[inline(always)]
    pub(crate) fn emit_about<C: Context>(self, context: &C, task: Option<Task>) {
        self.write(context, Ring::Rare, task, false);
    }

    #[inline(always)]
    fn write<C: Context>(self, context: &C, ring: Ring, task: Option<Task>, stacks: bool) {
        let hook = self.hook;
        let written = self.kprobe(C::KPROBE).record(ring, Some(hook), task, stacks);
        if let Some(Written { seq, time }) = written
            && stacks
        {
            stack::emit(context, ring, hook, seq, time);
        }
    }

    /// Writes the record without its stack and returns whether a stack follows. `counted` is the
    /// hook to count a hit of, or `None` if the hits were already counted.
    #[inline(always)]
    fn record(
        self,
        ring: Ring,
        counted: Option<Hook>,
        task: Option<Task>,
        has_stack: bool,
    ) -> Option<Written> {
        let Some(claim) = ring::claim(ring, counted) else {
            // Not at the claim of a slot: another call would not fit on the stack below
            // `stack::write_apart`.
            let what = match ring {
                Ring::Hot => What::HotSlot,
                Ring::Rare => What::RareSlot,
            };
            say::contended(what, u64::from(ring::current_cpu()));
            return None;
        };
        let time = ring::now();
        let mut flags = self.flags;
        if has_stack {
            flags |= FLAG_STACK;
        }
        let (cpu, seq) = (claim.cpu, claim.seq);
        claim.write(1, head(self.kind, self.hook, flags));
        let (task, about) = task.map_or((Task::NONE, 0), |task| (task, valid::TASK));
        claim.write(2, u64::from(self.valid | about) | u64::from(cpu) << 32);
        claim.write(3, wide_setting!(run, 0));
        claim.write(4, seq);
        claim.write(5, time);
        claim.write(6, task.ids);
        claim.write(7, task.comm[0]);
        claim.write(8, task.comm[1]);
        claim.write(9, self.device | u64::from(self.small) << 48);
        claim.write(10, self.pgmap);
        claim.write(11, self.words[0]);
        claim.write(12, self.words[1]);
        claim.write(13, self.words[2]);
        claim.write(14, self.words[3]);
        claim.commit(self.number);
        Some(Written { seq, time })
    }
}

/// A record after it was written.
struct Written {
    seq: u64,
    time: u64,
}

/// The record's first word.
#[inline(always)]
pub(crate) const fn head(kind: Kind, hook: Hook, flags: u8) -> u64 {
    MAGIC as u64 | (SCHEMA as u64) << 32 | (kind as u64) << 40 | (hook as u64) << 48 | (flags as u64) << 56
}
