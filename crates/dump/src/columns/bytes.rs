//! Numbers as bytes, small ones as few.

/// Appends a number, seven bits a byte, the lowest first; all bytes but the last have the highest bit.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that [`put_number`] takes.
pub(super) const fn size(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// A signed number as one that is small where it is near to 0.
pub(super) const fn folded(number: u64) -> u64 {
    (number << 1) ^ (number.cast_signed() >> 63).cast_unsigned()
}

/// What [`folded`] was given.
pub(super) const fn unfolded(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// What is left of the bytes that are read.
#[derive(Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    /// The next bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// The number that was written by [`put_number`].
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number that counts no more than `most`.
    pub(super) fn count(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|&count| count <= most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_take_few_bytes() {
        for (number, bytes) in [
            (0, vec![0]),
            (127, vec![127]),
            (128, vec![0x80, 1]),
            (300, vec![0xac, 2]),
        ] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, bytes);
        }
        assert_eq!(folded(u64::MAX), 1);
        assert_eq!(folded(1), 2);
        assert_eq!(Input(&[0x80; 11]).number(), None, "a number that does not end");
        assert_eq!(Input(&[5]).count(4), None);
    }

    proptest! {
        #[test]
        fn any_number_comes_back(number: u64) {
            prop_assert_eq!(unfolded(folded(number)), number);
            let mut out = Vec::new();
            put_number(&mut out, number);
            prop_assert_eq!(out.len(), size(number));
            let mut input = Input(&out);
            prop_assert_eq!(input.number(), Some(number));
            prop_assert!(input.0.is_empty());
        }
    }
}
