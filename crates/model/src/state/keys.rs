//! Live references that have something in common, by their keys.

/// References among which none is looked for that does not belong there.
const FEW: usize = 64;

/// Some of them can have ended or changed since, and one can be there twice, so that none has to be looked for when it leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    all: Vec<u32>,
    /// They are looked through beyond that.
    most: usize,
}

impl Keys {
    /// One more. `belongs` tells whether one that was noted still does.
    pub(super) fn note(&mut self, key: u32, belongs: impl Fn(u32) -> bool) {
        if self.all.len() >= self.most.max(FEW) {
            self.all.sort_unstable();
            self.all.dedup();
            self.all.retain(|&key| belongs(key));
            self.most = 2 * self.all.len();
        }
        self.all.push(key);
    }

    /// Those that still belong there, each once.
    pub(super) fn live(&self, belongs: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut keys: Vec<_> = self.all.iter().copied().filter(|&key| belongs(key)).collect();
        // A place that was given back and taken again is there twice.
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_left_and_came_back_is_there_once_and_few_are_kept_of_what_left() {
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
