//! One column: the same word of records of one shape, in whichever of a few ways takes the fewest bytes.

use super::{
    bytes::{Input, folded, put_number, size, unfolded},
    index::Index,
    numbers,
};

/// All are the same: that one.
const CONSTANT: u8 = 0;
/// The numbers.
const NUMBERS: u8 = 1;
/// Of each the difference from the one before.
const STEPS: u8 = 2;
/// The values that there are, then of each its number.
const DICTIONARY: u8 = 3;
/// It follows from another column of the same rows, one with a dictionary: what goes with each of its values.
const FOLLOWS: u8 = 4;

/// A dictionary must be used so often, on average.
const USES: usize = 4;

/// Columns with a dictionary, of the same rows: of each how many values it has, and which of them each row has.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<(usize, Vec<u32>)>);

/// Writes columns.
#[derive(Debug)]
pub(super) struct Columns {
    index: Index,
    numbers: Vec<u32>,
    steps: Vec<u64>,
}

impl Columns {
    pub(super) fn new() -> Self {
        Self {
            index: Index::new(),
            numbers: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Appends a column; `known` are those of the same rows before it.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, values: &[u64], known: &mut Known) {
        let first = values.first().copied().unwrap_or_default();
        if values.iter().all(|&value| value == first) {
            out.push(CONSTANT);
            put_number(out, folded(first));
            return;
        }
        for (place, (_, rows)) in (0..).zip(&known.0) {
            if let Some(entries) = follows(rows, values) {
                out.push(FOLLOWS);
                put_number(out, place);
                numbers::put(out, &entries);
                return;
            }
        }
        self.steps.clear();
        let before = std::iter::once(&0).chain(values);
        let steps = values
            .iter()
            .zip(before)
            .map(|(value, before)| value.wrapping_sub(*before));
        self.steps.extend(steps);
        let (plain, steps) = (numbers::size(values), numbers::size(&self.steps));
        if self.numbered(values) {
            let indices: Vec<u64> = self.numbers.iter().map(|&number| u64::from(number)).collect();
            let entries = self.index.values();
            let total = size(entries.len() as u64) + numbers::size(entries) + numbers::size(&indices);
            if total < plain.min(steps) {
                out.push(DICTIONARY);
                put_number(out, entries.len() as u64);
                numbers::put(out, entries);
                numbers::put(out, &indices);
                known.0.push((entries.len(), self.numbers.clone()));
                return;
            }
        }
        if steps < plain {
            out.push(STEPS);
            numbers::put(out, &self.steps);
        } else {
            out.push(NUMBERS);
            numbers::put(out, values);
        }
    }

    /// Numbers the values, unless there are too many of them.
    fn numbered(&mut self, values: &[u64]) -> bool {
        self.index.clear();
        self.numbers.clear();
        let most = values.len() / USES;
        for &value in values {
            self.numbers.push(self.index.number(value));
            if self.index.values().len() > most {
                return false;
            }
        }
        true
    }
}

/// What goes with each value of a dictionary, if always the same does.
fn follows(rows: &[u32], values: &[u64]) -> Option<Vec<u64>> {
    let mut entries = Vec::new();
    for (&row, &value) in rows.iter().zip(values) {
        match entries.get(row as usize) {
            // Values are numbered in the order in which they come.
            None => entries.push(value),
            Some(&entry) if entry == value => {}
            Some(_) => return None,
        }
    }
    Some(entries)
}

/// Reads a column of so many rows into `values`.
pub(super) fn take(
    input: &mut Input<'_>,
    rows: usize,
    values: &mut Vec<u64>,
    known: &mut Known,
) -> Option<()> {
    values.clear();
    match input.byte()? {
        CONSTANT => values.resize(rows, unfolded(input.number()?)),
        NUMBERS => numbers::take(input, rows, values)?,
        STEPS => {
            numbers::take(input, rows, values)?;
            let mut above = 0u64;
            for value in &mut *values {
                above = above.wrapping_add(*value);
                *value = above;
            }
        }
        DICTIONARY => {
            let count = input.count(rows)?;
            let mut entries = Vec::new();
            numbers::take(input, count, &mut entries)?;
            numbers::take(input, rows, values)?;
            let mut numbers = Vec::with_capacity(rows);
            for value in &mut *values {
                numbers.push(u32::try_from(*value).ok()?);
                *value = *entries.get(usize::try_from(*value).ok()?)?;
            }
            known.0.push((count, numbers));
        }
        FOLLOWS => {
            let place = input.count(known.0.len())?;
            let (count, rows) = known.0.get(place)?;
            let mut entries = Vec::new();
            numbers::take(input, *count, &mut entries)?;
            values.extend(rows.iter().filter_map(|&row| entries.get(row as usize)));
        }
        _ => return None,
    }
    (values.len() == rows).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(columns: &[Vec<u64>]) -> Vec<u8> {
        let (mut out, mut known) = (Vec::new(), Known::default());
        let mut writer = Columns::new();
        for column in columns {
            writer.put(&mut out, column, &mut known);
        }
        out
    }

    fn read(bytes: &[u8], count: usize, rows: usize) -> Option<Vec<Vec<u64>>> {
        let (mut input, mut known) = (Input(bytes), Known::default());
        let column = || {
            let mut values = Vec::new();
            take(&mut input, rows, &mut values, &mut known).map(|()| values)
        };
        let columns = std::iter::repeat_with(column).take(count).collect();
        input.0.is_empty().then_some(columns).flatten()
    }

    /// How the last of them is stored.
    fn way(columns: &[Vec<u64>]) -> u8 {
        let (last, before) = columns.split_last().unwrap();
        let bytes = stored(columns);
        let rows = last.len();
        assert_eq!(read(&bytes, columns.len(), rows).as_deref(), Some(columns));
        bytes[stored(before).len()]
    }

    #[test]
    fn each_column_is_stored_as_befits_it() {
        let random = |seed: u64| {
            let mut state = seed;
            std::iter::repeat_with(move || {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                state >> 40
            })
        };
        let noise: Vec<_> = random(1).take(200).collect();
        let tasks: Vec<_> = random(2)
            .take(200)
            .map(|n| [1 << 50, 7, 1 << 40][n as usize % 3])
            .collect();
        let names: Vec<_> = tasks
            .iter()
            .map(|task: &u64| task.wrapping_mul(task + 1))
            .collect();
        let times: Vec<_> = (0..200).map(|row| row << 30).collect();
        assert_eq!(way(&[vec![9; 200]]), CONSTANT);
        assert_eq!(way(std::slice::from_ref(&noise)), NUMBERS);
        assert_eq!(way(&[times]), STEPS);
        assert_eq!(way(std::slice::from_ref(&tasks)), DICTIONARY);
        assert_eq!(way(&[tasks.clone(), names]), FOLLOWS);
        assert_eq!(way(&[tasks, noise]), NUMBERS);
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        // A dictionary that is larger than its rows; a number that it does not have; another column that is none.
        assert_eq!(read(&[DICTIONARY, 3, 0, 0, 0, 0], 1, 2), None);
        assert_eq!(read(&[DICTIONARY, 1, 0, 0, 0, 2], 1, 2), None);
        assert_eq!(read(&[FOLLOWS, 0, 0, 0], 1, 2), None);
        assert_eq!(read(&[9], 1, 2), None);
        assert_eq!(read(&[DICTIONARY, 1, 0, 6, 0, 0], 1, 2), Some(vec![vec![3, 3]]));
    }

    proptest! {
        #[test]
        fn any_columns_come_back(
            columns in prop::collection::vec(prop::collection::vec(any::<u64>(), 100), 1..4),
            kinds in 1u64..20,
        ) {
            let few = |column: &Vec<u64>| column.iter().map(|value| (value % kinds) << 13).collect();
            let repeating: Vec<_> = columns.iter().map(few).collect();
            let columns = [columns, repeating].concat();
            prop_assert_eq!(read(&stored(&columns), columns.len(), 100), Some(columns));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, count in 1usize..4, rows in 0usize..200) {
            if let Some(columns) = read(&bytes, count, rows) {
                prop_assert!(columns.iter().all(|column| column.len() == rows));
            }
        }
    }
}
