//! The number of rings and their sizes, by the number of CPUs. Pure.

use p2p_trace_common::slot::{SLOT_SIZE, Sharing};
use p2p_trace_model::accounting::RingSizes;

/// Maximum number of pairs of rings if CPUs can share them: a power of two.
const MAX_SHARED: u32 = 4;
/// Default size of a hot ring in bytes: 65 ms of one CPU at a million events per second. The reader looks every 10 ms while there
/// are events, and every 50 ms while there are none.
const HOT: u64 = 8 << 20;
/// Size of a rare ring in bytes: about eighty teardowns with stacks.
const RARE: u64 = 1 << 20;
/// Default limits of the total size of all hot and all rare rings. They matter on kernels where CPUs cannot share rings.
const LIMITS: [u64; 2] = [64 << 20, 32 << 20];
/// Minimum number of slots in a ring.
const MIN_SLOTS: u64 = 16;
const MAX_SLOTS: u64 = 1 << 22;

/// The rings of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPlan {
    /// Number of CPUs: the highest possible index plus one.
    pub cpus: u32,
    /// Which CPUs share a pair of rings.
    pub sharing: Sharing,
    /// Number of pairs of a hot and a rare ring.
    pub count: u32,
    /// Slots of a hot and of a rare ring, powers of two.
    pub slots: [u32; 2],
}

impl RingPlan {
    /// A plan for this many CPUs. They can share rings (`can_share`) if the kernel has atomic fetch-add for BPF. `requested` is the total
    /// size of all hot rings in bytes; it is rounded down to a power of two of slots per ring.
    #[must_use]
    pub fn new(cpus: u32, can_share: bool, requested: Option<u64>) -> Self {
        let cpus = cpus.max(1);
        let count = if can_share { cpus.min(MAX_SHARED) } else { cpus };
        let of_ring = |limit: u64| limit / u64::from(count);
        let hot = requested.map_or_else(|| of_ring(LIMITS[0]).min(HOT), of_ring);
        let slots = [hot, of_ring(LIMITS[1]).min(RARE)].map(|bytes| {
            let slots = (bytes / SLOT_SIZE as u64).clamp(MIN_SLOTS, MAX_SLOTS);
            1 << slots.ilog2()
        });
        Self { cpus, sharing: Sharing::new(count, cpus), count, slots }
    }

    /// The sizes for a status.
    #[must_use]
    pub fn sizes(&self) -> RingSizes {
        let [hot, rare] = self.slots.map(|slots| u64::from(slots) * SLOT_SIZE as u64);
        RingSizes { hot, rare, count: self.count }
    }
}

#[cfg(test)]
mod tests {
    use p2p_trace_common::config::MAX_CPUS;

    use super::*;

    fn slots(cpus: u32, can_share: bool, requested: Option<u64>) -> [u32; 2] {
        RingPlan::new(cpus, can_share, requested).slots
    }

    #[test]
    fn rings_are_powers_of_two_within_their_limits() {
        assert_eq!(slots(2, true, None), [65536, 8192]);
        assert_eq!(slots(256, true, None), [65536, 8192]);
        assert_eq!(slots(256, false, None), [2048, 1024]);
        assert_eq!(slots(2, true, Some(0)), [16, 8192]);
        assert_eq!(slots(2, true, Some(100 << 10)), [256, 8192]);
        assert_eq!(slots(256, true, Some(64 << 20)), [131_072, 8192], "total of all rings");
        assert_eq!(slots(1, true, Some(u64::MAX)), [1 << 22, 8192]);
    }

    /// 20 ms at a million events per second; and one CPU that tears down forty ranges of a device, with about fifty records each.
    #[test]
    fn default_rings_hold_a_burst_of_one_cpu_in_bounded_memory() {
        for cpus in [1, 2, 3, 6, 64, 256, 512, MAX_CPUS] {
            let plan = RingPlan::new(cpus, true, None);
            assert!(plan.slots[0] > 20_000 && plan.slots[1] > 40 * 50, "{cpus} CPUs: {plan:?}");
            assert!(plan.sizes().total() <= 64 << 20, "{cpus} CPUs: {plan:?}");
            assert_eq!(plan.count, plan.sharing.rings(cpus), "{cpus} CPUs");
            let alone = RingPlan::new(cpus, false, None);
            assert!(alone.sizes().total() <= 96 << 20, "{cpus} CPUs: {alone:?}");
            assert_eq!((alone.sharing, alone.count), (Sharing::NONE, cpus));
        }
        assert!(slots(16, false, None)[0] > 20_000, "the largest number of CPUs without sharing");
    }
}
