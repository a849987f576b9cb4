//! Converts a pool's bitmap, one bit per page, to runs of allocated memory.

/// Collects runs of set bits from consecutive pieces of a bitmap.
#[derive(Debug)]
pub(super) struct Runs {
    /// Number of pages that the bitmap covers; bits past it mean nothing.
    pages: u64,
    /// First page of the next piece.
    next: u64,
    /// First page of a run that extends up to `next`.
    open: Option<u64>,
    /// First page and number of pages of each run.
    closed: Vec<(u64, u64)>,
}

impl Runs {
    /// For a chunk with this many pages.
    pub(super) const fn new(pages: u64) -> Self {
        Self { pages, next: 0, open: None, closed: Vec::new() }
    }

    /// Processes the next words of the bitmap.
    pub(super) fn extend(&mut self, words: impl IntoIterator<Item = u64>) {
        for word in words {
            self.word(word);
        }
    }

    fn word(&mut self, word: u64) {
        let first = self.next;
        let count = 64.min(self.pages.saturating_sub(first));
        self.next = first + count;
        let mut bit = 0;
        while bit < count {
            let rest = word >> bit;
            match self.open {
                None => {
                    bit += u64::from(rest.trailing_zeros());
                    if bit < count {
                        self.open = Some(first + bit);
                    }
                }
                Some(start) => {
                    bit += u64::from(rest.trailing_ones());
                    if bit < count {
                        self.closed.push((start, first + bit - start));
                        self.open = None;
                    }
                }
            }
        }
    }

    /// Whether words of the bitmap are still missing.
    pub(super) const fn is_incomplete(&self) -> bool {
        self.next < self.pages
    }

    /// Index of the next word.
    pub(super) const fn next_word(&self) -> u64 {
        self.next / 64
    }

    /// First page and number of pages of each run, in order.
    pub(super) fn finish(mut self) -> Vec<(u64, u64)> {
        if let Some(start) = self.open {
            self.closed.push((start, self.next - start));
        }
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs(pages: u64, words: &[u64]) -> Vec<(u64, u64)> {
        let mut runs = Runs::new(pages);
        runs.extend(words.iter().copied());
        runs.finish()
    }

    #[test]
    fn runs_span_words_and_end_with_the_chunk() {
        assert_eq!(runs(128, &[0, 0]), []);
        assert_eq!(runs(128, &[u64::MAX, u64::MAX]), [(0, 128)]);
        assert_eq!(runs(70, &[0b110, u64::MAX]), [(1, 2), (64, 6)]);
        assert_eq!(runs(128, &[1 << 63, 0b101]), [(63, 2), (66, 1)]);
    }

    #[test]
    fn is_incomplete_until_all_words_are_read() {
        let mut runs = Runs::new(130);
        runs.extend([0, 0]);
        assert!(runs.is_incomplete());
        assert_eq!(runs.next_word(), 2);
        runs.extend([0]);
        assert!(!runs.is_incomplete());
    }

    proptest! {
        /// A page is in a run exactly if its bit is set, and runs do not touch.
        #[test]
        fn runs_are_the_set_bits(words in proptest::collection::vec(any::<u64>(), 1..6), less in 0u64..64) {
            let pages = words.len() as u64 * 64 - less;
            let found = runs(pages, &words);
            for page in 0..pages {
                let set = words[(page / 64) as usize] >> (page % 64) & 1 == 1;
                let inside = found.iter().any(|&(start, count)| (start..start + count).contains(&page));
                prop_assert_eq!(set, inside);
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0));
        }
    }
}
