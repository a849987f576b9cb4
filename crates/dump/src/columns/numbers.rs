//! Numbers in as few bits as they need, group by group, so that one that is far off costs its group alone.

use super::bytes::{Input, folded, put_number, size as number_size, unfolded};

/// Numbers that are looked at together: of any width they fill whole words.
const GROUP: usize = 64;

/// What the numbers of a group have in common: each is `least + (bits << shift)`, with so many bits.
#[derive(Clone, Copy)]
struct Frame {
    least: u64,
    width: u32,
    shift: u32,
}

impl Frame {
    /// As signed numbers: addresses of the kernel, small ones of either sign and 0 are nearest to each other so.
    fn of(group: &[u64]) -> Self {
        let least = group.iter().map(|value| value.cast_signed()).min();
        let least = least.unwrap_or_default().cast_unsigned();
        let bits = group
            .iter()
            .fold(0, |bits, value| bits | value.wrapping_sub(least));
        let shift = if bits == 0 { 0 } else { bits.trailing_zeros() };
        Self {
            least,
            width: 64 - (bits >> shift).leading_zeros(),
            shift,
        }
    }
}

/// Bytes of `count` numbers of so many bits.
const fn packed_size(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Bytes that [`put`] takes.
pub(super) fn size(values: &[u64]) -> usize {
    let mut before = 0;
    let mut size = 0;
    for group in values.chunks(GROUP) {
        let frame = Frame::of(group);
        let head = 1 + usize::from(frame.width > 0) + number_size(folded(frame.least.wrapping_sub(before)));
        size += head + packed_size(group.len(), frame.width);
        before = frame.least;
    }
    size
}

/// Appends numbers.
pub(super) fn put(out: &mut Vec<u8>, values: &[u64]) {
    let mut before = 0;
    for group in values.chunks(GROUP) {
        let frame = Frame::of(group);
        out.push(frame.width as u8);
        put_number(out, folded(frame.least.wrapping_sub(before)));
        before = frame.least;
        if frame.width > 0 {
            out.push(frame.shift as u8);
            pack(out, group, frame);
        }
    }
}

fn pack(out: &mut Vec<u8>, group: &[u64], frame: Frame) {
    let end = out.len() + packed_size(group.len(), frame.width);
    let (mut word, mut used) = (0, 0);
    for value in group {
        let bits = value.wrapping_sub(frame.least) >> frame.shift;
        word |= bits << used;
        used += frame.width;
        if used >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            used -= u64::BITS;
            // What of it did not fit into the word before: nothing where it ended with it.
            word = bits.checked_shr(frame.width - used).unwrap_or(0);
        }
    }
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// Reads so many numbers behind those in `values`.
pub(super) fn take(input: &mut Input<'_>, count: usize, values: &mut Vec<u64>) -> Option<()> {
    let mut least = 0u64;
    let mut left = count;
    while left > 0 {
        let count = left.min(GROUP);
        left -= count;
        let width = u32::from(input.byte()?);
        least = least.wrapping_add(unfolded(input.number()?));
        if width == 0 {
            values.extend(std::iter::repeat_n(least, count));
            continue;
        }
        let shift = u32::from(input.byte()?);
        // The highest bit of a number lies in its 64.
        if width + shift > u64::BITS {
            return None;
        }
        unpack(input, count, Frame { least, width, shift }, values)?;
    }
    Some(())
}

fn unpack(input: &mut Input<'_>, count: usize, frame: Frame, values: &mut Vec<u64>) -> Option<()> {
    let bytes = input.bytes(packed_size(count, frame.width))?;
    let mut words = [0u64; GROUP + 1];
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*bytes);
    }
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    *words.get_mut(whole.len())? = u64::from_le_bytes(last);
    let mask = u64::MAX >> (u64::BITS - frame.width);
    values.extend((0..count).map(|number| {
        let at = number * frame.width as usize;
        let (index, used) = (at / 64, at % 64);
        // Twice, since a shift by 64 is none.
        let bits = words[index] >> used | words[index + 1] << (63 - used) << 1;
        frame.least.wrapping_add((bits & mask) << frame.shift)
    }));
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(values: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, values);
        assert_eq!(out.len(), size(values));
        out
    }

    #[test]
    fn pages_take_the_bits_by_which_they_differ() {
        let pages = [
            0xffff_8890_0000_0000,
            0xffff_8890_0000_3000,
            0xffff_8890_0000_1000,
        ];
        let out = stored(&pages);
        // The width, the first address, the shift, and thrice two bits.
        let first = number_size(folded(pages[0]));
        assert_eq!(out.len(), 1 + first + 1 + 1);
        assert_eq!((out[0], out[1 + first], out[2 + first]), (2, 12, 0b01_11_00));
        assert_eq!(stored(&[7; 64]), [0, 14]);
    }

    #[test]
    fn a_width_beyond_a_word_is_none() {
        let mut values = Vec::new();
        assert_eq!(take(&mut Input(&[65, 0, 0]), 1, &mut values), None);
        assert_eq!(
            take(&mut Input(&[60, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]), 1, &mut values),
            None
        );
        assert_eq!(
            take(&mut Input(&[8, 0, 0]), 1, &mut values),
            None,
            "it ends too early"
        );
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(
            values in prop::collection::vec(any::<u64>(), 0..200),
            width in 0u32..64,
            shift in 0u32..64,
        ) {
            let values: Vec<_> = values.iter().map(|value| value >> width << shift).collect();
            let out = stored(&values);
            let mut input = Input(&out);
            let mut back = Vec::new();
            prop_assert_eq!(take(&mut input, values.len(), &mut back), Some(()));
            prop_assert_eq!(back, values);
            prop_assert!(input.0.is_empty());
        }
    }
}
