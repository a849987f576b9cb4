//! Finds symbols by name, without sorting a hundred thousand of them for a few lookups.

/// Positions of symbols by name family: a function and the compiler's variants of it (`name`, `name.isra.0`) form one family.
#[derive(Clone, Debug, Default)]
pub(super) struct Families {
    /// For each bucket, the position of its first symbol plus one, or 0. The length is a power of two.
    first: Vec<u32>,
    /// For each symbol, the position plus one of the next symbol in its bucket, or 0.
    next: Vec<u32>,
}

impl Families {
    /// Indexes symbols with these names, in the order of their positions.
    pub(super) fn of(names: impl DoubleEndedIterator<Item: AsRef<str>> + ExactSizeIterator) -> Self {
        let count = names.len();
        let mut first = vec![0; count.next_power_of_two()];
        let mut next = vec![0; count];
        // In reverse, so that each chain ascends.
        for (at, name) in names.enumerate().rev() {
            let bucket = bucket(name.as_ref(), first.len());
            if let (Some(first), Some(next)) = (first.get_mut(bucket), next.get_mut(at)) {
                *next = std::mem::replace(first, at as u32 + 1);
            }
        }
        Self { first, next }
    }

    /// Positions of all symbols in the family of `name`, ascending, possibly with some of other families.
    pub(super) fn positions(&self, name: &str) -> impl Iterator<Item = u32> {
        let before = |link: u32| link.checked_sub(1);
        let first = self.first.get(bucket(name, self.first.len())).copied().and_then(before);
        std::iter::successors(first, move |&at| self.next.get(at as usize).copied().and_then(before))
    }
}

/// The bucket of a name's family, out of `buckets` (a power of two): FNV-1a of the part before the first dot.
fn bucket(name: &str, buckets: usize) -> usize {
    let family = name.bytes().take_while(|&byte| byte != b'.');
    let hash = family
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The upper half also depends on all bytes, and is distributed more evenly.
    (hash >> 32) as usize & buckets.wrapping_sub(1)
}
