//! Converts a record to and from the fifteen 64-bit words of its slot.
//!
//! Words are read from shared memory one by one, so the conversion is by value and needs no `unsafe`. The
//! layout is little-endian, like every supported machine and every file written.

use p2p_trace_common::{
    Record, StackRecord,
    record::{COMM_LEN, Head, STACK_FRAMES},
};

/// Number of words in a record.
pub const WORDS: usize = size_of::<Record>() / 8;

/// The words of a record.
pub type Words = [u64; WORDS];

const COMM_WORDS: usize = COMM_LEN / 8;

const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Reads `words` as a record. Any words form a record; the reader must check that it is valid.
#[must_use]
pub fn to_record(words: &Words) -> Record {
    let head = to_head(words);
    let mut comm = [0; COMM_LEN];
    for (bytes, word) in comm.chunks_exact_mut(8).zip(&words[6..6 + COMM_WORDS]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let address = high(words[8]).to_le_bytes();
    Record {
        magic: head.magic,
        schema: head.schema,
        kind: head.kind,
        hook: head.hook,
        flags: head.flags,
        valid: head.valid,
        cpu: head.cpu,
        run: head.run,
        seq: head.seq,
        time_ns: head.time_ns,
        pid: low(words[5]),
        tgid: high(words[5]),
        comm,
        domain: low(words[8]),
        bus: address[0],
        devfn: address[1],
        small: u16::from_le_bytes([address[2], address[3]]),
        pgmap: words[9],
        words: [words[10], words[11], words[12], words[13]],
        number: low(words[14]),
        guard: high(words[14]),
    }
}

/// Reads `words` as a stack record.
#[must_use]
pub fn to_stack(words: &Words) -> StackRecord {
    let mut frames = [0; STACK_FRAMES];
    frames.copy_from_slice(&words[6..6 + STACK_FRAMES]);
    StackRecord {
        head: to_head(words),
        parent: words[5],
        frames,
        part: low(words[14]),
        guard: high(words[14]),
    }
}

const fn to_head(words: &Words) -> Head {
    let [schema, kind, hook, flags] = high(words[0]).to_le_bytes();
    Head {
        magic: low(words[0]),
        schema,
        kind,
        hook,
        flags,
        valid: low(words[1]),
        cpu: high(words[1]),
        run: words[2],
        seq: words[3],
        time_ns: words[4],
    }
}

/// Returns the words of a record.
#[must_use]
pub fn from_record(record: &Record) -> Words {
    let [small_low, small_high] = record.small.to_le_bytes();
    let mut words = [0; WORDS];
    words[0] =
        join(record.magic, u32::from_le_bytes([record.schema, record.kind, record.hook, record.flags]));
    words[1] = join(record.valid, record.cpu);
    words[2] = record.run;
    words[3] = record.seq;
    words[4] = record.time_ns;
    words[5] = join(record.pid, record.tgid);
    for (word, bytes) in words[6..].iter_mut().zip(record.comm.chunks_exact(8)) {
        let mut value = [0; 8];
        value.copy_from_slice(bytes);
        *word = u64::from_le_bytes(value);
    }
    words[8] = join(record.domain, u32::from_le_bytes([record.bus, record.devfn, small_low, small_high]));
    words[9] = record.pgmap;
    words[10..14].copy_from_slice(&record.words);
    words[14] = join(record.number, record.guard);
    words
}

/// Returns the words of a stack record.
#[must_use]
pub fn from_stack(stack: &StackRecord) -> Words {
    let head = &stack.head;
    let mut words = [0; WORDS];
    words[0] = join(head.magic, u32::from_le_bytes([head.schema, head.kind, head.hook, head.flags]));
    words[1] = join(head.valid, head.cpu);
    words[2] = head.run;
    words[3] = head.seq;
    words[4] = head.time_ns;
    words[5] = stack.parent;
    words[6..6 + STACK_FRAMES].copy_from_slice(&stack.frames);
    words[14] = join(stack.part, stack.guard);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_round_trip_through_records(words: Words) {
            prop_assert_eq!(from_record(&to_record(&words)), words);
            prop_assert_eq!(from_stack(&to_stack(&words)), words);
        }
    }
}
