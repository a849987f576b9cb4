//! Readings that the kernel did not answer, since it skipped the program: when the devices are read again. Pure.

use std::collections::BTreeMap;

use p2p_trace_model::event::DeviceAddress;

/// How long to wait before each further try. Whoever is in the way was interrupted in the middle of the program and goes on
/// when it gets its CPU back, or the tracer gets another CPU meanwhile.
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
    /// Tries that were not answered.
    failed: usize,
    at_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Again {
    devices: BTreeMap<DeviceAddress, Try>,
}

impl Again {
    /// A reading was not answered. False: it was the last try.
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

    /// A reading was answered, or there is nothing to read any more.
    pub(super) fn settled(&mut self, device: DeviceAddress) {
        self.devices.remove(&device);
    }

    /// The devices that are due. Each is to be told of by [`Again::unanswered`] or [`Again::settled`].
    pub(super) fn due(&self, now_ns: u64) -> impl Iterator<Item = DeviceAddress> {
        let is_due = move |&(_, next): &(&DeviceAddress, &Try)| next.at_ns <= now_ns;
        self.devices.iter().filter(is_due).map(|(device, _)| *device)
    }

    /// When the next one is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.devices.values().map(|next| next.at_ns).min()
    }

    /// Nothing is read any more: the devices that were still to be.
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
    fn a_reading_that_was_not_answered_is_tried_again_later() {
        let mut again = Again::default();
        assert_eq!(again.next_ns(), None);
        assert!(again.unanswered(DEVICE, 5));
        assert_eq!(again.next_ns(), Some(5 + DELAYS_NS[0]));
        assert_eq!(again.due(4 + DELAYS_NS[0]).count(), 0);
        assert_eq!(again.due(5 + DELAYS_NS[0]).collect::<Vec<_>>(), [DEVICE]);
        again.settled(DEVICE);
        assert_eq!(again.next_ns(), None);
        assert!(again.unanswered(DEVICE, 7));
        assert_eq!(again.next_ns(), Some(7 + DELAYS_NS[0]), "it begins anew");
        assert!(again.unanswered(OTHER, 9));
        assert_eq!(again.give_up().collect::<Vec<_>>(), [DEVICE, OTHER]);
        assert_eq!(again.next_ns(), None);
    }

    proptest! {
        /// Whatever the kernel skips, a device is either settled or given up, within a second of its first try.
        #[test]
        fn a_reading_ends(start_ns in 0..u64::MAX / 2, answered_at in 0usize..20) {
            let mut again = Again::default();
            let (mut now_ns, mut tries) = (start_ns, 0);
            loop {
                tries += 1;
                if tries > answered_at {
                    again.settled(DEVICE);
                    break;
                }
                if !again.unanswered(DEVICE, now_ns) {
                    break;
                }
                let next_ns = again.next_ns().unwrap();
                prop_assert!(next_ns > now_ns);
                prop_assert_eq!(again.due(next_ns).collect::<Vec<_>>(), [DEVICE]);
                now_ns = next_ns;
            }
            prop_assert_eq!(again.next_ns(), None);
            prop_assert_eq!(tries, (answered_at + 1).min(DELAYS_NS.len() + 1));
            prop_assert!(now_ns - start_ns < 1_000_000_000);
        }
    }
}
