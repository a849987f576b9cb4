//! Retries of snapshots that the kernel did not answer because it skipped the program. Pure.

use std::collections::BTreeMap;

use p2p_trace_model::event::DeviceAddress;

/// Delays before each further try. The program that is in progress was interrupted, and continues when its task gets the CPU back,
/// or the tracer moves to another CPU in the meantime.
const DELAYS_NS: [u64; 9] = [
    1_000_000,
    2_000_000,
    4_000_000,
    8_000_000,
    16_000_000,
    32_000_000,
    64_000_000,
    128_000_000,
    256_000_000,
];

/// A device that is to be read again.
#[derive(Clone, Copy, Debug)]
struct Try {
    /// Number of unanswered tries.
    failed: usize,
    at_ns: u64,
}

/// The devices that are to be read again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    devices: BTreeMap<DeviceAddress, Try>,
}

impl Retries {
    /// Schedules a retry of an unanswered snapshot. Returns false if that was the last try.
    pub(super) fn unanswered(&mut self, device: DeviceAddress, now_ns: u64) -> bool {
        let failed = self.devices.get(&device).map_or(0, |before| before.failed);
        let Some(delay_ns) = DELAYS_NS.get(failed) else {
            self.devices.remove(&device);
            return false;
        };
        let next = Try { failed: failed + 1, at_ns: now_ns.saturating_add(*delay_ns) };
        self.devices.insert(device, next);
        true
    }

    /// Ends the tries: a snapshot was answered, or there is nothing left to read.
    pub(super) fn settled(&mut self, device: DeviceAddress) {
        self.devices.remove(&device);
    }

    /// The devices that are due. The caller must call [`Retries::unanswered`] or [`Retries::settled`] for each.
    pub(super) fn due(&self, now_ns: u64) -> impl Iterator<Item = DeviceAddress> {
        let is_due = move |&(_, next): &(&DeviceAddress, &Try)| next.at_ns <= now_ns;
        self.devices.iter().filter(is_due).map(|(device, _)| *device)
    }

    /// When the next device is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.devices.values().map(|next| next.at_ns).min()
    }

    /// Ends all tries; returns the devices that were still to be read.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = DeviceAddress> {
        std::mem::take(&mut self.devices).into_keys()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEVICE: DeviceAddress = DeviceAddress::from_devfn(0, 3, 0);
    const OTHER: DeviceAddress = DeviceAddress::from_devfn(0, 4, 0);

    #[test]
    fn an_unanswered_snapshot_is_retried_later() {
        let mut retries = Retries::default();
        assert_eq!(retries.next_ns(), None);
        assert!(retries.unanswered(DEVICE, 5));
        assert_eq!(retries.next_ns(), Some(5 + DELAYS_NS[0]));
        assert_eq!(retries.due(4 + DELAYS_NS[0]).count(), 0);
        assert_eq!(retries.due(5 + DELAYS_NS[0]).collect::<Vec<_>>(), [DEVICE]);
        retries.settled(DEVICE);
        assert_eq!(retries.next_ns(), None);
        assert!(retries.unanswered(DEVICE, 7));
        assert_eq!(retries.next_ns(), Some(7 + DELAYS_NS[0]), "the delays start over");
        assert!(retries.unanswered(OTHER, 9));
        assert_eq!(retries.give_up().collect::<Vec<_>>(), [DEVICE, OTHER]);
        assert_eq!(retries.next_ns(), None);
    }

    proptest! {
        /// Whatever the kernel skips, the tries for a device end within a second of the first one.
        #[test]
        fn tries_end(start_ns in 0..u64::MAX / 2, answered_at in 0usize..20) {
            let mut retries = Retries::default();
            let (mut now_ns, mut tries) = (start_ns, 0);
            loop {
                tries += 1;
                if tries > answered_at {
                    retries.settled(DEVICE);
                    break;
                }
                if !retries.unanswered(DEVICE, now_ns) {
                    break;
                }
                let next_ns = retries.next_ns().unwrap();
                prop_assert!(next_ns > now_ns);
                prop_assert_eq!(retries.due(next_ns).collect::<Vec<_>>(), [DEVICE]);
                now_ns = next_ns;
            }
            prop_assert_eq!(retries.next_ns(), None);
            prop_assert_eq!(tries, (answered_at + 1).min(DELAYS_NS.len() + 1));
            prop_assert!(now_ns - start_ns < 1_000_000_000);
        }
    }
}
