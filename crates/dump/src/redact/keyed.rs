//! Pseudonyms for numbers and names: equal for equal values as long as the key exists, and meaningless
//! without the key.
//!
//! Nothing is remembered, so that any number of files of a run, or a tracer that runs for months, needs no
//! memory.

use std::hash::{BuildHasher as _, RandomState};

use p2p_trace_common::record::COMM_LEN;
use p2p_trace_model::text::Text;

/// The kind of a value: equal numbers of different kinds get unrelated pseudonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Boot,
    Run,
    Task,
    Name,
    Cgroup,
    Reference,
    Amount,
}

/// Bits of the largest process id that Linux assigns (`PID_MAX_LIMIT`).
const PID_BITS: u32 = 22;
/// Rounds of the network that permutes numbers: with four it is as good as the hash.
const ROUNDS: u8 = 6;
/// Cgroup ids stay within the numbers that JSON represents exactly.
const CGROUPS: u64 = 1 << 48;
/// No cgroup, and the root cgroup of every host: these reveal nothing.
const PLAIN_CGROUPS: u64 = 2;

/// A key from the operating system, for the keyed hash of the standard library (`SipHash`).
#[derive(Clone)]
pub(super) struct Key(RandomState);

impl Key {
    pub(super) fn random() -> Self {
        Self(RandomState::new())
    }

    /// An unpredictable number, different for each `which`.
    pub(super) fn amount(&self, which: u8) -> u64 {
        self.0.hash_one((Purpose::Amount, which))
    }

    /// Replaces a boot id; an empty one stays empty.
    pub(super) fn boot(&self, id: &Text) -> Text {
        if id.is_empty() {
            return id.clone();
        }
        let half = |which: u8| self.0.hash_one((Purpose::Boot, which, id.as_str()));
        let (high, low) = (half(0), half(1));
        let text = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff,
        );
        text.as_str().into()
    }

    /// Replaces a run's number.
    pub(super) fn run(&self, run: u64) -> u64 {
        self.0.hash_one((Purpose::Run, run))
    }

    /// Replaces a thread or process id, both as one kind; 0 (the idle task) stays. Different ids stay
    /// different.
    pub(super) fn task(&self, number: u32) -> u32 {
        if number == 0 {
            return 0;
        }
        let is_usual = |number: u32| number < 1 << PID_BITS;
        let bits = if is_usual(number) { PID_BITS } else { u32::BITS };
        let mut other = self.permuted(Purpose::Task, bits, number);
        // Permute again until the result is in the range of the original, so that the mapping stays
        // one-to-one.
        while other == 0 || is_usual(other) != is_usual(number) {
            other = self.permuted(Purpose::Task, bits, other);
        }
        other
    }

    /// Replaces a task's name, ignoring bytes behind its end. An empty name stays empty.
    pub(super) fn name(&self, comm: [u8; COMM_LEN]) -> [u8; COMM_LEN] {
        let end = comm.iter().position(|&byte| byte == 0).unwrap_or(COMM_LEN);
        let mut other = [0; COMM_LEN];
        if end > 0 {
            let hash = self.0.hash_one((Purpose::Name, &comm[..end])) >> 24;
            let name = format!("task-{hash:010x}");
            for (place, byte) in other.iter_mut().zip(name.bytes()) {
                *place = byte;
            }
        }
        other
    }

    /// Replaces a cgroup id.
    pub(super) fn cgroup(&self, id: u64) -> u64 {
        if id < PLAIN_CGROUPS {
            return id;
        }
        PLAIN_CGROUPS + self.0.hash_one((Purpose::Cgroup, id)) % (CGROUPS - PLAIN_CGROUPS)
    }

    /// Replaces the low half of a reference's address; 0 (not known) stays. Different values stay different.
    pub(super) fn reference(&self, low: u32) -> u32 {
        if low == 0 {
            return 0;
        }
        let mut other = self.permuted(Purpose::Reference, u32::BITS, low);
        while other == 0 {
            other = self.permuted(Purpose::Reference, u32::BITS, other);
        }
        other
    }

    /// Permutes the numbers with this even number of bits (a Feistel network).
    fn permuted(&self, purpose: Purpose, bits: u32, number: u32) -> u32 {
        let half = bits / 2;
        let mask = (1u32 << half) - 1;
        let (mut left, mut right) = (number >> half, number & mask);
        for round in 0..ROUNDS {
            let hash = self.0.hash_one((purpose, bits, round, right)) as u32;
            (left, right) = (right, left ^ hash & mask);
        }
        left << half | right
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn different_tasks_and_references_stay_different() {
        let key = Key::random();
        let tasks: HashSet<_> = (0..40_000).map(|number| key.task(number)).collect();
        assert_eq!(tasks.len(), 40_000);
        assert!(tasks.iter().all(|&task| task < 1 << PID_BITS));
        assert_eq!((key.task(0), key.task(97)), (0, key.task(97)));
        let beyond: HashSet<_> = (0..1000).map(|more| key.task((1 << PID_BITS) + more)).collect();
        assert!(beyond.len() == 1000 && beyond.iter().all(|&task| task >= 1 << PID_BITS));
        let references: HashSet<_> = (0..40_000).map(|low| key.reference(low * 8)).collect();
        assert_eq!((references.len(), key.reference(0)), (40_000, 0));
    }

    #[test]
    fn another_key_gives_other_pseudonyms() {
        let (one, other) = (Key::random(), Key::random());
        let all = |key: &Key| {
            let comm = *b"nginx\0\0\0\0\0\0\0\0\0\0\0";
            (key.boot(&"boot".into()), key.run(1), key.name(comm), key.cgroup(4711))
        };
        assert_ne!(all(&one), all(&other));
        assert_eq!(all(&one), all(&one.clone()));
    }

    #[test]
    fn ignores_bytes_behind_name_and_keeps_neutral_values() {
        let key = Key::random();
        let (clean, dirty) = (*b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0", *b"sh\0secret\0\0\0\0\0\0\0");
        assert_eq!(key.name(clean), key.name(dirty));
        assert!(key.name(clean).starts_with(b"task-") && key.name(clean)[COMM_LEN - 1] == 0);
        assert_eq!(key.name([0; COMM_LEN]), [0; COMM_LEN]);
        assert_eq!((key.cgroup(0), key.cgroup(1), key.boot(&Text::default())), (0, 1, Text::default()));
    }
}
