//! Which values there are, numbered in the order in which they first come.

/// Where there is no entry yet.
const NONE: u32 = u32::MAX;
/// Places of the smallest table.
const LEAST: usize = 64;

/// Values and their numbers.
#[derive(Debug)]
pub(super) struct Index {
    /// In the order of their numbers.
    values: Vec<u64>,
    /// Numbers of values by their hash, each in the first place from there on that was free. A power of two, at most half full.
    table: Vec<u32>,
    last: u32,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::new(),
            table: vec![NONE; LEAST],
            last: NONE,
        }
    }

    /// All values.
    pub(super) fn values(&self) -> &[u64] {
        &self.values
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.table.fill(NONE);
        self.last = NONE;
    }

    /// The number of a value.
    pub(super) fn number(&mut self, value: u64) -> u32 {
        if self.values.get(self.last as usize) == Some(&value) {
            return self.last;
        }
        if self.values.len() * 2 >= self.table.len() {
            self.grow();
        }
        let place = self.place(value);
        if self.table[place] == NONE {
            self.table[place] = self.values.len() as u32;
            self.values.push(value);
        }
        self.last = self.table[place];
        self.last
    }

    /// Where the value is, or belongs.
    fn place(&self, value: u64) -> usize {
        let mask = self.table.len() - 1;
        let hash = (value ^ value >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mut place = hash as usize & mask;
        while self.table[place] != NONE && self.values[self.table[place] as usize] != value {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        self.table = vec![NONE; self.table.len() * 4];
        for (number, &value) in (0..).zip(&self.values.clone()) {
            let place = self.place(value);
            self.table[place] = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_keeps_the_number_that_it_came_with() {
        let mut index = Index::new();
        let values: Vec<u64> = (0..1000).map(|value| value << 40 | value).collect();
        for _ in 0..2 {
            for (number, &value) in (0..).zip(&values) {
                assert_eq!(index.number(value), number);
                assert_eq!(index.number(value), number, "as the one before");
            }
        }
        assert_eq!(index.values(), values);
        index.clear();
        assert_eq!(index.number(7), 0);
    }
}
