//! The parts of a core other than records: the counters of the kernel side, and images of the beginning of a
//! dump.

use std::{
    collections::{BTreeMap, HashMap},
    mem::offset_of,
};

use p2p_trace_common::{
    Ring,
    config::MAX_CPUS,
    counters::{COUNTERS_SIZE, Counters},
    crash_image::{COUNTERS_MARK, IMAGE_PAGES, PAGE_MARK, PAGE_PAYLOAD, PAGE_SIZE, PageHead, Tag, mark},
    hook::HOOK_SLOTS,
    slot::{RINGS, Sharing},
};

use super::bytes::{u32_at, u64_at};

/// The counters of one CPU, or of the CPUs that share rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuCounters {
    /// The CPU, or the lowest of the CPUs that share the rings.
    pub cpu: u32,
    /// Which CPUs share the rings.
    pub sharing: Sharing,
    /// Records begun in each ring.
    pub heads: [u64; RINGS],
    /// Records dropped before they were begun.
    pub dropped: [u64; RINGS],
    /// Hits per hook.
    pub hits: Vec<u64>,
    /// Events whose note did not fit.
    pub notes_full: u64,
    /// Exits without a note.
    pub notes_missing: u64,
    /// Bursts that could not be flushed.
    pub bursts_late: u64,
}

/// Data that begins like a slot, but is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// Counters of a run.
    Counters(u64, CpuCounters),
    /// A page of an image.
    Page(ImagePage),
}

/// A page of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImagePage {
    run: u64,
    generation: u64,
    index: u32,
    pages: u32,
    payload: Vec<u8>,
}

impl Marked {
    /// The run that it belongs to.
    pub(super) const fn run(&self) -> u64 {
        match self {
            Self::Counters(run, _) => *run,
            Self::Page(page) => page.run,
        }
    }
}

/// The marked data at the start of `bytes`, if any.
pub(super) fn marked(bytes: &[u8]) -> Option<Marked> {
    const COUNTERS: u64 = mark(COUNTERS_MARK);
    const PAGE: u64 = mark(PAGE_MARK);
    match u64_at(bytes, offset_of!(PageHead, mark))? {
        COUNTERS => counters(bytes.get(..COUNTERS_SIZE)?),
        PAGE => image_page(bytes.get(..PAGE_SIZE)?).map(Marked::Page),
        _ => None,
    }
}

fn counters(bytes: &[u8]) -> Option<Marked> {
    let tag = |offset| u64_at(bytes, offset_of!(Counters, tag) + offset);
    let (run, cpu) = (tag(offset_of!(Tag, run))?, tag(offset_of!(Tag, cpu))?);
    let is_sound = tag(offset_of!(Tag, check))? == Tag::check(run, cpu) && cpu < u64::from(MAX_CPUS);
    let rings = u32::try_from(tag(offset_of!(Tag, rings))?).unwrap_or(0);
    if !is_sound {
        return None;
    }
    let word = |offset, index: usize| u64_at(bytes, offset + index * 8).unwrap_or_default();
    let each = |offset| [0, 1].map(|ring| word(offset, ring));
    let hits = offset_of!(Counters, hits);
    let counters = CpuCounters {
        cpu: cpu as u32,
        sharing: Sharing::new(rings, MAX_CPUS),
        heads: each(offset_of!(Counters, heads)),
        dropped: each(offset_of!(Counters, dropped)),
        hits: (0..HOOK_SLOTS).map(|hook| word(hits, hook)).collect(),
        notes_full: word(offset_of!(Counters, notes_full), 0),
        notes_missing: word(offset_of!(Counters, notes_missing), 0),
        bursts_late: word(offset_of!(Counters, burst_contended), 0),
    };
    Some(Marked::Counters(run, counters))
}

fn image_page(bytes: &[u8]) -> Option<ImagePage> {
    let half = |offset| u32_at(bytes, offset);
    let (index, pages) = (half(offset_of!(PageHead, index))?, half(offset_of!(PageHead, pages))?);
    let length = half(offset_of!(PageHead, length))? as usize;
    if index >= pages || pages > IMAGE_PAGES || length > PAGE_PAYLOAD {
        return None;
    }
    let end = size_of::<PageHead>() + length;
    let mut covered = bytes.get(..end)?.to_vec();
    let at = offset_of!(PageHead, crc);
    covered[at..at + 4].fill(0);
    let is_sound = crc32c::crc32c(&covered) == half(at)?;
    is_sound.then(|| ImagePage {
        run: u64_at(bytes, offset_of!(PageHead, run)).unwrap_or_default(),
        generation: u64_at(bytes, offset_of!(PageHead, generation)).unwrap_or_default(),
        index,
        pages,
        payload: covered.split_off(size_of::<PageHead>()),
    })
}

/// Collects the pages of a run's images.
#[derive(Clone, Debug, Default)]
pub(super) struct Images(HashMap<u64, BTreeMap<u32, ImagePage>>);

impl Images {
    pub(super) fn add(&mut self, page: ImagePage) {
        self.0.entry(page.generation).or_default().insert(page.index, page);
    }

    pub(super) fn merge(&mut self, other: Self) {
        other.0.into_values().flat_map(BTreeMap::into_values).for_each(|page| self.add(page));
    }

    /// The complete images, the youngest first.
    pub(super) fn complete(self) -> Vec<Vec<u8>> {
        let mut generations: Vec<_> = self.0.into_iter().collect();
        generations.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        let image = |pages: BTreeMap<u32, ImagePage>| {
            let count = pages.values().next()?.pages;
            let is_complete = pages.len() == count as usize && pages.values().all(|page| page.pages == count);
            is_complete.then(|| pages.into_values().flat_map(|page| page.payload).collect())
        };
        generations.into_iter().filter_map(|(_, pages)| image(pages)).collect()
    }
}

/// The position that each ring had reached.
pub(super) fn heads(counters: &[CpuCounters]) -> super::ring::Heads {
    counters
        .iter()
        .flat_map(|counters| Ring::ALL.map(|ring| ((counters.cpu, ring), counters.heads[ring as usize])))
        .collect()
}
