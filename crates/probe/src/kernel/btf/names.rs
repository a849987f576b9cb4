//! Finds types by name: a chained hash over the type ids that copies no names.

use super::wire::{Index, Kind};

/// The name table of the kinds of types that are looked up by name.
#[derive(Debug)]
pub(super) struct Names {
    /// First type id of each bucket, or 0; the length is a power of two.
    heads: Vec<u32>,
    /// Next type id in the same bucket, by type id, or 0. Chains ascend.
    next: Vec<u32>,
}

impl Names {
    pub(super) fn build(data: &[u8], index: &Index) -> Self {
        let count = index.len();
        let mut names =
            Self { heads: vec![0; (count as usize).next_power_of_two()], next: vec![0; count as usize + 1] };
        // In reverse, so that each chain ascends.
        for id in (1..=count).rev() {
            let Some(ty) = index.get(data, id) else { continue };
            if ty.name_off == 0 || !is_named(ty.kind()) {
                continue;
            }
            let bucket = names.bucket(index.string(data, ty.name_off));
            let first = std::mem::replace(&mut names.heads[bucket], id);
            names.next[id as usize] = first;
        }
        names
    }

    const fn bucket(&self, name: &[u8]) -> usize {
        hash(name) as usize & (self.heads.len() - 1)
    }

    /// Ids of types that may have this name, ascending; the caller compares name and kind.
    pub(super) fn candidates(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        let first = self.heads.get(self.bucket(name)).copied().unwrap_or_default();
        std::iter::successors(Some(first), |&id| self.next.get(id as usize).copied())
            .take_while(|&id| id != 0)
    }
}

const fn is_named(kind: Kind) -> bool {
    kind.is_composite() || kind.is_enum() || matches!(kind, Kind::FUNC | Kind::TYPEDEF)
}

/// FNV-1a: the keys are short, and come from the kernel, so hash flooding is no concern.
const fn hash(name: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5u32;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}
