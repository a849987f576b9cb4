//! Locations of the kernel's `struct page`s and direct map, which convert a page pointer to an address.

use std::ops::Range as Span;

use crate::event::{Range, decode::PAGE_SIZE};

/// `sizeof(struct page)` on x86-64 with the options that distributions set (`CONFIG_MEMCG`, aligned pages).
pub const PAGE_STRUCT_SIZE: u64 = 64;

/// The base of the vmemmap is a multiple of this: `kernel_randomize_memory` in `arch/x86/mm/kaslr.c` rounds
/// each region to `PUD_SIZE`, and the bases without KASLR are multiples of larger powers of two.
const VMEMMAP_ALIGN: u64 = 1 << 30;

/// Known locations of the vmemmap and the direct map. Both bases are random on each boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    page_struct_size: u64,
    vmemmap: Base,
    direct_map: Base,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Unknown,
    Deduced(u64),
    /// Two deductions contradict each other: an assumption made here does not hold on this kernel.
    Contradicted,
}

impl Base {
    const fn get(self) -> Option<u64> {
        match self {
            Self::Deduced(base) => Some(base),
            Self::Unknown | Self::Contradicted => None,
        }
    }

    /// Records a deduced base. Returns whether it was unknown before.
    const fn deduce(&mut self, base: u64) -> bool {
        match *self {
            Self::Unknown => {
                *self = Self::Deduced(base);
                return true;
            }
            Self::Deduced(earlier) if earlier != base => *self = Self::Contradicted,
            Self::Deduced(_) | Self::Contradicted => {}
        }
        false
    }
}

impl Default for Geometry {
    fn default() -> Self {
        Self::new(PAGE_STRUCT_SIZE)
    }
}

impl Geometry {
    /// Creates it with the size of `struct page` in bytes; 0 stands for [`PAGE_STRUCT_SIZE`].
    pub(crate) const fn new(page_struct_size: u64) -> Self {
        Self {
            page_struct_size: if page_struct_size == 0 { PAGE_STRUCT_SIZE } else { page_struct_size },
            vmemmap: Base::Unknown,
            direct_map: Base::Unknown,
        }
    }

    /// The deduced address of the `struct page` of page frame 0.
    pub(crate) const fn vmemmap_base(&self) -> Option<u64> {
        self.vmemmap.get()
    }

    /// Whether both bases are known, so that most pages can be located.
    pub(super) const fn places_pages(&self) -> bool {
        self.vmemmap.get().is_some() && self.direct_map.get().is_some()
    }

    /// The index of a `struct page`, such that neighboring pages have neighboring indexes.
    #[must_use]
    pub const fn index(&self, page: u64) -> u64 {
        page / self.page_struct_size
    }

    /// The indexes of the pages in a span of the direct map.
    pub(crate) fn indices(&self, span: &Span<u64>) -> Option<Span<u64>> {
        let (vmemmap, direct_map) = (self.vmemmap.get()?, self.direct_map.get()?);
        let first = self.index(vmemmap);
        let index = |addr: u64| first.checked_add(addr.checked_sub(direct_map)? / PAGE_SIZE);
        Some(index(span.start)?..index(span.end)?)
    }

    /// The span of the direct map that contains the pages with these indexes.
    #[must_use]
    pub fn span(&self, indices: &Span<u64>) -> Option<Span<u64>> {
        let (vmemmap, direct_map) = (self.vmemmap.get()?, self.direct_map.get()?);
        let first = self.index(vmemmap);
        let addr = |index: u64| {
            let physical = index.checked_sub(first)?.checked_mul(PAGE_SIZE)?;
            direct_map.checked_add(physical)
        };
        Some(addr(indices.start)?..addr(indices.end)?)
    }

    /// The direct-map address of a range.
    pub(crate) fn base_of(&self, range: Range) -> Option<u64> {
        self.direct_map.get()?.checked_add(range.start)
    }

    /// The physical range of `size` bytes at this direct-map address.
    pub(super) fn range_of(&self, base: u64, size: u64) -> Option<Range> {
        let start = base.checked_sub(self.direct_map.get()?)?;
        Some(Range { start, end: start.checked_add(size.checked_sub(1)?)? })
    }

    /// Learns that a range is at `base` in the direct map, which starts at physical address 0
    /// (`page_offset_base`).
    pub(super) const fn learn_range(&mut self, base: u64, range: Range) {
        match base.checked_sub(range.start) {
            Some(direct_map) => _ = self.direct_map.deduce(direct_map),
            None => self.direct_map = Base::Contradicted,
        }
    }

    /// Learns from a `struct page` of a range: this yields the base of the vmemmap if only one suitably
    /// aligned address fits. Returns whether it was unknown before.
    pub(super) fn learn_page(&mut self, page: u64, range: Range) -> bool {
        let base_if =
            |physical: u64| page.checked_sub((physical / PAGE_SIZE).checked_mul(self.page_struct_size)?);
        let (Some(lowest), Some(highest)) = (base_if(range.end), base_if(range.start)) else {
            return false;
        };
        let Some(base) = lowest.checked_next_multiple_of(VMEMMAP_ALIGN) else {
            return false;
        };
        let other = base.checked_add(VMEMMAP_ALIGN);
        if other.is_none_or(|other| other <= highest) {
            return false;
        }
        if base > highest {
            self.vmemmap = Base::Contradicted;
            return false;
        }
        self.vmemmap.deduce(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xffff_ea12_4000_0000;
    const DIRECT_MAP: u64 = 0xffff_8881_4000_0000;
    const RANGE: Range = Range { start: 0xf800_0000, end: 0xfbff_ffff };

    fn page(physical: u64) -> u64 {
        BASE + physical / PAGE_SIZE * PAGE_STRUCT_SIZE
    }

    #[test]
    fn converts_between_pages_and_addresses() {
        let mut geometry = Geometry::default();
        assert!(geometry.learn_page(page(0xf9ab_c000), RANGE));
        let span = DIRECT_MAP + 0xf800_3000..DIRECT_MAP + 0xf800_5000;
        assert_eq!(geometry.indices(&span), None, "the direct map is not known");
        geometry.learn_range(DIRECT_MAP + RANGE.start, RANGE);
        let first = geometry.index(page(0xf800_3000));
        assert_eq!(geometry.indices(&span), Some(first..first + 2));
        assert_eq!(geometry.span(&(first..first + 2)), Some(span));
        assert_eq!(geometry.span(&(0..1)), None);
        assert_eq!(geometry.base_of(RANGE), Some(DIRECT_MAP + RANGE.start));
        geometry.learn_range(DIRECT_MAP, RANGE);
        assert_eq!(geometry.base_of(RANGE), None, "two bases contradict each other");
    }

    #[test]
    fn deduces_base_from_one_page_of_a_range() {
        let mut geometry = Geometry::default();
        assert!(geometry.learn_page(page(0xf9ab_c000), RANGE));
        assert_eq!(geometry.vmemmap_base(), Some(BASE));
        assert!(!geometry.learn_page(page(0xf800_0000), RANGE), "known already");
        assert_eq!(geometry.vmemmap_base(), Some(BASE));
    }

    #[test]
    fn contradiction_clears_base_permanently() {
        for wrong in [page(0xf9ab_c000) + VMEMMAP_ALIGN, page(0xf9ab_c000) + VMEMMAP_ALIGN / 2] {
            let mut geometry = Geometry::default();
            assert!(geometry.learn_page(page(0xf9ab_c000), RANGE));
            assert!(!geometry.learn_page(wrong, RANGE));
            assert_eq!(geometry.vmemmap_base(), None);
            assert!(!geometry.learn_page(page(0xf9ab_c000), RANGE));
            assert_eq!(geometry.vmemmap_base(), None);
        }
    }

    #[test]
    fn deduces_no_base_from_ambiguous_range() {
        let mut geometry = Geometry::default();
        let huge = Range { start: 0, end: (2 * VMEMMAP_ALIGN / PAGE_STRUCT_SIZE) * PAGE_SIZE };
        assert!(!geometry.learn_page(page(0x1000_0000), huge));
        assert_eq!(geometry.vmemmap_base(), None);
    }
}
