//! Keys of live references that share a property.

/// Below this number of keys, stale ones are not removed.
const FEW: usize = 64;

/// Keys may be stale, because their references ended or changed, and a key may occur twice. This avoids a
/// search when a reference leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    all: Vec<u32>,
    /// Stale keys are removed above this number.
    most: usize,
}

impl Keys {
    /// Adds a key. `belongs` returns whether the reference of a key still has the property.
    pub(super) fn note(&mut self, key: u32, belongs: impl Fn(u32) -> bool) {
        if self.all.len() >= self.most.max(FEW) {
            self.all.sort_unstable();
            self.all.dedup();
            self.all.retain(|&key| belongs(key));
            self.most = 2 * self.all.len();
        }
        self.all.push(key);
    }

    /// The keys that still belong here, each once.
    pub(super) fn live(&self, belongs: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut keys: Vec<_> = self.all.iter().copied().filter(|&key| belongs(key)).collect();
        // A key that was freed and reused occurs twice.
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reused_keys_occur_once_and_stale_keys_are_removed() {
        let mut keys = Keys::default();
        for key in 0..100_000 {
            keys.note(key, |noted| noted % 1000 == 0);
            keys.note(0, |noted| noted % 1000 == 0);
        }
        assert!(keys.all.len() <= 2 * 100 + FEW, "{}", keys.all.len());
        let live = keys.live(|key| key < 3000 && key % 1000 == 0);
        assert_eq!(live, [0, 1000, 2000]);
    }
}
