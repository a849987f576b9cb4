//! Values by page: a radix tree with 64 slots per node.
//!
//! An allocation is found by any address inside it, as the entry of the nearest page at or below
//! ([`Pages::floor`]). A pool of p2p memory is dense, and its pages are allocated and freed all the time, so
//! a tree that never rebalances, with one bit per occupied slot, is faster than a search tree.

use std::collections::BTreeMap;

use crate::event::decode::PAGE_SIZE;

/// Slots of a node, one bit each in a word.
const SLOTS: usize = 64;
/// Bits of a key that one level consumes.
const BITS: u32 = SLOTS.trailing_zeros();
/// Bits of a page number within a block: three levels, 1 GiB of memory.
const BLOCK_BITS: u32 = 3 * BITS;

/// The page that contains an address.
#[must_use]
pub const fn page_of(addr: u64) -> u64 {
    addr / PAGE_SIZE
}

/// A map from page numbers to small values.
#[derive(Clone, Debug, Default)]
pub struct Pages<V> {
    blocks: BTreeMap<u64, Box<Block<V>>>,
}

type Block<V> = Inner<Inner<Leaf<V>>>;

impl<V: Copy + Default + PartialEq> Pages<V> {
    /// The value of `page`.
    pub(crate) fn get(&self, page: u64) -> Option<V> {
        let (block, key) = split(page);
        self.blocks.get(&block)?.get(key)
    }

    /// Sets the value of `page`, and returns the previous one.
    pub(crate) fn insert(&mut self, page: u64, value: V) -> Option<V> {
        let (block, key) = split(page);
        self.blocks.entry(block).or_default().insert(key, value)
    }

    /// Removes the value of `page` if it is `value`.
    pub(crate) fn remove_if(&mut self, page: u64, value: V) {
        let (block, key) = split(page);
        let Some(node) = self.blocks.get_mut(&block) else {
            return;
        };
        if node.get(key) == Some(value) {
            node.remove(key);
            if node.is_empty() {
                self.blocks.remove(&block);
            }
        }
    }

    /// The nearest page at or below `page` that has a value.
    pub(crate) fn floor(&self, page: u64) -> Option<(u64, V)> {
        let (block, key) = split(page);
        let near = self.blocks.get(&block).and_then(|node| node.floor(key));
        if let Some((key, value)) = near {
            return Some((join(block, key), value));
        }
        let (&block, node) = self.blocks.range(..block).next_back()?;
        node.floor(u32::MAX).map(|(key, value)| (join(block, key), value))
    }

    /// The nearest page at or above `page` that has a value.
    pub(crate) fn ceiling(&self, page: u64) -> Option<(u64, V)> {
        let (block, key) = split(page);
        let near = self.blocks.get(&block).and_then(|node| node.ceiling(key));
        if let Some((key, value)) = near {
            return Some((join(block, key), value));
        }
        let (&block, node) = self.blocks.range(block.checked_add(1)?..).next()?;
        node.ceiling(0).map(|(key, value)| (join(block, key), value))
    }

    /// The pages from `first` to `last`, both inclusive, that have a value, in order.
    pub(crate) fn range(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, V)> + '_ {
        let mut next = Some(first);
        std::iter::from_fn(move || {
            let (page, value) = self.ceiling(next?).filter(|&(page, _)| page <= last)?;
            next = page.checked_add(1);
            Some((page, value))
        })
    }
}

const fn split(page: u64) -> (u64, u32) {
    (page >> BLOCK_BITS, (page & ((1 << BLOCK_BITS) - 1)) as u32)
}

const fn join(block: u64, key: u32) -> u64 {
    block << BLOCK_BITS | key as u64
}

/// A node of any level. Keys have [`Node::WIDTH`] bits; [`u32::MAX`] stands for the greatest.
trait Node<V>: Default {
    const WIDTH: u32;
    fn is_empty(&self) -> bool;
    fn get(&self, key: u32) -> Option<V>;
    fn insert(&mut self, key: u32, value: V) -> Option<V>;
    fn remove(&mut self, key: u32) -> Option<V>;
    fn floor(&self, key: u32) -> Option<(u32, V)>;
    fn ceiling(&self, key: u32) -> Option<(u32, V)>;
}

/// Slots of `mask` up to `slot`, inclusive.
const fn up_to(mask: u64, slot: u32) -> u64 {
    mask & (u64::MAX >> (SLOTS as u32 - 1 - slot))
}

/// Slots of `mask` from `slot` on.
const fn from(mask: u64, slot: u32) -> u64 {
    mask & (u64::MAX << slot)
}

const fn highest(mask: u64) -> Option<u32> {
    mask.checked_ilog2()
}

const fn lowest(mask: u64) -> Option<u32> {
    if mask == 0 { None } else { Some(mask.trailing_zeros()) }
}

#[derive(Clone, Debug)]
struct Leaf<V> {
    mask: u64,
    values: [V; SLOTS],
}

impl<V: Copy + Default> Default for Leaf<V> {
    fn default() -> Self {
        Self { mask: 0, values: [V::default(); SLOTS] }
    }
}

impl<V: Copy + Default> Leaf<V> {
    const fn has(&self, slot: u32) -> bool {
        self.mask & 1 << slot != 0
    }

    const fn at(&self, slot: u32) -> (u32, V) {
        (slot, self.values[slot as usize])
    }
}

impl<V: Copy + Default> Node<V> for Leaf<V> {
    const WIDTH: u32 = BITS;

    fn is_empty(&self) -> bool {
        self.mask == 0
    }

    fn get(&self, key: u32) -> Option<V> {
        self.has(key).then(|| self.values[key as usize])
    }

    fn insert(&mut self, key: u32, value: V) -> Option<V> {
        let before = self.get(key);
        self.mask |= 1 << key;
        self.values[key as usize] = value;
        before
    }

    fn remove(&mut self, key: u32) -> Option<V> {
        let before = self.get(key);
        self.mask &= !(1 << key);
        before
    }

    fn floor(&self, key: u32) -> Option<(u32, V)> {
        highest(up_to(self.mask, key.min(SLOTS as u32 - 1))).map(|slot| self.at(slot))
    }

    fn ceiling(&self, key: u32) -> Option<(u32, V)> {
        lowest(from(self.mask, key)).map(|slot| self.at(slot))
    }
}

#[derive(Clone, Debug)]
struct Inner<N> {
    mask: u64,
    nodes: [Option<Box<N>>; SLOTS],
}

impl<N> Default for Inner<N> {
    fn default() -> Self {
        Self { mask: 0, nodes: [const { None }; SLOTS] }
    }
}

impl<N> Inner<N> {
    fn node(&self, slot: u32) -> Option<&N> {
        self.nodes[slot as usize].as_deref()
    }
}

impl<V: Copy, N: Node<V>> Node<V> for Inner<N> {
    const WIDTH: u32 = N::WIDTH + BITS;

    fn is_empty(&self) -> bool {
        self.mask == 0
    }

    fn get(&self, key: u32) -> Option<V> {
        self.node(key >> N::WIDTH)?.get(low::<V, N>(key))
    }

    fn insert(&mut self, key: u32, value: V) -> Option<V> {
        let slot = key >> N::WIDTH;
        self.mask |= 1 << slot;
        self.nodes[slot as usize].get_or_insert_default().insert(low::<V, N>(key), value)
    }

    fn remove(&mut self, key: u32) -> Option<V> {
        let slot = key >> N::WIDTH;
        let place = &mut self.nodes[slot as usize];
        let node = place.as_mut()?;
        let before = node.remove(low::<V, N>(key));
        if node.is_empty() {
            *place = None;
            self.mask &= !(1 << slot);
        }
        before
    }

    fn floor(&self, key: u32) -> Option<(u32, V)> {
        let key = key.min((1 << Self::WIDTH) - 1);
        let slot = key >> N::WIDTH;
        let within = self.node(slot).and_then(|node| node.floor(low::<V, N>(key)));
        let (slot, (key, value)) = if let Some(found) = within {
            (slot, found)
        } else {
            let slot = highest(up_to(self.mask, slot) & !(1 << slot))?;
            (slot, self.node(slot)?.floor(u32::MAX)?)
        };
        Some((slot << N::WIDTH | key, value))
    }

    fn ceiling(&self, key: u32) -> Option<(u32, V)> {
        let slot = key >> N::WIDTH;
        let within = self.node(slot).and_then(|node| node.ceiling(low::<V, N>(key)));
        let (slot, (key, value)) = if let Some(found) = within {
            (slot, found)
        } else {
            let slot = lowest(from(self.mask, slot) & !(1 << slot))?;
            (slot, self.node(slot)?.ceiling(0)?)
        };
        Some((slot << N::WIDTH | key, value))
    }
}

const fn low<V, N: Node<V>>(key: u32) -> u32 {
    key & ((1 << N::WIDTH) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floor_crosses_nodes_and_blocks() {
        let mut pages = Pages::default();
        for page in [0, 63, 64, (1 << BLOCK_BITS) - 1, 5 << BLOCK_BITS, u64::MAX >> 12] {
            assert_eq!(pages.insert(page, page as u32), None);
        }
        assert_eq!(pages.floor(62), Some((0, 0)));
        assert_eq!(pages.floor(4000), Some((64, 64)));
        assert_eq!(pages.floor(3 << BLOCK_BITS).map(|(page, _)| page), Some((1 << BLOCK_BITS) - 1));
        assert_eq!(pages.ceiling(65).map(|(page, _)| page), Some((1 << BLOCK_BITS) - 1));
        assert_eq!(pages.ceiling(u64::MAX), None);
        pages.remove_if(64, 63);
        assert_eq!((pages.get(64), pages.range(0, u64::MAX).count()), (Some(64), 6));
        for _ in 0..2 {
            pages.remove_if(64, 64);
            assert_eq!((pages.get(64), pages.range(0, u64::MAX).count()), (None, 5));
        }
        assert_eq!(pages.range(1, 5 << BLOCK_BITS).count(), 3);
    }

    /// Clustered, so that pages share leaves, are in neighboring nodes, or are in other blocks.
    fn page() -> impl Strategy<Value = u64> {
        (0u64..3, prop_oneof![0u64..130, (1u64 << BLOCK_BITS) - 70..1 << BLOCK_BITS, 0u64..1 << BLOCK_BITS])
            .prop_map(|(block, page)| ((block * 3) << BLOCK_BITS) + page)
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_map(
            steps in proptest::collection::vec((0u8..6, page(), any::<u32>()), 0..300),
            spans in proptest::collection::vec((page(), page()), 30),
        ) {
            let (mut pages, mut map) = (Pages::default(), BTreeMap::new());
            for (step, page, value) in steps {
                if step < 2 {
                    let there = map.get(&page).copied();
                    let allocated = if value % 2 == 0 { there.unwrap_or(value) } else { value };
                    pages.remove_if(page, allocated);
                    if there == Some(allocated) {
                        map.remove(&page);
                    }
                } else {
                    prop_assert_eq!(pages.insert(page, value), map.insert(page, value));
                }
                prop_assert_eq!(pages.range(0, u64::MAX).count(), map.len());
                prop_assert_eq!(pages.blocks.is_empty(), map.is_empty());
            }
            for (first, last) in spans {
                prop_assert_eq!(pages.get(first), map.get(&first).copied());
                let floor = map.range(..=first).next_back().map(|(&page, &value)| (page, value));
                prop_assert_eq!(pages.floor(first), floor);
                let ceiling = map.range(first..).next().map(|(&page, &value)| (page, value));
                prop_assert_eq!(pages.ceiling(first), ceiling);
                let expected: Vec<_> = map
                    .iter()
                    .map(|(&page, &value)| (page, value))
                    .filter(|&(page, _)| first <= page && page <= last)
                    .collect();
                prop_assert_eq!(pages.range(first, last).collect::<Vec<_>>(), expected);
            }
        }
    }
}
