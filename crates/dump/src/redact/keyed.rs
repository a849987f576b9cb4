//! Numbers and names in place of others: the same for the same, for as long as the key is, and nothing to whoever lacks the key.
//!
//! Nothing is remembered, so any number of files of a run, and a tracer that runs for months, cost no memory.

use std::hash::{BuildHasher as _, RandomState};

use p2p_trace_common::record::COMM_LEN;
use p2p_trace_model::text::Text;

/// What a value is: the same number has nothing in common with itself as something else.
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

/// Bits of the largest process id that Linux gives (`PID_MAX_LIMIT`).
const PID_BITS: u32 = 22;
/// Rounds of the network that permutes numbers: with four it is as good as the hash.
const ROUNDS: u8 = 6;
/// Cgroup ids fit into what JSON holds exactly.
const CGROUPS: u64 = 1 << 48;
/// No cgroup, and the one that every host has: these tell nothing.
const PLAIN_CGROUPS: u64 = 2;

/// A key of the operating system's, for the keyed hash of the standard library (`SipHash`).
#[derive(Clone)]
pub(super) struct Key(RandomState);

impl Key {
    pub(super) fn random() -> Self {
        Self(RandomState::new())
    }

    /// A number that nobody can guess, another one for each `which`.
    pub(super) fn amount(&self, which: u8) -> u64 {
        self.0.hash_one((Purpose::Amount, which))
    }

    /// In place of a boot id; none stays none.
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

    /// In place of a run's number.
    pub(super) fn run(&self, run: u64) -> u64 {
        self.0.hash_one((Purpose::Run, run))
    }

    /// In place of a thread's or a process's number: both are of one kind, and 0 is the idle task's. No two become one.
    pub(super) fn task(&self, number: u32) -> u32 {
        if number == 0 {
            return 0;
        }
        let is_usual = |number: u32| number < 1 << PID_BITS;
        let bits = if is_usual(number) { PID_BITS } else { u32::BITS };
        let mut other = self.permuted(Purpose::Task, bits, number);
        // Those that leave their kind go on until they are back in it, so that each comes to another one.
        while other == 0 || is_usual(other) != is_usual(number) {
            other = self.permuted(Purpose::Task, bits, other);
        }
        other
    }

    /// In place of a task's name, of which what lies behind its end is no part. None stays none.
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

    /// In place of a cgroup's id.
    pub(super) fn cgroup(&self, id: u64) -> u64 {
        if id < PLAIN_CGROUPS {
            return id;
        }
        PLAIN_CGROUPS + self.0.hash_one((Purpose::Cgroup, id)) % (CGROUPS - PLAIN_CGROUPS)
    }

    /// In place of the low half of a reference's address: 0, where that is not known, stays. No two become one.
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

    /// One of the numbers of so many bits, an even number: each comes to another one (a Feistel network).
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
    fn tasks_and_references_stay_apart() {
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
    fn another_key_makes_others() {
        let (one, other) = (Key::random(), Key::random());
        let all = |key: &Key| {
            let comm = *b"nginx\0\0\0\0\0\0\0\0\0\0\0";
            (key.boot(&"boot".into()), key.run(1), key.name(comm), key.cgroup(4711))
        };
        assert_ne!(all(&one), all(&other));
        assert_eq!(all(&one), all(&one.clone()));
    }

    #[test]
    fn a_name_ends_where_it_ends_and_what_tells_nothing_stays() {
        let key = Key::random();
        let (clean, dirty) = (*b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0", *b"sh\0secret\0\0\0\0\0\0\0");
        assert_eq!(key.name(clean), key.name(dirty));
        assert!(key.name(clean).starts_with(b"task-") && key.name(clean)[COMM_LEN - 1] == 0);
        assert_eq!(key.name([0; COMM_LEN]), [0; COMM_LEN]);
        assert_eq!((key.cgroup(0), key.cgroup(1), key.boot(&Text::default())), (0, 1, Text::default()));
    }
}
