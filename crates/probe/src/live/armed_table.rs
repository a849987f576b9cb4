//! The writing side of the table of ranges that the armed hooks compare with, in memory that the kernel side may read at any time.

use std::{io, mem::offset_of, os::fd::AsFd};

use p2p_trace_common::armed::{ArmedRange, ArmedTable, MAX_ARMED};

use super::mapping::Mapping;

/// Index of the word of the table that a field starts at.
macro_rules! word {
    ($field:ident) => {
        offset_of!(ArmedTable, $field) / 8
    };
}

/// Index of the word of a field of a range.
macro_rules! of_range {
    ($place:expr, $field:ident) => {
        word!(ranges) + $place * (size_of::<ArmedRange>() / 8) + offset_of!(ArmedRange, $field) / 8
    };
}

/// The mapped table.
#[derive(Debug)]
pub(super) struct Table {
    mapping: Mapping,
    /// The content of each place.
    places: [Option<ArmedRange>; MAX_ARMED],
}

impl Table {
    /// Maps the table.
    ///
    /// # Errors
    ///
    /// If the table cannot be mapped.
    pub(super) fn new(map: impl AsFd) -> io::Result<Self> {
        let mapping = Mapping::writable(map, size_of::<ArmedTable>())?;
        Ok(Self { mapping, places: [None; MAX_ARMED] })
    }

    /// Makes the table hold these ranges; a range that is in it already keeps its place. Ranges that do not fit are omitted, which
    /// the records of their removal show.
    pub(super) fn write(&mut self, ranges: impl Iterator<Item = ArmedRange>) {
        let mut wanted: Vec<ArmedRange> = ranges.collect();
        for place in 0..MAX_ARMED {
            let Some(held) = self.places[place] else { continue };
            if let Some(index) = wanted.iter().position(|range| is_same(range, &held)) {
                let range = wanted.swap_remove(index);
                self.mapping.raise(of_range!(place, stage), range.stage);
            } else {
                self.put(place, None);
            }
        }
        for range in wanted {
            if let Some(place) = self.places.iter().position(Option::is_none) {
                // The window must include the range before the range is in the table.
                self.widen(&range);
                self.put(place, Some(range));
            }
        }
        self.narrow();
    }

    /// Changes the content of a place. A concurrent reader detects a partial change by the generation number.
    fn put(&mut self, place: usize, range: Option<ArmedRange>) {
        let generation = self.mapping.load(of_range!(place, generation));
        let ArmedRange { page_start, page_end, start, end, pgmap, device, stage, .. } =
            range.unwrap_or_default();
        let words = [
            (of_range!(place, generation), generation + 1),
            (of_range!(place, page_start), page_start),
            (of_range!(place, page_end), page_end),
            (of_range!(place, start), start),
            (of_range!(place, end), end),
            (of_range!(place, pgmap), pgmap),
            (of_range!(place, device), device),
            (of_range!(place, stage), stage),
            (of_range!(place, generation), generation + 2),
        ];
        for (word, value) in words {
            self.mapping.store(word, value);
        }
        self.places[place] = range;
        if range.is_some() {
            self.mapping.raise(word!(used), place as u64 + 1);
        }
    }

    fn widen(&self, range: &ArmedRange) {
        let is_empty = self.places.iter().all(Option::is_none);
        for (word, value) in [(word!(page_start), range.page_start), (word!(start), range.start)] {
            let before = self.mapping.load(word);
            self.mapping.store(word, if is_empty { value } else { value.min(before) });
        }
        self.mapping.raise(word!(page_end), range.page_end);
        self.mapping.raise(word!(end), range.end);
    }

    /// Shrinks the window to the ranges in the table.
    fn narrow(&self) {
        let held = || self.places.iter().flatten();
        let lowest = |of: fn(&ArmedRange) -> u64| held().map(of).min().unwrap_or_default();
        let highest = |of: fn(&ArmedRange) -> u64| held().map(of).max().unwrap_or_default();
        let used = self.places.iter().rposition(Option::is_some).map_or(0, |last| last as u64 + 1);
        for (word, value) in [
            (word!(page_start), lowest(|range| range.page_start)),
            (word!(start), lowest(|range| range.start)),
            (word!(page_end), highest(|range| range.page_end)),
            (word!(end), highest(|range| range.end)),
            (word!(used), used),
        ] {
            self.mapping.store(word, value);
        }
    }
}

/// Whether both are the same range of the same incarnation.
const fn is_same(one: &ArmedRange, other: &ArmedRange) -> bool {
    one.pgmap == other.pgmap && one.start == other.start && one.end == other.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_common::armed::stage;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    fn table() -> Table {
        let file = memfd_create("armed", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, size_of::<ArmedTable>() as u64).unwrap();
        Table::new(&file).unwrap()
    }

    fn range(number: u64) -> ArmedRange {
        let (start, end) = (number * 0x1000, (number + 1) * 0x1000);
        ArmedRange {
            page_start: start + 1,
            page_end: end + 1,
            start,
            end,
            pgmap: number,
            ..Default::default()
        }
    }

    fn window(table: &Table) -> [u64; 5] {
        [word!(page_start), word!(page_end), word!(start), word!(end), word!(used)]
            .map(|word| table.mapping.load(word))
    }

    #[test]
    fn ranges_keep_their_places_and_the_window_covers_them() {
        let mut table = table();
        table.write([range(5), range(2), range(9)].into_iter());
        assert_eq!(window(&table), [0x2001, 0xa001, 0x2000, 0xa000, 3]);
        let place = |table: &Table, number| {
            (0..MAX_ARMED).find(|&place| table.mapping.load(of_range!(place, pgmap)) == number).unwrap()
        };
        let before = place(&table, 9);
        table.write([range(9), range(4)].into_iter());
        assert_eq!(place(&table, 9), before);
        assert_eq!(window(&table)[..4], [0x4001, 0xa001, 0x4000, 0xa000]);
        table.write(std::iter::empty());
        assert_eq!(window(&table), [0; 5]);
    }

    #[test]
    fn each_change_of_a_place_raises_its_generation_to_an_even_number() {
        let mut table = table();
        let number = |table: &Table| table.mapping.load(of_range!(0, generation));
        table.write(std::iter::once(range(5)));
        assert_eq!(number(&table), 2);
        table.write(std::iter::once(range(5)));
        assert_eq!(number(&table), 2);
        table.write(std::iter::once(range(6)));
        assert_eq!(number(&table), 6, "the previous range was removed first");
    }

    #[test]
    fn the_stage_of_a_range_never_decreases() {
        let mut table = table();
        table.write(std::iter::once(range(5)));
        table.mapping.store(of_range!(0, stage), stage::UNMAPPED);
        table.write(std::iter::once(ArmedRange { stage: stage::REMOVED, ..range(5) }));
        assert_eq!(table.mapping.load(of_range!(0, stage)), stage::UNMAPPED);
    }

    #[test]
    fn ranges_that_do_not_fit_are_omitted() {
        let mut table = table();
        table.write((1..=MAX_ARMED as u64 + 3).map(range));
        assert_eq!(table.places.iter().flatten().count(), MAX_ARMED);
        assert_eq!(window(&table)[4], MAX_ARMED as u64);
    }
}
