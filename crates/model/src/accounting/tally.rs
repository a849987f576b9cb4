//! Sums of delivered and lost records, and their comparison with the kernel's counts.

use std::collections::BTreeMap;

use p2p_trace_common::{Hook, Kind, Record, Ring, config::MAX_CPUS, hook::HOOK_SLOTS, slot::Sharing, valid};

use serde::{Deserialize, Serialize};

use crate::{
    accounting::{Shortfalls, Totals},
    event::{Loss, Reason, names, user},
};

/// Sums of delivered records and of records known to be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Hits delivered, per hook.
    delivered: Vec<u64>,
    /// Positions delivered and positions lost, per CPU and ring.
    rings: Vec<[[u64; 2]; 2]>,
    stacks: u64,
    events: u64,
    /// Lost records that had been written.
    lost: u64,
    /// Lost records that were never written because the kernel skipped the program.
    #[serde(default, skip_serializing_if = "is_zero")]
    skipped: u64,
    /// Skipped runs, by hook where it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skipped_runs: Vec<u64>,
    /// Lost records that were not recorded after delivery, or are missing from the dump. Their CPUs are not
    /// known.
    #[serde(default)]
    missing: u64,
}

/// The accounting of one hook at the end of a run, in units of what the hook counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTally {
    /// The hook.
    pub hook: Hook,
    /// Hits counted by the kernel side.
    pub hits: u64,
    /// Hits delivered.
    pub delivered: u64,
    /// Hits counted but not delivered.
    pub lost: u64,
    /// Runs that the kernel skipped and that may have cost a record. `None` if the kernel does not count
    /// them.
    pub missed: Option<u64>,
}

/// The result of comparing both counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Each hook that counts hits.
    pub hooks: Vec<HookTally>,
    /// Events delivered: records without stacks.
    pub events: u64,
    /// Records lost, as reported in the stream: by position, by count where a dump lacks them, and by skipped
    /// runs.
    pub lost: u64,
    /// Of these, records never written because the kernel skipped the program.
    pub skipped: u64,
    /// Events that the kernel side knows it did not report in full.
    pub shortfalls: Shortfalls,
    /// Contradictions between the two counts, one sentence each. Empty if they agree.
    pub contradictions: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            delivered: vec![0; HOOK_SLOTS],
            rings: Vec::new(),
            stacks: 0,
            events: 0,
            lost: 0,
            skipped: 0,
            skipped_runs: Vec::new(),
            missing: 0,
        }
    }
}

impl Tally {
    /// Counts a delivered record.
    pub fn record(&mut self, record: &Record) {
        let Some(kind) = record.kind() else { return };
        if let Some([delivered, _]) = self.ring(record.cpu, Ring::of_sequence(record.seq).0) {
            *delivered += 1;
        }
        if kind == Kind::Loss {
            self.count_loss(record);
        } else if kind == Kind::Stack {
            self.stacks += 1;
        } else if kind.is_event() {
            self.events += 1;
            if let Some(sum) = self.delivered.get_mut(usize::from(record.hook)) {
                *sum += units(kind, record);
            }
        }
    }

    /// Counts a reported loss: skipped runs, or records missing from the dump.
    fn count_loss(&mut self, record: &Record) {
        let Some(loss) = user::loss(record) else { return };
        let count = loss.count();
        if loss.reason == Reason::Skipped {
            self.skipped = self.skipped.saturating_add(count);
            if let Some(hook) = loss.hook {
                self.skipped_runs.resize(HOOK_SLOTS, 0);
                let runs = &mut self.skipped_runs[hook as usize];
                *runs = runs.saturating_add(count);
            }
        } else {
            self.missing = self.missing.saturating_add(count);
            self.lost = self.lost.saturating_add(count);
        }
    }

    /// Counts lost positions.
    pub fn loss(&mut self, loss: &Loss) {
        self.lost = self.lost.saturating_add(loss.count());
        if let Some([_, lost]) = loss.cpu.and_then(|cpu| self.ring(cpu, loss.ring)) {
            *lost = lost.saturating_add(loss.count());
        }
    }

    /// Creates the tally at some point of a run, from what a dump recorded.
    pub(crate) fn resumed(mut self) -> Self {
        self.delivered.resize(HOOK_SLOTS, 0);
        self.rings.truncate(MAX_CPUS as usize);
        self
    }

    /// The number of positions of each ring delivered or lost so far.
    #[must_use]
    pub fn positions(&self, sharing: Sharing) -> BTreeMap<(u32, Ring), u64> {
        let sum = |[delivered, lost]: [u64; 2]| delivered.saturating_add(lost);
        self.sums(sharing).into_iter().map(|(ring, counts)| (ring, sum(counts))).collect()
    }

    /// Positions delivered and lost, per ring, by the lowest CPU that writes into it.
    fn sums(&self, sharing: Sharing) -> BTreeMap<(u32, Ring), [u64; 2]> {
        let mut sums = BTreeMap::new();
        for (cpu, rings) in (0..).zip(&self.rings) {
            for ring in Ring::ALL {
                let [delivered, lost]: &mut [u64; 2] = sums.entry((sharing.of_cpu(cpu), ring)).or_default();
                *delivered = delivered.saturating_add(rings[ring as usize][0]);
                *lost = lost.saturating_add(rings[ring as usize][1]);
            }
        }
        sums
    }

    /// Number of events delivered so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Number of records lost so far, including those never written.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost.saturating_add(self.skipped)
    }

    /// Compares with what the kernel counted, once no more records can arrive.
    #[must_use]
    pub fn close(&self, totals: &Totals) -> Outcome {
        let hooks: Vec<_> = Hook::ALL
            .iter()
            .filter(|hook| writes_records(**hook))
            .map(|&hook| self.hook(hook, totals))
            .collect();
        let mut contradictions = Vec::new();
        if self.missing == 0 {
            // If records are missing from the dump, a difference does not contradict the counts.
            contradictions.extend(self.ring_contradictions(totals));
            contradictions.extend(self.hook_contradictions(&hooks, totals.dropped));
        }
        Outcome {
            hooks,
            events: self.events,
            lost: self.lost(),
            skipped: self.skipped,
            shortfalls: totals.shortfalls,
            contradictions,
        }
    }

    fn hook(&self, hook: Hook, totals: &Totals) -> HookTally {
        let index = hook as usize;
        let hits = totals.hits.get(index).copied().unwrap_or_default();
        let delivered = self.delivered.get(index).copied().unwrap_or_default();
        // The count of a hook that was armed for a time is lost when it is detached.
        let reported = self.skipped_runs.get(index).copied().unwrap_or_default();
        HookTally {
            hook,
            hits,
            delivered,
            lost: hits.saturating_sub(delivered),
            missed: totals.missed.get(index).copied().flatten().map(|runs| runs.max(reported)),
        }
    }

    fn ring_contradictions(&self, totals: &Totals) -> Vec<String> {
        let mut found = Vec::new();
        let sums = self.sums(Sharing::new(totals.shared, MAX_CPUS));
        for position in &totals.positions {
            let [delivered, lost] = sums.get(&(position.cpu, position.ring)).copied().unwrap_or_default();
            if delivered.saturating_add(lost) != position.head {
                found.push(format!(
                    "{} ring of CPU {}: {delivered} delivered and {lost} lost, but {} begun",
                    names::ring_name(position.ring),
                    position.cpu,
                    position.head
                ));
            }
        }
        found
    }

    fn hook_contradictions(&self, hooks: &[HookTally], dropped: u64) -> Vec<String> {
        let mut found: Vec<_> = hooks
            .iter()
            .filter(|tally| tally.delivered > tally.hits)
            .map(|tally| {
                let (name, delivered, hits) = (tally.hook.name(), tally.delivered, tally.hits);
                format!("hook {name}: {delivered} delivered, but only {hits} hits counted")
            })
            .collect();
        let unaccounted: u64 = hooks.iter().map(|tally| tally.lost).sum();
        if unaccounted > 0 && self.lost == 0 && dropped == 0 {
            found.push(format!("{unaccounted} hits did not arrive, but no record is known to be lost"));
        }
        // A lost record is a stack, or an event, which counts at least one hit.
        if self.stacks == 0 && unaccounted < self.lost {
            found.push(format!("{} records are lost, but only {unaccounted} hits did not arrive", self.lost));
        }
        found
    }

    /// Returns `None` if the CPU is not one of the kernel: the record is from user space, or the dump is
    /// corrupt.
    fn ring(&mut self, cpu: u32, ring: Ring) -> Option<&mut [u64; 2]> {
        if cpu >= MAX_CPUS {
            return None;
        }
        let cpu = cpu as usize;
        if self.rings.len() <= cpu {
            self.rings.resize(cpu + 1, Default::default());
        }
        Some(&mut self.rings[cpu][ring as usize])
    }
}

/// The number of hits that a record stands for.
fn units(kind: Kind, record: &Record) -> u64 {
    if kind == Kind::PageFree && record.has(valid::COUNT) { u64::from(record.number) } else { 1 }
}

/// The other hooks only take notes for another hook.
const fn writes_records(hook: Hook) -> bool {
    !matches!(hook, Hook::MmapEnter | Hook::InsertPage)
}
